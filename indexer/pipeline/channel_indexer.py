"""Keeps one channel indexed: starts after the last stored block, and reconnects to its sources."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from itertools import cycle
from typing import Any, Final

import structlog
from msgspec import Struct

from indexer.pipeline.block_signatures import BlockSignatures, read_config_block
from indexer.pipeline.chain import Chain
from indexer.pipeline.deferred_indexes import DeferredIndexes, IndexPolicy
from indexer.pipeline.encoders import new_encoder
from indexer.pipeline.leftovers import inspect_leftovers
from indexer.pipeline.owner_lookup import OwnerLookup
from indexer.pipeline.pipeline import Pipeline, PipelineLimits
from indexer.pipeline.raw_block_keeper import RawBlockKeeper
from indexer.pipeline.store_retry import ARCHIVE, MONGODB, StoreRetry
from indexer.progress.channel_progress import ChannelProgress, ErrorSource
from indexer.sources.block_source import BlockSource, DeliveredBlock, SourceUnavailableError
from ledger.block_encoder import BlockEncoder
from ledger.mongodb.indexes import IndexOptions
from ledger.mongodb.raw_block_archive import MongoArchive
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ChannelState
from ledger.owned_id_table import OwnedIdTable
from ledger.position import BlockNumber, Height, height_above
from ledger.raw_blocks import RawBlockArchive
from runtime.backoff import Backoff
from runtime.retry import GaveUpError
from runtime.tasks import unwrap_exception_group
from runtime.throttled_log import ThrottledLog

log = structlog.get_logger()

_MAX_SKIPPED_IN_A_ROW: Final = 3
"""How often the same missing block is requested again before the channel stops at the gap."""

_FIRST_POLL_S: Final = 1.0
"""The silence of a new stream after which the peer's height is first requested.

A stream without new blocks is silent, so only the peer's height shows that the channel has caught
up.
"""


class PeerTimeouts(Struct, frozen=True):
    """Intervals and time limits for peers, in seconds."""

    poll_s: float = 15.0
    """The time between requests for the peer's height while its stream is silent."""
    stall_s: float = 30.0
    """The time after which a silent stream counts as broken if the peer has more blocks.

    It is also the time limit of a request for the peer's height.
    """
    peer_retry_s: float = 3600.0
    """The time without a response of any peer after which the daemon gives up."""


class _BlockSkippedError(Exception):
    """The source skipped a block, which must be requested again."""


class ChannelIndexer:
    """Indexes one channel from its sources, which take turns when they fail."""

    def __init__(
        self,
        store: LedgerStore,
        sources: Sequence[BlockSource],
        progress: ChannelProgress,
        *,
        first: int = 0,
        limits: PipelineLimits = PipelineLimits(),  # noqa: B008 - frozen
        timeouts: PeerTimeouts = PeerTimeouts(),  # noqa: B008 - frozen
        indexes: IndexOptions = IndexOptions(),  # noqa: B008 - frozen
        index_policy: IndexPolicy = IndexPolicy(),  # noqa: B008 - frozen
        encoder: BlockEncoder | None = None,
        signatures: BlockSignatures | None = None,
        raw_blocks: RawBlockArchive | None = None,
    ) -> None:
        self._store, self._sources, self._progress, self._first = store, sources, progress, first
        self._limits, self._timeouts = limits, timeouts
        self._encoder, self._signatures = encoder or new_encoder(), signatures
        progress.encoder = self._encoder.name
        self._store_retry = StoreRetry(limits.store_retry_s, progress)
        self._indexes = DeferredIndexes(store, self._store_retry, progress, indexes, index_policy)
        owned_ids = OwnedIdTable(index_policy.owned_ids_bytes)
        self._owner_lookup = OwnerLookup(store, self._store_retry, self._indexes, owned_ids)
        self._raw_blocks: RawBlockKeeper | None = None
        if raw_blocks is not None:
            in_mongodb = isinstance(raw_blocks, MongoArchive)
            retry = StoreRetry(limits.store_retry_s, progress, MONGODB if in_mongodb else ARCHIVE)
            self._raw_blocks = RawBlockKeeper(raw_blocks, retry, progress)
        self._stop = asyncio.Event()
        self._peer_failures = ThrottledLog(
            "peer_unavailable", "peer_available", channel=progress.channel
        )
        self._skipped_in_a_row = 0
        self._last_contact = time.monotonic()

    def stop(self) -> None:
        """Make `run` return as soon as the blocks that were delivered are stored."""
        self._stop.set()

    async def run(self) -> None:
        """Index until stopped, or until the sources end, if they are files.

        Raises `LedgerError` when the channel must stop, and `GaveUpError` when MongoDB or all
        peers are unavailable for too long.
        """
        chain = await self._stored_chain()
        await self._indexes.begin(store_is_empty=chain.tip is None)
        await self._store_retry.run(lambda: inspect_leftovers(self._store, chain))
        if self._raw_blocks is not None:
            await self._raw_blocks.begin(self._store, chain)
        self._progress.resume(chain.first, Height(chain.next_number))
        log.info(
            "channel_started",
            channel=chain.channel,
            start_block=chain.first,
            height=chain.next_number,
        )
        pipeline = Pipeline(
            self._store,
            self._store_retry,
            chain,
            self._progress,
            limits=self._limits,
            encoder=self._encoder,
            owner_lookup=self._owner_lookup,
            signatures=self._signatures,
            raw_blocks=self._raw_blocks,
        )
        if self._signatures is not None:
            self._signatures.resume(chain.first, await self._last_config(chain))
        with unwrap_exception_group():
            async with asyncio.TaskGroup() as group:
                completing = group.create_task(self._indexes.complete_near_head())
                await pipeline.run(lambda each: self._until_stopped(self._deliver(each)))
                completing.cancel()
        if not self._stop.is_set():
            await self._until_stopped(self._indexes.complete())
        log.info("channel_stopped", channel=chain.channel, height=self._progress.committed_height)

    async def _stored_chain(self) -> Chain:
        """Return the chain as far as it is stored, without blocks if the store is empty."""
        channel = self._progress.channel
        await self._store_retry.run(self._store.check_format)
        checkpoint = await self._store_retry.run(self._store.checkpoint)
        if checkpoint is None:
            return Chain(channel, BlockNumber(self._first), None)
        if self._first not in (0, checkpoint.start):
            log.warning(
                "start_block_kept",
                channel=channel,
                stored=checkpoint.start,
                configured=self._first,
            )
        return Chain(channel, checkpoint.start, checkpoint.head)

    async def _last_config(self, chain: Chain) -> int | None:
        """Return the number of the CONFIG block in force after the stored part of the chain."""
        tip = chain.tip
        if tip is None:
            return None
        return await self._store_retry.run(lambda: self._store.last_config(tip.number))

    async def _until_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` to its end, but not further than until the indexer is stopped."""
        working = asyncio.create_task(work)
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        finally:
            stopping.cancel()
            working.cancel()
            await asyncio.gather(working, stopping, return_exceptions=True)

    async def _deliver(self, pipeline: Pipeline) -> None:
        """Put blocks of one source after the other into the pipeline, with delays after errors."""
        backoff = Backoff()
        for source in cycle(self._sources):
            next_before = pipeline.next_number
            try:
                await self._deliver_from(source, pipeline)
                if source.finite:
                    return
            except _BlockSkippedError:
                self._progress.record_reconnect("skipped")
                continue
            except SourceUnavailableError as error:
                self._progress.record_reconnect(error.reason)
                self._progress.record_error(str(error), ChannelState.WAITING, ErrorSource.PEER)
                self._peer_failures.failed(error=str(error), peer=source.name, reason=error.reason)
            if pipeline.next_number > next_before:
                backoff.reset()
            self._check_retry_budget()
            await asyncio.sleep(backoff.next_delay())

    def _check_retry_budget(self) -> None:
        """Raise `GaveUpError` if no peer has responded for too long."""
        if time.monotonic() - self._last_contact > self._timeouts.peer_retry_s:
            error = self._progress.error
            raise GaveUpError(
                f"no peer of channel {self._progress.channel} could be followed: "
                f"{error.message if error is not None else 'no error'}"
            )

    async def _deliver_from(self, source: BlockSource, pipeline: Pipeline) -> None:
        """Put the source's blocks into the pipeline, from the last accepted block on."""
        self._progress.peer = source.name
        await self._check_height(source, pipeline)
        await self._deliver_config_block(source, pipeline)
        await self._indexes.settle(source_ends=source.finite)
        start = pipeline.next_number
        tip = start - 1 if start > self._progress.start_block else None
        silent_s, wait_s = 0.0, min(_FIRST_POLL_S, self._timeouts.poll_s)
        async with aclosing(source.blocks(start, tip)) as blocks:
            next_block = asyncio.ensure_future(anext(blocks, None))
            try:
                while True:
                    done, _ = await asyncio.wait((next_block,), timeout=wait_s)
                    if not done:
                        silent_s += wait_s
                        wait_s = self._timeouts.poll_s
                        await self._check_silence(source, pipeline, silent_s)
                        continue
                    delivered = next_block.result()
                    if delivered is None:
                        return
                    silent_s = 0.0
                    await self._put(delivered, source, pipeline)
                    next_block = asyncio.ensure_future(anext(blocks, None))
            finally:
                next_block.cancel()
                await asyncio.gather(next_block, return_exceptions=True)

    async def _put(
        self, delivered: DeliveredBlock, source: BlockSource, pipeline: Pipeline
    ) -> None:
        """Put a block into the pipeline, unless a peer has skipped blocks before it.

        Raises `_BlockSkippedError` for the first few repetitions of the same gap.
        """
        number = delivered.number
        self._last_contact = time.monotonic()
        if number == pipeline.next_number:
            self._peer_failures.recovered()
            self._skipped_in_a_row = 0
            self._progress.agreement.record_delivery(
                source.name, number, self._progress.committed_height
            )
        elif (
            number > pipeline.next_number
            and not source.finite
            and self._skipped_in_a_row < _MAX_SKIPPED_IN_A_ROW
        ):
            self._skipped_in_a_row += 1
            raise _BlockSkippedError
        await pipeline.put(delivered)

    async def _deliver_config_block(self, source: BlockSource, pipeline: Pipeline) -> None:
        """Put the stored CONFIG block in force into the pipeline, if signatures need it.

        The pipeline compares it with the stored block. Files are read from the first one on anyway.
        """
        number = self._signatures.needed_config if self._signatures is not None else None
        if number is not None and source.seeks:
            await pipeline.put(await read_config_block(source, number, self._timeouts.stall_s))

    async def _check_height(self, source: BlockSource, pipeline: Pipeline) -> None:
        """Read the source's height. If the source is behind, compare its highest block and wait."""
        try:
            async with asyncio.timeout(self._timeouts.stall_s):
                newest = await source.newest()
        except TimeoutError:
            raise SourceUnavailableError(
                "stalled",
                f"{source.name} did not report its height within {self._timeouts.stall_s:.0f} s",
            ) from None
        if newest is None:
            return
        self._last_contact = time.monotonic()
        height = height_above(newest.number)
        self._progress.record_peer_height(height)
        if height < pipeline.next_number:
            await pipeline.put(newest)
            raise SourceUnavailableError(
                "behind",
                f"{source.name} has {height} blocks, but block {pipeline.next_number} is needed: "
                "waiting for it. If its channel was created again, it will never reach this block",
            )

    async def _check_silence(
        self, source: BlockSource, pipeline: Pipeline, silent_s: float
    ) -> None:
        """Find out why the stream is silent: the channel has caught up, or the stream hangs."""
        await self._check_height(source, pipeline)
        if self._progress.lag == 0:
            self._peer_failures.recovered()
            self._progress.set_working_state()
            return
        peer_has_more = (self._progress.peer_height or 0) > pipeline.next_number
        if peer_has_more and silent_s >= self._timeouts.stall_s:
            raise SourceUnavailableError(
                "stalled",
                f"{source.name} delivered nothing for {silent_s:.0f} s, though it has more blocks",
            )
