"""Checks each configured peer: connection, TLS, and the newest block of each channel."""

import asyncio
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from cli.assembly.network import endpoints, identity_loader
from cli.configuration.settings import FabricSettings
from cli.doctor.checks import (
    Check,
    Details,
    FailedStepError,
    Outcome,
    SkippedStepError,
    first_failure,
    run_part,
    skipped,
    time_limit,
)
from cli.doctor.network import DNS, TCP, connect, resolve
from cli.doctor.tls import TLS, check_plaintext, check_tls
from cli.errors import ConfigurationError, Exit
from indexer.sources.block_source import SourceUnavailableError
from indexer.sources.peer_source import Endpoint, PeerSource
from ledger.errors import LedgerError
from ledger.signing import SigningIdentity

# The steps of a request, in the order in which a peer checks them.
_REQUEST, _CHANNEL, _ACCESS, _HEIGHT = "request", "channel", "access", "height"
_PASSED = {
    _REQUEST: "accepted: the clocks agree, and so does the TLS binding",
    _CHANNEL: "the peer has joined it",
    _ACCESS: "the identity may read it",
}
_CLOCKS = (
    "Set this machine's clock and the peer's by NTP; if the peer demands mutual TLS, set "
    "fabric.client_tls_certificate and fabric.client_tls_key."
)
_NO_DELIVER = (
    "This address is a gRPC server but not a peer, maybe an orderer: give the address of a peer."
)
_NOT_JOINED = (
    "Check the channel's name (`peer channel list` shows the peer's channels), or join the peer to "
    "it."
)
_NO_RIGHT = (
    "Check fabric.msp_id, and that the certificate belongs to a member of an organisation that the "
    "channel's policy /Channel/Application/Readers admits."
)
_REFUSALS = {
    "status_400": (_REQUEST, _CLOCKS, Exit.CONFIGURATION),
    "unimplemented": (_REQUEST, _NO_DELIVER, Exit.CONFIGURATION),
    "not_found": (_CHANNEL, _NOT_JOINED, Exit.CONFIGURATION),
    "status_403": (_ACCESS, _NO_RIGHT, Exit.CONFIGURATION),
    "status_503": (_HEIGHT, "The peer's ledger is not ready: look at its log.", Exit.UNAVAILABLE),
}
_NO_PEER = "no peer is configured; `import` and `api` need none"


async def check_peers(
    settings: FabricSettings,
    channels: Iterable[str],
    identity: list[Check],
    client_tls: list[Check],
    limit_s: float,
) -> list[Check]:
    """Check all peers concurrently; they depend on the checks `identity` and `client_tls`."""
    if not settings.peers and settings.connection_profile is None:
        return [skipped("peers", _NO_PEER)]
    try:
        channels_by_peer = _channels_by_peer(settings, list(channels))
    except ConfigurationError as error:
        advice = "Correct the section [fabric] of the configuration."
        return [Check("peers", Outcome.FAILED, str(error), advice, Exit.CONFIGURATION)]
    loader = identity_loader(settings) if first_failure(identity) is None else None
    results = await asyncio.gather(
        *(
            _check_peer(endpoint, served, loader, first_failure(client_tls), limit_s)
            for endpoint, served in channels_by_peer.items()
        )
    )
    return [check for checks in results for check in checks]


def _channels_by_peer(settings: FabricSettings, channels: list[str]) -> dict[Endpoint, list[str]]:
    """Return each peer with its channels; a connection profile may name other peers per channel.

    Raises `ConfigurationError`.
    """
    peers: dict[Endpoint, list[str]] = {}
    for channel in channels or [""]:
        for endpoint in endpoints(settings, channel):
            peers.setdefault(endpoint, []).extend([channel] if channel else [])
    return peers


async def _check_peer(
    endpoint: Endpoint,
    channels: list[str],
    identity: Callable[[], SigningIdentity] | None,
    failed_client_tls: str | None,
    limit_s: float,
) -> list[Check]:
    part = f"peer {endpoint.address}"
    url = urlsplit(f"//{endpoint.address}")
    host, port = url.hostname or "", url.port or 0

    async def probe(details: Details) -> None:
        details[DNS] = await resolve(host, port, limit_s)
        details[TCP] = await connect(host, port, limit_s)
        if endpoint.tls_ca is None:
            details[TLS] = await check_plaintext(host, port, limit_s)
        elif endpoint.client_certificate is not None and failed_client_tls is not None:
            raise SkippedStepError(TLS, f"needs {failed_client_tls}")
        else:
            details[TLS] = await check_tls(host, port, endpoint, limit_s)

    checks = await run_part(part, (DNS, TCP, TLS), probe)
    if not channels:
        return [*checks, skipped(f"{part}: channels", "no channel is configured")]
    if checks[-1].outcome is not Outcome.OK:
        return [
            *checks,
            *(skipped(f"{part}, {channel}", f"needs {part}: {TLS}") for channel in channels),
        ]
    if identity is None:
        return [
            *checks,
            *(skipped(f"{part}, {channel}", "needs the identity") for channel in channels),
        ]
    for channel in channels:
        checks += await _check_channel(
            part, PeerSource(endpoint, channel, identity), channel, limit_s
        )
    return checks


async def _check_channel(
    part: str, source: PeerSource, channel: str, limit_s: float
) -> list[Check]:
    async def probe(details: Details) -> None:
        details |= _PASSED
        async with time_limit(
            _REQUEST, limit_s, "The peer is overloaded or does not respond: look at its log."
        ):
            try:
                newest = await source.newest()
            except SourceUnavailableError as error:
                raise _explain_refusal(error) from error
            except LedgerError as error:
                raise FailedStepError(
                    _REQUEST,
                    str(error),
                    "Check that this address belongs to a Fabric peer.",
                    Exit.CONFIGURATION,
                ) from error
        number = newest.number
        details[_HEIGHT] = f"{number + 1} blocks, the newest is {number}"

    return await run_part(f"{part}, {channel}", (_REQUEST, _CHANNEL, _ACCESS, _HEIGHT), probe)


def _explain_refusal(error: SourceUnavailableError) -> FailedStepError:
    """Return the step that a peer's refusal belongs to, and what to do."""
    step, advice, code = _REFUSALS.get(
        error.reason, (_REQUEST, "Look at the peer's log.", Exit.UNAVAILABLE)
    )
    return FailedStepError(step, str(error), advice, code)
