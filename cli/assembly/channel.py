"""Assembles a channel of the daemon: its indexer, and what runs beside it."""

import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from cli.assembly.agreement import channel_agreement, peer_comparisons
from cli.assembly.archive import raw_block_archive
from cli.assembly.network import peer_sources
from cli.assembly.reconciliation import reconciled_channel, reconciliation
from cli.assembly.signatures import block_signatures, envelope_verification
from cli.configuration.settings import IndexerSettings, Settings, VerificationSettings
from indexer.audit.scrub import Scrub, ScrubRate
from indexer.daemon import DaemonChannel
from indexer.monitoring.head_publisher import HeadPublisher
from indexer.pipeline.channel_indexer import ChannelIndexer, PeerTimeouts
from indexer.pipeline.deferred_indexes import IndexPolicy
from indexer.pipeline.pipeline import PipelineLimits
from indexer.progress.agreement import Agreement
from indexer.progress.channel_progress import ChannelProgress
from ledger.mongodb.indexes import IndexOptions
from ledger.mongodb.store import LedgerStore
from reconciliation.reconciliation_metrics import RECONCILIATION_METRICS
from reconciliation.reconciliation_progress import ReconciliationProgress
from runtime.metrics import MetricCollector


def new_progress(channel: str, agreement: Agreement | None = None) -> ChannelProgress:
    """Return the progress of a channel, measured by this machine's clocks."""
    return ChannelProgress(channel, time.monotonic, _now, agreement)


def pipeline_limits(
    settings: IndexerSettings, store_retry_s: float | None = None
) -> PipelineLimits:
    """Return the configured limits of the pipeline; `store_retry_s` replaces the configured one."""
    return PipelineLimits(
        delivered_bytes=settings.delivered_bytes,
        encoded_bytes=settings.encoded_bytes,
        parallel_batches=settings.parallel_batches,
        store_retry_s=store_retry_s or settings.store_retry_s,
    )


def index_options(settings: IndexerSettings) -> IndexOptions:
    """Return the configured optional indexes."""
    return IndexOptions(settings.payload_fields, settings.key_history)


def index_policy(settings: IndexerSettings) -> IndexPolicy:
    """Return when missing indexes are built, as configured."""
    return IndexPolicy(
        deferred=settings.indexes == "deferred",
        far_behind_blocks=settings.far_behind_blocks,
        owned_ids_bytes=settings.owned_ids_bytes,
    )


def scrub_rate(settings: VerificationSettings) -> ScrubRate:
    """Return the configured rate of the scrub."""
    return ScrubRate(settings.scrub_documents_per_s, settings.scrub_pause_s)


@asynccontextmanager
async def daemon_channel(
    channel: str,
    settings: Settings,
    client: AsyncMongoClient[dict[str, Any]],
    redis: Redis | None,
    registry: CollectorRegistry,
) -> AsyncIterator[DaemonChannel]:
    """Yield a configured channel: its indexer, its reconciliation and its head notifications.

    The channel has reconciliation if it is configured for this channel, and head notifications if
    Redis is configured. Raises `ConfigurationError`, `IdentityError` for certificate files that
    cannot be used, and the errors of `raw_block_archive`.
    """
    store = LedgerStore(client, settings.database_of(channel))
    sources = peer_sources(settings.fabric, channel)
    progress = new_progress(channel, channel_agreement(settings, channel, sources))
    comparisons = peer_comparisons(settings, store, sources, progress)
    background = Scrub(store, progress, scrub_rate(settings.verification), _now).run
    tasks: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = (background,)
    verification = envelope_verification(settings, channel, store, sources, progress)
    if verification is not None:
        tasks += (verification.run,)
    if redis is not None:
        tasks += (HeadPublisher(redis, store.database.name, progress).run,)
    async with AsyncExitStack() as parts:
        archive = raw_block_archive(settings, store.database, channel)
        indexer = ChannelIndexer(
            store,
            sources,
            progress,
            first=settings.channels[channel].start_block,
            limits=pipeline_limits(settings.indexer),
            timeouts=_timeouts(settings.indexer),
            indexes=index_options(settings.indexer),
            index_policy=index_policy(settings.indexer),
            signatures=block_signatures(settings, channel, progress),
            raw_blocks=await parts.enter_async_context(archive),
        )
        reconciled: ReconciliationProgress | None = None
        if channel == reconciled_channel(settings):
            part = await parts.enter_async_context(reconciliation(settings, store, progress))
            reconciled = part.reconciler.progress
            by_channel = {channel: reconciled}
            registry.register(MetricCollector(RECONCILIATION_METRICS, "channel", by_channel))
            tasks = (*part.background_tasks, *tasks)
        yield DaemonChannel(indexer, progress, store.database, reconciled, tasks, comparisons)


def _timeouts(settings: IndexerSettings) -> PeerTimeouts:
    return PeerTimeouts(
        poll_s=settings.poll_s, stall_s=settings.stall_s, peer_retry_s=settings.peer_retry_s
    )


def _now() -> datetime:
    return datetime.now(UTC)
