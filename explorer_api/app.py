"""Puts the service together, and serves it."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from explorer_api.docs.documentation import Documentation
from explorer_api.docs.openapi import document
from explorer_api.docs.page import page
from explorer_api.docs.reference import reference
from explorer_api.http.dispatch import Services, bind
from explorer_api.http.middleware import Middleware
from explorer_api.http.rate_limits import RateLimiter
from explorer_api.http.request_metrics import ApiMetrics, StateCollector
from explorer_api.http.server import ApiRunner
from explorer_api.live.channels import Channels
from explorer_api.live.head_notifications import hear_announcements
from explorer_api.live.mongo_calls import MongoCalls
from explorer_api.live.redis_cache import SharedCache
from explorer_api.live.response_cache import ResponseCache
from explorer_api.live.status_history import StatusRecorder
from explorer_api.options import Options
from explorer_api.routes import ROUTES
from explorer_api.streams.open_streams import OpenStreams
from explorer_api.streams.replays import Replays
from ledger.ownership import MAX_TX_ID_BYTES
from reconciliation.reports import BusinessReports
from runtime.tasks import cancel_and_wait, restart_on_failure

MAX_REQUEST_LINE_BYTES = 3 * MAX_TX_ID_BYTES + 1024
"""A transaction id, every byte of it percent-encoded, must fit."""

GATE = web.AppKey("gate", Middleware)
CONNECTIONS = web.AppKey("connections", int)

_SHUTDOWN_SECONDS = 5.0
_DATABASE_SHARE = 0.9


def create_app(
    client: AsyncMongoClient[Any],
    channels: Mapping[str, str] | None,
    *,
    version: str,
    options: Options = Options(),
    redis: Redis | None = None,
    business: BusinessReports | None = None,
    registry: CollectorRegistry | None = None,
) -> web.Application:
    """The service over the databases that `channels` names, channel by channel; None shows every indexed one.

    `version` is the program's. `redis` must not decode responses, and needs connections for its calls and one more;
    it is for this service alone. `business` tells what the business database says of transactions. Metrics are added
    to `registry`, which /metrics shows. All that is handed in stays the caller's to close; its event loop must be the
    one that serves.
    """
    shared = SharedCache(redis, f"kindledger:api:{version}") if redis is not None else None
    metrics = ApiMetrics(registry if registry is not None else CollectorRegistry())
    database = MongoCalls(options.seconds_per_request * _DATABASE_SHARE)
    shown = Channels(
        client,
        database,
        channels,
        options.head_age_s,
        hears_changes=redis is None,
        stream_buffer_bytes=options.stream_buffer_bytes,
        shared=shared,
    )
    services = Services(
        channels=shown,
        database=database,
        options=options,
        version=version,
        cache=ResponseCache(options.cache_bytes),
        shared=shared,
        business=business,
        metrics=metrics,
        history=StatusRecorder(shown.known, metrics.registry, options.sample_s),
        streams=OpenStreams(options, metrics),
        replays=Replays(database),
        documentation=Documentation(
            openapi=msgspec.json.encode(document(ROUTES, version)),
            page=page(reference(ROUTES), version).encode(),
        ),
    )
    services.metrics.registry.register(
        StateCollector(services.cache, shared, services.channels.known, time.monotonic)
    )
    limiter = (
        RateLimiter(options.requests_per_minute, redis)
        if options.requests_per_minute is not None
        else None
    )
    gate = Middleware(options, limiter, services.metrics, services.cache)
    app = web.Application(middlewares=[gate.middleware])
    app[GATE], app[CONNECTIONS] = gate, options.connections
    app.add_routes([bind(route, services) for route in ROUTES])

    async def background(_: web.Application) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(services.channels.followed())
            works = [services.history.record]
            if redis is not None:
                works.append(partial(hear_announcements, redis, services.channels.wake))
            stack.push_async_callback(
                cancel_and_wait, [asyncio.create_task(restart_on_failure(work)) for work in works]
            )
            yield

    app.cleanup_ctx.append(background)
    app.on_shutdown.append(services.streams.end_all)
    return app


async def serve(app: web.Application, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Listens on the address and serves until `cleanup()` of the runner; gives the port, which for 0 is a free one.

    Raises `OSError` where the address cannot be had. A client that goes away ends its request.
    """
    runner = ApiRunner(
        app,
        gate=app[GATE],
        connections=app[CONNECTIONS],
        access_log=None,
        auto_decompress=False,
        handle_signals=False,
        handler_cancellation=True,
        max_line_size=MAX_REQUEST_LINE_BYTES,
        shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner, runner.addresses[0][1]
