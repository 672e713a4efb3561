"""The daemon's HTTP server for operators: liveness, readiness, health and metrics."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal

import msgspec
from aiohttp import web
from msgspec import Struct
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest

from indexer.monitoring.reconciliation_state import ReconciliationState
from indexer.progress.channel_progress import ChannelProgress
from ledger.mongodb.sync_state import (
    ChannelState,
    EnvelopeReport,
    IndexBuild,
    LastError,
    ScrubState,
)
from runtime.http_server import SECURITY_HEADERS

HealthStatus = Literal["ok", "degraded", "catching_up", "broken"]
"""From best to worst.

A degraded channel is indexed, but its business rows are not settled, for example because too few
peers gave the last blocks, or the scrub found stored documents that differ from what was written,
or a validation code contradicts the signatures of its transaction.
"""

_HTTP_STATUS: Final[dict[HealthStatus, int]] = {
    "ok": 200,
    "degraded": 200,
    "catching_up": 202,
    "broken": 503,
}
_SEVERITY: Final = list(_HTTP_STATUS)
_BLOCKED_STATES: Final = (ChannelState.WAITING, ChannelState.FAILED)
_MAX_LAG_S: Final = 10.0
"""The lag above which a channel counts as catching up."""
_MAX_AGREEMENT_DELAY_S: Final = 60.0
"""The time without progress of the agreement after which a channel counts as degraded."""
_SHUTDOWN_S: Final = 1.0
_HEADERS: Final = SECURITY_HEADERS | {"Cache-Control": "no-store"}


class ReconciliationHealth(Struct, frozen=True):
    """The state of a channel's reconciliation, and the error that blocks it."""

    state: ChannelState
    since: datetime
    error: LastError | None


class ChannelHealth(Struct, frozen=True, rename="camel"):
    """The state of a channel, and the error that blocks it. Heights are numbers of blocks."""

    channel: str
    status: HealthStatus
    state: ChannelState
    since: datetime
    error: LastError | None
    peer_height: int | None
    committed_height: int
    agreed_height: int
    peers_required: int
    verified_height: int | None
    envelopes: EnvelopeReport | None
    verification_error: LastError | None
    index_build: IndexBuild | None
    scrub: ScrubState | None
    reconciliation: ReconciliationHealth | None


class Health(Struct, frozen=True):
    """The health of every channel, and the worst status of them."""

    status: HealthStatus
    channels: list[ChannelHealth]


class Readiness(Struct, frozen=True):
    """Whether the daemon is ready: it has read the stored height of every channel from MongoDB.

    `starting` names the channels whose stored height it has not read.
    """

    status: Literal["ready", "starting"]
    starting: list[str]


class HealthServer:
    """Serves the health of the channels from the daemon's memory; it asks no other server.

    `reconciliations` holds the state of the channels that are reconciled.
    """

    def __init__(
        self,
        channels: Mapping[str, ChannelProgress],
        reconciliations: Mapping[str, ReconciliationState],
        registry: CollectorRegistry,
    ) -> None:
        self._channels, self._reconciliations, self._registry = channels, reconciliations, registry

    def runner(self) -> web.AppRunner:
        """Return the server's runner, for `runtime.http_server.serving`."""
        app = web.Application()
        app.router.add_get("/live", self._live)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        app.on_response_prepare.append(_add_headers)
        return web.AppRunner(
            app,
            access_log=None,
            auto_decompress=False,
            handle_signals=False,
            shutdown_timeout=_SHUTDOWN_S,
        )

    async def _live(self, _: web.Request) -> web.Response:
        """Respond that the process is alive: its event loop runs, or there would be no response."""
        return _json_response({"status": "live"}, 200)

    async def _ready(self, _: web.Request) -> web.Response:
        starting = [name for name, channel in self._channels.items() if not channel.resumed]
        readiness = Readiness("starting" if starting else "ready", starting)
        return _json_response(readiness, 503 if starting else 200)

    async def _health(self, _: web.Request) -> web.Response:
        health = self.health()
        return _json_response(health, _HTTP_STATUS[health.status])

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
        )

    def health(self) -> Health:
        """Return the present health of all channels."""
        channels = [self._channel_health(name) for name in self._channels]
        worst = max((channel.status for channel in channels), key=_SEVERITY.index)
        return Health(worst, channels)

    def _channel_health(self, name: str) -> ChannelHealth:
        progress, reconciliation = self._channels[name], self._reconciliations.get(name)
        envelopes = progress.envelopes
        return ChannelHealth(
            channel=name,
            status=_health_status(progress, reconciliation),
            state=progress.state,
            since=progress.state_since,
            error=progress.error if progress.state in _BLOCKED_STATES else None,
            peer_height=progress.peer_height,
            committed_height=progress.committed_height,
            agreed_height=progress.agreed_height,
            peers_required=progress.agreement.required,
            verified_height=envelopes.height if envelopes is not None else None,
            envelopes=envelopes.report() if envelopes is not None else None,
            verification_error=envelopes.error if envelopes is not None else None,
            index_build=progress.index_build,
            scrub=progress.scrub,
            reconciliation=_reconciliation_health(reconciliation)
            if reconciliation is not None
            else None,
        )


def _health_status(
    progress: ChannelProgress, reconciliation: ReconciliationState | None
) -> HealthStatus:
    if progress.state in _BLOCKED_STATES:
        return "broken"
    if progress.state is ChannelState.STOPPED:
        return "degraded"
    if progress.state is not ChannelState.FOLLOWING or progress.lag_s > _MAX_LAG_S:
        return "catching_up"
    is_degraded = (
        (reconciliation is not None and reconciliation.state in _BLOCKED_STATES)
        or progress.agreement_delay_s > _MAX_AGREEMENT_DELAY_S
        or (progress.scrub is not None and progress.scrub.has_differences)
        or (progress.envelopes is not None and progress.envelopes.contradictions > 0)
    )
    return "degraded" if is_degraded else "ok"


def _reconciliation_health(reconciliation: ReconciliationState) -> ReconciliationHealth:
    return ReconciliationHealth(
        state=reconciliation.state,
        since=reconciliation.state_since,
        error=reconciliation.error if reconciliation.state in _BLOCKED_STATES else None,
    )


def _json_response(value: object, status: int) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json"
    )


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
