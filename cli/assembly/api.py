"""Puts the explorer API together and serves it."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from pymongo import AsyncMongoClient

from cli.assembly.business_reports import business_reports
from cli.assembly.mongo import mongo_client
from cli.assembly.monitoring import measured_process
from cli.assembly.redis import redis_client
from cli.configuration.settings import ApiSettings, Settings
from cli.errors import ConfigurationError, Exit
from cli.signals import exit_of, signals
from cli.version import VERSION
from explorer_api.app import create_app, serve
from explorer_api.http.access import token_digest
from explorer_api.options import Options
from runtime.process import allow_open_files, tune_process

log = structlog.get_logger()

_OWN_FILES = 256
"""For databases, caches and logs."""
_REQUESTS = 256
"""Connections that are no streams."""


def api_options(settings: ApiSettings) -> Options:
    """What the operator chose, but no more streams than this process may have open files."""
    wanted = settings.streams + _REQUESTS + _OWN_FILES
    connections = max(allow_open_files(wanted) - _OWN_FILES, _REQUESTS)
    streams = max(connections - _REQUESTS, 1)
    if streams < settings.streams:
        log.warning(
            "api_streams_limited",
            connections=connections,
            streams=streams,
            configured=settings.streams,
            hint=f"raise the limit of open files (ulimit -n) to {wanted}",
        )
    return Options(
        seconds_per_request=settings.request_s,
        cache_bytes=settings.cache_bytes,
        requests_per_minute=settings.requests_per_minute or None,
        token_digests=frozenset(token_digest(token) for token in settings.reveal_tokens()),
        cors_origins=frozenset(settings.cors_origins),
        trusted_proxies=settings.trusted_proxies,
        connections=connections,
        streams=streams,
        streams_per_client=settings.streams_per_client or None,
        replay_blocks=settings.replay_blocks,
    )


@asynccontextmanager
async def serve_api(
    client: AsyncMongoClient[dict[str, Any]], settings: Settings, registry: CollectorRegistry
) -> AsyncIterator[str]:
    """Serves the explorer API while the context lasts; yields its address. /metrics shows the registry."""
    async with AsyncExitStack() as stack:
        url = settings.redis.reveal()
        redis = redis_client(url) if url is not None else None
        if redis is not None:
            stack.push_async_callback(redis.aclose)
        app = create_app(
            client,
            {channel: settings.database_of(channel) for channel in settings.channels} or None,
            version=VERSION,
            options=api_options(settings.api),
            redis=redis,
            business=await stack.enter_async_context(business_reports(settings)),
            registry=registry,
        )
        try:
            runner, port = await serve(app, settings.api.host, settings.api.port)
        except OSError as error:
            raise ConfigurationError(
                f"api: {settings.api.host}:{settings.api.port}: cannot listen: {error.strerror}"
            ) from error
        stack.push_async_callback(runner.cleanup)
        address = f"http://{settings.api.host}:{port}"
        log.info("api_started", url=f"{address}/api/v1/status", docs=f"{address}/docs")
        yield address


async def run_api(settings: Settings) -> Exit:
    """Serves the API alone until SIGTERM or SIGINT."""
    received: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()

    def on_signal(number: signal.Signals) -> None:
        if not received.done():
            received.set_result(number)

    async with (
        measured_process(VERSION) as registry,
        mongo_client(settings, registry) as client,
        serve_api(client, settings, registry),
    ):
        tune_process()
        with signals(on_signal):
            return exit_of(await received)
