"""Assembles the explorer API and serves it."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from pymongo import AsyncMongoClient

from cli.assembly.business_reports import business_reports
from cli.assembly.mongo import mongo_client
from cli.assembly.monitoring import process_metrics
from cli.assembly.raw_archive import raw_blocks
from cli.assembly.redis import configured_redis
from cli.configuration.settings import ApiSettings, Settings
from cli.errors import ConfigurationError, Exit
from cli.signals import exit_code_of, handle_signals
from cli.version import VERSION
from explorer_api.app import create_app, serve
from explorer_api.http.access import token_digest
from explorer_api.options import Options
from runtime.process import allow_open_files, tune_process

log = structlog.get_logger()

_RESERVED_FILES = 256
"""Open files that databases, caches and logs may need."""
_REQUEST_CONNECTIONS = 256
"""Connections for requests other than streams."""


def api_options(settings: ApiSettings) -> Options:
    """Return the configured options, with no more streams than this process may open files."""
    needed = settings.streams + _REQUEST_CONNECTIONS + _RESERVED_FILES
    connections = max(allow_open_files(needed) - _RESERVED_FILES, _REQUEST_CONNECTIONS)
    streams = max(connections - _REQUEST_CONNECTIONS, 1)
    if streams < settings.streams:
        log.warning(
            "api_streams_limited",
            connections=connections,
            streams=streams,
            configured=settings.streams,
            hint=f"raise the limit of open files (ulimit -n) to {needed}",
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
    """Serve the explorer API while the context lasts; yield its address.

    The route /metrics shows the registry. Raises `ConfigurationError` if the server cannot listen
    on the configured address.
    """
    async with AsyncExitStack() as stack:
        app = create_app(
            client,
            {channel: settings.database_of(channel) for channel in settings.channels} or None,
            version=VERSION,
            options=api_options(settings.api),
            redis=await stack.enter_async_context(configured_redis(settings.redis)),
            business_reports=await stack.enter_async_context(business_reports(settings)),
            registry=registry,
            find_archive=partial(raw_blocks, settings),
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
    """Serve the explorer API without an indexer until a signal comes; return the exit code."""
    received: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()

    def on_signal(number: signal.Signals) -> None:
        if not received.done():
            received.set_result(number)

    async with AsyncExitStack() as parts:
        # The handlers are removed before the parts are closed: then a second signal ends the
        # process at once.
        with handle_signals(on_signal):
            registry = await parts.enter_async_context(process_metrics(VERSION))
            client = await parts.enter_async_context(mongo_client(settings, registry))
            await parts.enter_async_context(serve_api(client, settings, registry))
            tune_process()
            return exit_code_of(await received)
