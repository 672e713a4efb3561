"""Puts the daemon together and runs it until a signal comes."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from pymongo import AsyncMongoClient

from cli.assembly.api import serve_api
from cli.assembly.mongo import mongo_client
from cli.assembly.monitoring import announced, measured_process, monitored
from cli.assembly.network import peer_sources
from cli.assembly.reconciliation import reconciled_channel, reconciliation
from cli.assembly.redis import redis_client
from cli.configuration.settings import IndexerSettings, Settings
from cli.errors import ConfigurationError, Exit
from cli.signals import exit_of, signals
from cli.version import VERSION
from indexer.block_source import BlockSource
from indexer.channel_indexer import ChannelIndexer, PeerTimeouts
from indexer.channel_progress import ChannelProgress
from indexer.daemon import Daemon, DaemonChannel
from indexer.pipeline import PipelineLimits
from ledger.mongodb.indexes import IndexOptions
from ledger.mongodb.store import LedgerStore
from reconciliation.reconciliation_metrics import RECONCILIATION_METRICS
from runtime.metrics import MetricCollector
from runtime.process import tune_process

log = structlog.get_logger()


def new_progress(channel: str) -> ChannelProgress:
    """Progress by the machine's clocks."""
    return ChannelProgress(channel, time.monotonic, lambda: datetime.now(UTC))


def limits_of(settings: IndexerSettings, store_retry_s: float | None = None) -> PipelineLimits:
    """The pipeline's bounds as configured; a one-shot command waits for MongoDB no longer than it says."""
    return PipelineLimits(
        delivered_bytes=settings.delivered_bytes,
        encoded_bytes=settings.encoded_bytes,
        parallel_batches=settings.parallel_batches,
        store_retry_s=store_retry_s or settings.store_retry_s,
    )


def indexes_of(settings: IndexerSettings) -> IndexOptions:
    """What is indexed beyond the required, as configured."""
    return IndexOptions(settings.payload_fields, settings.key_history)


async def run_daemon(settings: Settings, *, with_api: bool) -> Exit:
    """Follows the configured channels until SIGTERM or SIGINT; a second signal ends at once."""
    if not settings.channels:
        raise ConfigurationError(
            "channels: none is configured; add a table such as [channels.kindledger]"
        )
    sources: dict[str, list[BlockSource]] = {
        channel: list(peer_sources(settings.fabric, channel)) for channel in settings.channels
    }
    async with AsyncExitStack() as stack:
        registry = await stack.enter_async_context(measured_process(VERSION))
        client = await stack.enter_async_context(mongo_client(settings, registry))
        reconciled = reconciled_channel(settings)
        members = [
            _member(client, settings, channel, sources[channel]) for channel in settings.channels
        ]
        for index, member in enumerate(members):
            if member.progress.channel == reconciled:
                members[index] = await stack.enter_async_context(
                    _reconciled(member, client, settings, registry)
                )
        redis_url = settings.redis.reveal()
        if redis_url is not None:
            redis = await stack.enter_async_context(aclosing(redis_client(redis_url)))
            members = [announced(member, redis) for member in members]
        await stack.enter_async_context(monitored(settings.monitoring, members, registry))
        if with_api:
            await stack.enter_async_context(serve_api(client, settings, registry))
        daemon = Daemon(members, VERSION)
        return await until_signal(daemon)


def _member(
    client: AsyncMongoClient[dict[str, Any]],
    settings: Settings,
    channel: str,
    sources: list[BlockSource],
) -> DaemonChannel:
    store = LedgerStore(client, settings.database_of(channel))
    progress = new_progress(channel)
    indexer = ChannelIndexer(
        store,
        sources,
        progress,
        first=settings.channels[channel].start_block,
        limits=limits_of(settings.indexer),
        timeouts=PeerTimeouts(
            poll_s=settings.indexer.poll_s,
            stall_s=settings.indexer.stall_s,
            peer_retry_s=settings.indexer.peer_retry_s,
        ),
        indexes=indexes_of(settings.indexer),
    )
    return DaemonChannel(indexer, progress, store.database)


@asynccontextmanager
async def _reconciled(
    member: DaemonChannel,
    client: AsyncMongoClient[dict[str, Any]],
    settings: Settings,
    registry: CollectorRegistry,
) -> AsyncIterator[DaemonChannel]:
    """The same channel with its reconciliation beside it."""
    store = LedgerStore(client, member.database.name)
    async with reconciliation(settings, store, member.progress) as part:
        progress = {member.progress.channel: part.reconciler.progress}
        registry.register(MetricCollector(RECONCILIATION_METRICS, "channel", progress))
        yield replace(
            member,
            reconciliation=part.reconciler.progress,
            background_tasks=part.background_tasks,
        )


async def until_signal(daemon: Daemon) -> Exit:
    """Runs the daemon; the first signal ends it in order, the second at once. Returns the exit code."""
    tune_process()
    running = asyncio.ensure_future(daemon.run())
    received: list[signal.Signals] = []

    def on_signal(number: signal.Signals) -> None:
        if received:
            running.cancel()
        received.append(number)
        daemon.stop()

    with signals(on_signal):
        try:
            await running
        except asyncio.CancelledError:
            if not received:
                raise
    return exit_of(received[0]) if received else Exit.OK
