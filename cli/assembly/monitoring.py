"""Shows what the daemon does, as configured: metrics, health, and announcements of new blocks."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import structlog
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from cli.configuration.settings import MonitoringSettings
from cli.errors import ConfigurationError
from indexer.channel_metrics import CHANNEL_METRICS
from indexer.daemon import DaemonChannel
from indexer.head_publisher import HeadPublisher
from indexer.health_server import HealthServer
from runtime.event_loop_lag import LoopLag
from runtime.http_server import serving
from runtime.metrics import MetricCollector, process_registry

log = structlog.get_logger()


@asynccontextmanager
async def measured_process(version: str) -> AsyncIterator[CollectorRegistry]:
    """A registry with what holds for the process, and how late its event loop is while the context lasts."""
    registry, lag = process_registry(version), LoopLag()
    registry.register(lag)
    async with lag.measuring():
        yield registry


@asynccontextmanager
async def monitored(
    settings: MonitoringSettings, members: Sequence[DaemonChannel], registry: CollectorRegistry
) -> AsyncIterator[None]:
    """The members' figures are in the registry, and where a port is configured their health can be asked for.

    Raises `ConfigurationError` where the address cannot be had.
    """
    channels = {member.progress.channel: member.progress for member in members}
    reconciled = {
        member.progress.channel: member.reconciliation
        for member in members
        if member.reconciliation is not None
    }
    registry.register(MetricCollector(CHANNEL_METRICS, "channel", channels))
    async with AsyncExitStack() as stack:
        if settings.port is not None:
            runner = HealthServer(channels, reconciled, registry).runner()
            try:
                port = await stack.enter_async_context(
                    serving(runner, settings.host, settings.port)
                )
            except OSError as error:
                raise ConfigurationError(
                    f"monitoring: {settings.host}:{settings.port}: cannot listen: {error.strerror}"
                ) from error
            log.info("monitoring_started", url=f"http://{settings.host}:{port}/health")
        yield


def announced(member: DaemonChannel, redis: Redis) -> DaemonChannel:
    """The same channel, with its new heights told to whoever listens."""
    announcer = HeadPublisher(redis, member.database.name, member.progress)
    return replace(member, background_tasks=(*member.background_tasks, announcer.run))
