"""Whether the process is alive, whether it can answer, and whether all is well."""

import asyncio
import time
from collections.abc import Awaitable
from datetime import UTC, datetime

from pymongo.errors import PyMongoError

from explorer_api.http.problems import ProblemError, unavailable
from explorer_api.http.responses import NO_STORE, ApiResponse
from explorer_api.live.channels import Channel
from explorer_api.live.redis_cache import RedisCache
from explorer_api.routing.calls import Call
from explorer_api.schemas.health import Check, Health, Liveness, Verdict
from ledger.documents.format import FORMAT
from ledger.mongodb.sync_state import ChannelState, SyncState
from reconciliation.reports import BusinessReports, BusinessUnavailableError

_CHECK_S = 2.0
_STALE_S = 60.0
_STATUS = {"ok": 200, "degraded": 200, "catching_up": 202, "broken": 503}


async def live(_: Call) -> ApiResponse:
    """The event loop turns. Nothing else is asked."""
    return ApiResponse(Liveness("live"), NO_STORE)


async def ready(call: Call) -> ApiResponse:
    """MongoDB answers, and every channel's database is one that this program can read."""
    await call.services.channels.ping()
    for channel in await call.services.channels.all():
        problem = await _unreadable(channel)
        if problem is not None:
            raise unavailable("not-ready", "Not ready", *problem)
    return ApiResponse(Liveness("ready"), NO_STORE)


async def _unreadable(channel: Channel) -> tuple[str, str] | None:
    """What keeps this program from reading the channel's database, and what to do about it."""
    head = (await channel.snapshot()).head
    if head is None:
        return None  # nothing indexed yet, nothing to read
    if head["format"] > FORMAT:
        return (
            f"Channel {channel.name} was indexed by a newer program, in format {head['format']}.",
            f"This program reads formats up to {FORMAT}: update it.",
        )
    missing = await channel.reader.missing_indexes()
    if missing:
        return (
            f"Channel {channel.name} lacks the indexes {', '.join(missing)}.",
            "Start `kindledger run` once: it creates them.",
        )
    return None


async def health(call: Call) -> ApiResponse:
    """Everything that the answers stand on: 200 in step, 202 catching up, 503 broken."""
    services = call.services
    asked = [_timed(call, "mongodb", _mongodb(call), silent="broken")]
    if services.business_reports is not None:
        asked.append(_timed(call, "postgresql", _postgresql(services.business_reports)))
    if services.redis_cache is not None:
        asked.append(_timed(call, "redis", _redis(services.redis_cache)))
    checks = await asyncio.gather(*asked)
    if checks[0].status == "ok":
        asked = [
            _timed(call, f"channel {channel.name}", _channel(channel), silent="broken")
            for channel in await _channels(call)
        ]
        checks += await asyncio.gather(*asked)
    worst = max((check.status for check in checks), key=list(_STATUS).index)
    return ApiResponse(Health(worst, checks), NO_STORE, status=_STATUS[worst])


_Outcome = tuple[Verdict, str | None]


async def _timed(
    call: Call, name: str, checking: Awaitable[_Outcome], silent: Verdict = "degraded"
) -> Check:
    """One check, limited so that all are done before the request must be answered; `silent` if it takes longer."""
    began, limit_s = (
        time.perf_counter(),
        min(_CHECK_S, call.services.options.seconds_per_request / 3),
    )
    try:
        async with asyncio.timeout(limit_s):
            status, detail = await checking
    except TimeoutError:
        status, detail = silent, f"no answer within {limit_s:.1f} s"
    latency = round(1000 * (time.perf_counter() - began), 3)
    return Check(name, status, detail, latency, call.services.status_since.of(name, status))


async def _mongodb(call: Call) -> _Outcome:
    try:
        with call.services.mongo_calls.bounded():
            await call.services.channels.ping()
    except (PyMongoError, ProblemError) as error:
        return "broken", f"MongoDB does not answer: {type(error.__cause__ or error).__name__}"
    return "ok", None


async def _channels(call: Call) -> list[Channel]:
    """Those that are known from before, where MongoDB has just gone away."""
    try:
        with call.services.mongo_calls.bounded():
            return await call.services.channels.all()
    except (PyMongoError, ProblemError):
        return call.services.channels.loaded()


async def _channel(channel: Channel) -> _Outcome:
    try:
        problem = await _unreadable(channel)
        snapshot = await channel.snapshot()
    except (PyMongoError, ProblemError) as error:
        return "broken", f"cannot be read: {type(error).__name__}"
    if problem is not None:
        return "broken", problem[0]
    if snapshot.sync is None:
        return "ok", "no daemon has reported: the ledger was imported"
    return _progress(snapshot.sync, snapshot.lag_blocks, datetime.now(UTC))


def _progress(sync: SyncState, lag_blocks: int | None, now: datetime) -> _Outcome:
    silent_s = (now - sync.updated_at).total_seconds()
    if sync.state is ChannelState.STOPPED:
        return "degraded", "the daemon was stopped: nothing new is indexed"
    if sync.state in (ChannelState.FAILED, ChannelState.WAITING):
        return "broken", sync.error.message if sync.error is not None else None
    if silent_s > _STALE_S:
        return (
            "broken",
            f"the daemon has been silent for {silent_s:.0f} s; its state was {sync.state}",
        )
    return (
        "ok" if sync.state is ChannelState.FOLLOWING and not lag_blocks else "catching_up"
    ), None


async def _postgresql(business: BusinessReports) -> _Outcome:
    try:
        await business.check()
    except BusinessUnavailableError as error:
        return "degraded", str(error)
    return "ok", None


async def _redis(shared: RedisCache) -> _Outcome:
    if await shared.ping():
        return "ok", None
    return "degraded", "Redis does not answer: served without it"
