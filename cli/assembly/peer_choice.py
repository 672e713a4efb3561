"""Chooses the peer with which a stored ledger is compared."""

import asyncio
from collections.abc import Sequence

from cli.errors import ConfigurationError
from indexer.sources.block_source import SourceUnavailableError
from indexer.sources.peer_source import PeerSource
from ledger.errors import LedgerError


def named_peer(sources: Sequence[PeerSource], name: str) -> PeerSource:
    """Return the configured peer with this name or address.

    Raises `ConfigurationError`, which lists the peers, if there is none.
    """
    for source in sources:
        if name in (source.label, source.name):
            return source
    known = ", ".join(_describe(source) for source in sources)
    raise ConfigurationError(
        f"--source peer:{name}: no such peer is configured; there are: {known}"
    )


async def other_peer(
    sources: Sequence[PeerSource], followed: str | None, limit_s: float
) -> PeerSource:
    """Return the first peer that works; the followed one, from which the data came, is tried last.

    Each peer gets `limit_s` seconds. Raises `SourceUnavailableError` if none works.
    """
    failures: list[str] = []
    for source in sorted(sources, key=lambda source: source.name == followed):
        try:
            async with asyncio.timeout(limit_s):
                await source.newest_identity()
        except TimeoutError:
            failures.append(f"{source.name}: no answer within {limit_s:g} s")
        except (SourceUnavailableError, LedgerError) as error:
            failures.append(str(error))
        else:
            return source
    raise SourceUnavailableError("unavailable", f"no peer works: {'; '.join(failures)}")


def _describe(source: PeerSource) -> str:
    return source.name if source.label is None else f"{source.label} ({source.name})"
