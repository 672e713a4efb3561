"""`kindledger verify`: checks stored ledgers against themselves and against blocks."""

from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from msgspec import Struct
from pymongo import AsyncMongoClient

from cli.assembly.mongo import mongo_client, stored_channels
from cli.assembly.network import peer_sources
from cli.commands.import_files import channel_of
from cli.configuration.settings import Settings
from cli.errors import ConfigurationError, Exit
from cli.output.console import messages, print_json
from indexer.block_source import BlockSource
from indexer.file_source import FileSource
from indexer.verification import Difference, Verifier
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import DifferenceCounts, Verification, record_verification

_SHOWN = 100
PEER = "peer"
"""What `--source` says for the configured peers."""


class Report(Struct, frozen=True, rename="camel"):
    """The outcome for one channel; `shown` holds the first differences."""

    channel: str
    height: int
    source: str | None
    differences: int
    kinds: DifferenceCounts
    shown: list[Difference]


async def verify(
    settings: Settings, channel: str | None, source: str | None, *, as_json: bool
) -> Exit:
    """Verifies one channel or all; `source` is a path of block files, or `peer`. DATA if anything differs.

    Block files belong to one channel, which is verified. CONFIGURATION where a channel has no block.
    """
    if source is not None and source != PEER:
        channel = await _channel_of_files(source, channel)
    async with mongo_client(settings) as client:
        channels = await stored_channels(client, settings)
        if channel is not None:
            channels = {channel: channels.get(channel) or settings.database_of(channel)}
        if not channels:
            raise ConfigurationError(
                "no channel is stored in this MongoDB, so there is nothing to verify"
            )
        reports = [
            await _verify(client, settings, name, database, source)
            for name, database in channels.items()
        ]
    if as_json:
        print_json({"channels": reports})
    for report in reports:
        messages.print(_verdict(report), highlight=False, soft_wrap=True)
    if any(report.differences for report in reports):
        return Exit.DATA
    return Exit.OK if all(report.height for report in reports) else Exit.CONFIGURATION


async def _channel_of_files(source: str, channel: str | None) -> str:
    found = await channel_of(_files(source))
    if channel not in (None, found):
        raise ConfigurationError(
            f"--source: {source}: holds blocks of channel {found}, not of {channel}"
        )
    return found


def _verdict(report: Report) -> str:
    if not report.height:
        return (
            f"{report.channel}: no block of it is stored in this MongoDB, so nothing was verified"
        )
    against = f" and against {report.source}" if report.source else ""
    verdict = "no difference" if report.differences == 0 else f"{report.differences:,} differences"
    return (
        f"{report.channel}: {report.height:,} blocks checked against themselves{against}: {verdict}"
    )


async def _verify(
    client: AsyncMongoClient[dict[str, Any]],
    settings: Settings,
    channel: str,
    database: str,
    source: str | None,
) -> Report:
    store = LedgerStore(client, database)
    shown: list[Difference] = []

    def report(difference: Difference) -> None:
        if len(shown) < _SHOWN:
            shown.append(difference)
            line = f"{channel}: block {difference.block}: {difference.what}"
            messages.print(line, markup=False, highlight=False, soft_wrap=True)

    with messages.status(f"verifying {channel}") as status:
        verifier = Verifier(
            store, report, lambda height: status.update(f"verifying {channel}: block {height:,}")
        )
        height = await verifier.check_consistency()
        checkpoint = await store.checkpoint()
        if source is not None and checkpoint is not None:
            blocks = _source(settings, channel, source)
            async with aclosing(blocks.blocks(checkpoint.start, None)) as delivered:
                await verifier.compare(delivered, checkpoint.start, height)
    if height:
        outcome = Verification(
            datetime.now(UTC), height, verifier.difference_count, verifier.counts_by_kind
        )
        await record_verification(store.database, channel, outcome)
    return Report(
        channel, height, source, verifier.difference_count, verifier.counts_by_kind, shown
    )


def _source(settings: Settings, channel: str, source: str) -> BlockSource:
    if source == PEER:
        return peer_sources(settings.fabric, channel)[0]
    return _files(source)


def _files(source: str) -> FileSource:
    path = Path(source)
    if not path.exists():
        raise click.UsageError(
            f"--source: {path}: no such file or folder; give one with *.block files, or {PEER!r}"
        )
    return FileSource([path])
