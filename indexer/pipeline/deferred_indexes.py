"""Decides when the indexes of one channel are built, and builds them.

With all indexes a transaction costs MongoDB four times the work that it costs without them, and
half of that difference if they are built afterwards. Therefore a channel that is far behind is
stored without those indexes that are missing, and they are built when it is near the head. What is
missing is read from MongoDB at each start.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog
from msgspec import Struct
from pymongo.errors import PyMongoError

from indexer.pipeline.index_build_estimate import BuildEstimate
from indexer.pipeline.store_retry import StoreRetry
from indexer.progress.channel_progress import ChannelProgress, Stage
from ledger.mongodb.index_builds import IndexModels, only_owner_index
from ledger.mongodb.indexes import IndexOptions
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import IndexBuild
from runtime.cancellation import raise_if_cancelled
from runtime.tasks import unwrap_exception_group

log = structlog.get_logger()

_OBSERVE_S: Final = 1.0
_LOG_S: Final = 10.0
_NEAR_HEAD_PART: Final = 20


class IndexPolicy(Struct, frozen=True):
    """When indexes are built, and how much memory replaces the index of transaction ids.

    With `far_behind_blocks` or fewer missing blocks a channel is near the head. For so few blocks
    deferral would save seconds only, and the API lacks queries as long as it lasts.
    """

    deferred: bool = True
    far_behind_blocks: int = 1_000
    owned_ids_bytes: int = 128 << 20


class DeferredIndexes:
    """The missing indexes of one channel.

    `begin` and then `settle` must be called before the first block is accepted. Then
    `complete_near_head` runs beside the indexing; `complete` is called when a source has ended.
    """

    def __init__(
        self,
        store: LedgerStore,
        store_retry: StoreRetry,
        progress: ChannelProgress,
        options: IndexOptions,
        policy: IndexPolicy,
    ) -> None:
        self._store, self._store_retry, self._progress = store, store_retry, progress
        self._options, self._policy = options, policy
        self._building = asyncio.Lock()
        self._settled = asyncio.Event()
        self._missing: IndexModels = {}
        self._store_is_empty = False

    @property
    def channel(self) -> str:
        """The name of the channel."""
        return self._progress.channel

    @property
    def has_owner_index(self) -> bool:
        """Whether the store has the index of transaction ids."""
        return not only_owner_index(self._missing)

    async def begin(self, *, store_is_empty: bool) -> None:
        """Find out which indexes are missing; build them at once unless they may be deferred."""
        self._store_is_empty = store_is_empty
        await self._read_missing()
        if not self._policy.deferred:
            await self.complete()

    async def settle(self, *, source_ends: bool) -> None:
        """Decide what is built before the first block is accepted; further calls change nothing.

        A source that ends, as files do, counts as far ahead. The index of transaction ids is
        missing afterwards only if the store was empty, because all owned ids are then known.
        """
        if self._settled.is_set():
            return
        if self._missing and (source_ends or self.is_far_behind):
            await self._store_retry.run(self._store.create_collections)
            if not self._store_is_empty:
                await self.build_owner_index()
            self._progress.defers_indexes = True
            log.info("indexes_deferred", channel=self.channel, indexes=_count(self._missing))
        else:
            await self.complete()
        self._store_is_empty = False
        self._settled.set()

    @property
    def is_far_behind(self) -> bool:
        """Whether the peer is known to have more blocks than are worth a deferral."""
        progress = self._progress
        return progress.peer_height is not None and progress.lag > self._policy.far_behind_blocks

    @property
    def is_near_head(self) -> bool:
        """Whether so few blocks of the peer are missing that the builds can begin.

        MongoDB stores the index entries of blocks that arrive during a build one by one at its end,
        which takes several times longer than to build them in bulk.
        """
        near_blocks = self._policy.far_behind_blocks // _NEAR_HEAD_PART
        return self._progress.peer_height is not None and self._progress.lag <= near_blocks

    async def complete_near_head(self) -> None:
        """Wait until the channel is near the head of its peer, then build the missing indexes."""
        await self._settled.wait()
        while self._missing and not self.is_near_head:
            await self._progress.wait_for_change()
        await self.complete()

    async def complete(self) -> None:
        """Build all missing indexes. Raises `StoreConflictError`."""
        await self._build(lambda missing: missing)
        self._progress.all_indexes_exist()

    async def build_owner_index(self) -> None:
        """Build the index of transaction ids, unless it exists. Raises `StoreConflictError`."""
        await self._build(only_owner_index)

    async def _read_missing(self) -> None:
        self._missing = await self._store_retry.run(
            lambda: self._store.missing_indexes(self._options)
        )

    async def _build(self, select: Callable[[IndexModels], IndexModels]) -> None:
        """Build those of the missing indexes that `select` returns."""
        async with self._building:
            indexes = select(self._missing)
            if indexes:
                with self._progress.timed(Stage.BUILD_INDEXES):
                    await self._build_and_report(indexes)
                await self._read_missing()

    async def _build_and_report(self, indexes: IndexModels) -> None:
        """Build the indexes, and report the builds; those of an empty store take no time."""
        counts = {name: len(models) for name, models in indexes.items()}
        estimate = BuildEstimate(counts, time.monotonic)
        if self._store_is_empty:
            await self._store_retry.run(lambda: self._store.build_indexes(indexes))
            return
        try:
            with unwrap_exception_group():
                async with asyncio.TaskGroup() as group:
                    reporting = group.create_task(self._report(estimate, indexes))
                    await self._store_retry.run(lambda: self._store.build_indexes(indexes))
                    reporting.cancel()
        finally:
            self._progress.record_index_build(None)
        log.info(
            "indexes_built",
            channel=self.channel,
            indexes=_count(indexes),
            seconds=round(estimate.elapsed_s, 1),
        )

    async def _report(self, estimate: BuildEstimate, indexes: IndexModels) -> None:
        log.info("indexes_building", channel=self.channel, indexes=_qualified(indexes))
        count = _count(indexes)
        self._progress.record_index_build(IndexBuild(count, None, None))
        logged_at = estimate.elapsed_s
        while True:
            await asyncio.sleep(_OBSERVE_S)
            try:
                estimate.observe(await self._store.build_steps() or ())
            except PyMongoError:
                continue  # the build itself reports an outage
            finally:
                raise_if_cancelled()
            build = IndexBuild(count, estimate.share, estimate.seconds_left)
            self._progress.record_index_build(build)
            if estimate.elapsed_s - logged_at >= _LOG_S:
                logged_at = estimate.elapsed_s
                log.info(
                    "indexes_building_progress",
                    channel=self.channel,
                    seconds=round(estimate.elapsed_s),
                    percent=None if build.share is None else round(100 * build.share),
                    seconds_left=None if build.seconds_left is None else round(build.seconds_left),
                )


def _count(indexes: IndexModels) -> int:
    return sum(map(len, indexes.values()))


def _qualified(indexes: IndexModels) -> list[str]:
    return [
        f"{name}.{each.document['name']}" for name, models in indexes.items() for each in models
    ]
