"""What the daemon shows of itself over HTTP: whether it is alive, whether all is well, and its metrics."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, Literal

import msgspec
from aiohttp import web
from msgspec import Struct
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest

from indexer.channel_progress import ChannelProgress
from indexer.reconciliation_state import ReconciliationState
from ledger.mongodb.sync_state import ChannelState, LastError

Verdict = Literal["ok", "degraded", "catching_up", "broken"]

_STATUS: Final[dict[Verdict, int]] = {"ok": 200, "degraded": 200, "catching_up": 202, "broken": 503}
"""From the best to the worst. Degraded is a channel that is indexed while its business rows are not settled."""
_HELD_UP: Final = (ChannelState.WAITING, ChannelState.FAILED)
_IN_STEP_S: Final = 10.0
_SHUTDOWN_S: Final = 1.0
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Server": "kindledger",
    "X-Content-Type-Options": "nosniff",
}


class ReconciliationHealth(Struct, frozen=True):
    """What reconciliation does, since when, and what holds it up."""

    state: ChannelState
    since: datetime
    error: LastError | None


class ChannelHealth(Struct, frozen=True, rename="camel"):
    """What the daemon does about a channel, since when, and what holds it up. Heights are numbers of blocks."""

    channel: str
    status: Verdict
    state: ChannelState
    since: datetime
    error: LastError | None
    peer_height: int | None
    committed_height: int
    reconciliation: ReconciliationHealth | None


class Health(Struct, frozen=True):
    """The worst of the channels, and each of them."""

    status: Verdict
    channels: list[ChannelHealth]


class Readiness(Struct, frozen=True):
    """Channels that were not taken up yet: what MongoDB holds of them is not known."""

    status: Literal["ready", "starting"]
    starting: list[str]


class Monitor:
    """Answers from the figures of the channels; asks no server. `reconciliations` has those that are reconciled."""

    def __init__(
        self,
        channels: Mapping[str, ChannelProgress],
        reconciliations: Mapping[str, ReconciliationState],
        registry: CollectorRegistry,
    ) -> None:
        self._channels, self._reconciliations, self._registry = channels, reconciliations, registry

    def app(self) -> web.Application:
        """GET and HEAD of four addresses."""
        app = web.Application()
        app.router.add_get("/live", self._live)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        app.on_response_prepare.append(_add_headers)
        return app

    async def _live(self, _: web.Request) -> web.Response:
        """The event loop turns, or nobody would answer."""
        return _json({"status": "live"}, 200)

    async def _ready(self, _: web.Request) -> web.Response:
        starting = [name for name, channel in self._channels.items() if not channel.resumed]
        return _json(
            Readiness("starting" if starting else "ready", starting), 503 if starting else 200
        )

    async def _health(self, _: web.Request) -> web.Response:
        health = self.health()
        return _json(health, _STATUS[health.status])

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
        )

    def health(self) -> Health:
        """As it is now."""
        channels = [self._channel(name) for name in self._channels]
        worst = max((channel.status for channel in channels), key=list(_STATUS).index)
        return Health(worst, channels)

    def _channel(self, name: str) -> ChannelHealth:
        progress, reconciled = self._channels[name], self._reconciliations.get(name)
        return ChannelHealth(
            channel=name,
            status=_verdict(progress, reconciled),
            state=progress.state,
            since=progress.state_since,
            error=progress.error if progress.state in _HELD_UP else None,
            peer_height=progress.peer_height,
            committed_height=progress.committed_height,
            reconciliation=_reconciliation(reconciled) if reconciled is not None else None,
        )


def _verdict(progress: ChannelProgress, reconciled: ReconciliationState | None) -> Verdict:
    if progress.state in _HELD_UP:
        return "broken"
    if progress.state is ChannelState.STOPPED:
        return "degraded"
    if progress.state is not ChannelState.FOLLOWING or progress.lag_s > _IN_STEP_S:
        return "catching_up"
    return "degraded" if reconciled is not None and reconciled.state in _HELD_UP else "ok"


def _reconciliation(progress: ReconciliationState) -> ReconciliationHealth:
    error = progress.error if progress.state in _HELD_UP else None
    return ReconciliationHealth(progress.state, progress.state_since, error)


def _json(value: object, status: int) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json"
    )


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


@asynccontextmanager
async def serving(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serves while the context lasts; yields the port, which for 0 is a free one. Raises `OSError`."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
