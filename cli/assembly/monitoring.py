"""Assembles the monitoring of a process: its metrics and its health server."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from prometheus_client import CollectorRegistry

from cli.configuration.settings import MonitoringSettings
from cli.errors import ConfigurationError
from indexer.daemon import DaemonChannel
from indexer.monitoring.channel_metrics import CHANNEL_METRICS
from indexer.monitoring.envelope_metrics import ENVELOPE_METRICS
from indexer.monitoring.health_server import HealthServer
from runtime.event_loop_lag import LoopLag
from runtime.http_server import serving
from runtime.metrics import MetricCollector, process_registry

log = structlog.get_logger()


@asynccontextmanager
async def process_metrics(version: str) -> AsyncIterator[CollectorRegistry]:
    """Yield a registry with the metrics of this process; measure the event loop's lag meanwhile."""
    registry, lag = process_registry(version), LoopLag()
    registry.register(lag)
    async with lag.measuring():
        yield registry


@asynccontextmanager
async def serve_monitoring(
    settings: MonitoringSettings, channels: Sequence[DaemonChannel], registry: CollectorRegistry
) -> AsyncIterator[None]:
    """Register the metrics of the channels, and serve health and metrics if a port is configured.

    Raises `ConfigurationError` if the server cannot listen on the configured address.
    """
    progress = {channel.progress.channel: channel.progress for channel in channels}
    reconciled = {
        channel.progress.channel: channel.reconciliation
        for channel in channels
        if channel.reconciliation is not None
    }
    for metrics in (CHANNEL_METRICS, ENVELOPE_METRICS):
        registry.register(MetricCollector(metrics, "channel", progress))
    async with AsyncExitStack() as stack:
        if settings.port is not None:
            runner = HealthServer(progress, reconciled, registry).runner()
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
