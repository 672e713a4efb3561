"""Probes of the service: whether it is alive, ready and healthy."""

import asyncio
import time
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Final

from pymongo.errors import PyMongoError

from explorer_api.http.problems import ProblemError, unavailable
from explorer_api.http.responses import NO_STORE, ApiResponse
from explorer_api.live.channels import Channel
from explorer_api.live.heads import MAX_SILENCE_S
from explorer_api.live.missing_indexes import describe_missing, will_be_built
from explorer_api.live.redis_cache import RedisCache
from explorer_api.routing.calls import Call
from explorer_api.schemas.health import Check, Health, Liveness, Verdict
from ledger.documents.format import FORMAT
from ledger.mongodb.sync_state import ChannelState, SyncState
from reconciliation.reports import BusinessReports, BusinessUnavailableError

_MAX_CHECK_S: Final = 2.0
_HTTP_STATUSES: Final[dict[Verdict, int]] = {
    "ok": 200,
    "degraded": 200,
    "catching_up": 202,
    "broken": 503,
}
"""The status of the response for each verdict, from the best verdict to the worst."""

_Result = tuple[Verdict, str | None]
"""The verdict of a check, and a detail."""


async def live(_: Call) -> ApiResponse:
    """Confirm that the process is alive. No database is needed."""
    return ApiResponse(Liveness("live"), NO_STORE)


async def ready(call: Call) -> ApiResponse:
    """Confirm that MongoDB is available and that the databases of all channels can be read."""
    await call.services.channels.ping()
    for channel in await call.services.channels.all():
        problem = await _find_read_problem(channel)
        if problem is not None:
            raise unavailable("not-ready", "Not ready", *problem)
    return ApiResponse(Liveness("ready"), NO_STORE)


async def health(call: Call) -> ApiResponse:
    """Check MongoDB, the business database, Redis and all channels.

    The status is 200 if the service is healthy or degraded, 202 if a channel is catching up or its
    indexes are being built, and 503 if a check is broken.
    """
    services = call.services
    checks = [_run_check(call, "mongodb", _check_mongodb(call), on_timeout="broken")]
    if services.business_reports is not None:
        checks.append(_run_check(call, "postgresql", _check_postgresql(services.business_reports)))
    if services.redis_cache is not None:
        checks.append(_run_check(call, "redis", _check_redis(services.redis_cache)))
    results = await asyncio.gather(*checks)
    if results[0].status == "ok":
        checks = [
            _run_check(
                call, f"channel {channel.name}", _check_channel(channel), on_timeout="broken"
            )
            for channel in await _list_channels(call)
        ]
        results += await asyncio.gather(*checks)
    worst = max((result.status for result in results), key=list(_HTTP_STATUSES).index)
    return ApiResponse(Health(worst, results), NO_STORE, status=_HTTP_STATUSES[worst])


async def _find_read_problem(channel: Channel) -> tuple[str, str] | None:
    """Return why this program cannot read the channel's database, and what to do about it."""
    snapshot = await channel.watch.recent()
    head = snapshot.head
    if head is None:
        return None  # nothing is indexed yet
    if head["format"] > FORMAT:
        return (
            f"Channel {channel.name} was indexed by a newer program, in format {head['format']}.",
            f"This program reads formats up to {FORMAT}: update it.",
        )
    missing = await channel.reader.missing_indexes()
    if missing and not will_be_built(snapshot.sync):
        return (
            f"Channel {channel.name} lacks the indexes {', '.join(missing)}.",
            "Start `kindledger run` once: it creates them.",
        )
    return None


async def _run_check(
    call: Call, name: str, check: Awaitable[_Result], on_timeout: Verdict = "degraded"
) -> Check:
    """Run a check for a limited time, so that all checks end before the time limit of the request.

    `on_timeout` is the verdict if the check takes longer.
    """
    limit_s = min(_MAX_CHECK_S, call.services.options.seconds_per_request / 3)
    started_at = time.perf_counter()
    try:
        async with asyncio.timeout(limit_s):
            status, detail = await check
    except TimeoutError:
        status, detail = on_timeout, f"no answer within {limit_s:.1f} s"
    latency_ms = round(1000 * (time.perf_counter() - started_at), 3)
    return Check(name, status, detail, latency_ms, call.services.status_since.of(name, status))


async def _check_mongodb(call: Call) -> _Result:
    try:
        with call.services.mongo_calls.bounded():
            await call.services.channels.ping()
    except (PyMongoError, ProblemError) as error:
        return "broken", f"MongoDB does not answer: {type(error.__cause__ or error).__name__}"
    return "ok", None


async def _list_channels(call: Call) -> list[Channel]:
    """Return all channels, or the loaded ones if MongoDB has just become unavailable."""
    try:
        with call.services.mongo_calls.bounded():
            return await call.services.channels.all()
    except (PyMongoError, ProblemError):
        return call.services.channels.loaded()


async def _check_channel(channel: Channel) -> _Result:
    try:
        problem = await _find_read_problem(channel)
        snapshot = await channel.watch.recent()
    except (PyMongoError, ProblemError) as error:
        return "broken", f"the channel cannot be read: {type(error).__name__}"
    if problem is not None:
        return "broken", problem[0]
    if snapshot.sync is None:
        return "ok", "no daemon has reported: the ledger was imported"
    return _check_daemon(snapshot.sync, snapshot.lag_blocks, datetime.now(UTC))


def _check_daemon(sync: SyncState, lag_blocks: int | None, now: datetime) -> _Result:
    silence_s = (now - sync.updated_at).total_seconds()
    if sync.state is ChannelState.STOPPED:
        return "degraded", "the daemon was stopped: no new blocks are indexed"
    if sync.state in (ChannelState.FAILED, ChannelState.WAITING):
        return "broken", sync.error.message if sync.error is not None else None
    if silence_s > MAX_SILENCE_S:
        return (
            "broken",
            f"the daemon has not reported for {silence_s:.0f} s; its state was {sync.state}",
        )
    if sync.state is ChannelState.BUILDING_INDEXES:
        return "catching_up", describe_missing(sync)
    is_following = sync.state is ChannelState.FOLLOWING and not lag_blocks
    agreed = sync.agreed_below(sync.committed_height)
    detail = None
    if agreed < sync.committed_height:
        detail = f"the peers agree on the blocks below {agreed} of {sync.committed_height}"
    status: Verdict = "ok" if is_following else "catching_up"
    found = sync.envelopes
    if is_following and found is not None and found.contradictions:
        status = "degraded"
        detail = (
            f"{found.contradictions} validation codes contradict the signatures, the first one in "
            f"block {found.first_contradiction}"
        )
    return status, detail


async def _check_postgresql(business: BusinessReports) -> _Result:
    try:
        await business.check()
    except BusinessUnavailableError as error:
        return "degraded", str(error)
    return "ok", None


async def _check_redis(redis_cache: RedisCache) -> _Result:
    if await redis_cache.ping():
        return "ok", None
    return "degraded", "Redis does not answer: the service works without it"
