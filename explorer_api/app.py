"""Assembles the service, and serves it."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from explorer_api.docs.html_page import PAGE_POLICY, html_page
from explorer_api.docs.openapi import openapi_document
from explorer_api.docs.reference import reference
from explorer_api.http.compression import CompressedBodies
from explorer_api.http.middleware import Middleware
from explorer_api.http.rate_limits import RateLimiter
from explorer_api.http.request_metrics import ApiMetrics
from explorer_api.http.responses import NO_STORE
from explorer_api.http.server import ApiRunner
from explorer_api.live.channels import Channels
from explorer_api.live.evidence import EvidenceBundles
from explorer_api.live.head_notifications import follow_redis_topics
from explorer_api.live.mongo_calls import MongoCalls
from explorer_api.live.redis_cache import RedisCache
from explorer_api.live.response_cache import ResponseCache
from explorer_api.live.state_metrics import StateCollector
from explorer_api.live.status_recorder import StatusRecorder
from explorer_api.options import Options, ServiceLimits
from explorer_api.routes import ROUTES
from explorer_api.routing.dispatch import Dispatcher
from explorer_api.routing.route import AnyRoute
from explorer_api.routing.services import Documentation, Services
from explorer_api.streams.feeds import Feeds
from explorer_api.streams.open_streams import OpenStreams
from explorer_api.streams.replays import Replays
from ledger.ownership import MAX_TX_ID_BYTES
from reconciliation.reports import BusinessReports
from runtime.http_server import listen
from runtime.tasks import cancel_and_wait, restart_on_failure

MAX_REQUEST_LINE_BYTES: Final = 3 * MAX_TX_ID_BYTES + 1024
"""Long enough for a transaction id with every byte percent-encoded."""

_MIDDLEWARE: Final = web.AppKey("middleware", Middleware)
_OPTIONS: Final = web.AppKey("options", Options)
_LIMITS: Final = web.AppKey("limits", ServiceLimits)

_SHUTDOWN_S: Final = 5.0
_COMPRESSED_SHARE: Final = 4
"""One of so many bytes in the cache is for compressed bodies; responses are cached without
compression too."""
_MONGO_SHARE: Final = 0.9
"""The share of a request's time limit that calls of MongoDB may take."""


def create_app(
    client: AsyncMongoClient[Any],
    channels: Mapping[str, str] | None,
    *,
    version: str,
    options: Options = Options(),  # noqa: B008 - frozen
    redis: Redis | None = None,
    business_reports: BusinessReports | None = None,
    registry: CollectorRegistry | None = None,
    limits: ServiceLimits = ServiceLimits(),  # noqa: B008 - frozen
    routes: Sequence[AnyRoute] = ROUTES,
) -> web.Application:
    """Return the application that serves the ledger.

    `channels` maps the name of each channel to its database; None for all channels in MongoDB.
    `version` is the program's version. `redis` must not decode responses, and is for this service
    alone: a subscription occupies one of its connections. `business_reports` reads the business
    database. The service adds its metrics to `registry`, which /metrics shows. The caller closes
    all these clients, and serves the application in their event loop. `limits` and `routes` are for
    tests.
    """
    mongo_calls = MongoCalls(options.seconds_per_request * _MONGO_SHARE)
    redis_cache = None
    if redis is not None:
        redis_cache = RedisCache(redis, f"kindledger:api:{version}", pause_s=limits.redis_pause_s)
    request_metrics = ApiMetrics(registry if registry is not None else CollectorRegistry())
    compressed_bytes = options.cache_bytes // _COMPRESSED_SHARE
    feeds = Feeds(options.stream_buffer_bytes, limits.streams)
    shown_channels = Channels(
        client,
        mongo_calls,
        channels,
        options.head_age_s,
        follows_changes=redis is None,
        redis_cache=redis_cache,
        background=[feeds.follow],
        archive_folder=options.archive_folder,
        limits=limits,
    )
    services = Services(
        options=options,
        limits=limits,
        version=version,
        channels=shown_channels,
        mongo_calls=mongo_calls,
        response_cache=ResponseCache(options.cache_bytes - compressed_bytes),
        compressed_bodies=CompressedBodies(compressed_bytes),
        redis_cache=redis_cache,
        business_reports=business_reports,
        request_metrics=request_metrics,
        documentation=_documentation(routes, version),
        status_recorder=StatusRecorder(
            shown_channels.loaded, request_metrics.registry, options.sample_s
        ),
        open_streams=OpenStreams(options, request_metrics),
        feeds=feeds,
        replays=Replays(mongo_calls, limits.streams.chunks),
        evidence=EvidenceBundles(limits),
    )
    request_metrics.registry.register(
        StateCollector(
            services.response_cache,
            services.compressed_bodies,
            redis_cache,
            shown_channels.loaded,
            time.monotonic,
        )
    )
    return _application(services, routes, redis)


def _documentation(routes: Sequence[AnyRoute], version: str) -> Documentation:
    return Documentation(
        openapi=msgspec.json.encode(openapi_document(routes, version)),
        page=html_page(reference(routes), version).encode(),
        page_policy=PAGE_POLICY,
    )


def _application(
    services: Services, routes: Sequence[AnyRoute], redis: Redis | None
) -> web.Application:
    options, limits = services.options, services.limits
    limiter = None
    if options.requests_per_minute is not None:
        limiter = RateLimiter(options.requests_per_minute, redis, pause_s=limits.redis_pause_s)
    middleware = Middleware(
        options,
        limiter,
        services.request_metrics,
        services.response_cache.get,
        services.compressed_bodies,
    )
    app = web.Application(middlewares=[middleware.middleware])
    app[_MIDDLEWARE], app[_OPTIONS], app[_LIMITS] = middleware, options, limits
    app.add_routes(map(Dispatcher(services).bind, routes))
    app.router.add_get("/", _redirect_to_docs)
    app.cleanup_ctx.append(partial(_background, services, redis))
    app.on_shutdown.append(services.open_streams.end_all)
    return app


async def _redirect_to_docs(_: web.Request) -> web.Response:
    headers = {"Location": "/docs", "Cache-Control": NO_STORE}
    return web.Response(status=307, headers=headers)


async def _background(
    services: Services, redis: Redis | None, _: web.Application
) -> AsyncIterator[None]:
    """Run the background work of the service while the application lasts."""
    jobs = [services.status_recorder.record]
    if redis is not None:
        jobs.append(partial(follow_redis_topics, redis, services.channels.wake, services.limits))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(services.channels.followed())
        tasks = [asyncio.create_task(restart_on_failure(job)) for job in jobs]
        stack.push_async_callback(cancel_and_wait, tasks)
        stack.callback(services.evidence.close)
        yield


async def serve(app: web.Application, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Serve the application until `cleanup()` of the runner; return the runner and the port.

    For port 0 the system chooses a free one. Raises `OSError` if the address cannot be used. A
    request ends when its client disconnects.
    """
    runner = ApiRunner(
        app,
        middleware=app[_MIDDLEWARE],
        connections=app[_OPTIONS].connections,
        limits=app[_LIMITS],
        access_log=None,
        auto_decompress=False,
        handle_signals=False,
        handler_cancellation=True,
        max_line_size=MAX_REQUEST_LINE_BYTES,
        shutdown_timeout=_SHUTDOWN_S,
    )
    return runner, await listen(runner, host, port)
