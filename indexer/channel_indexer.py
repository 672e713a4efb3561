"""Keeps one channel indexed: resumes at the checkpoint, takes its sources in turn, reconnects."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from itertools import cycle

import structlog
from msgspec import Struct

from indexer.block_source import BlockSource, DeliveredBlock, SourceUnavailableError
from indexer.chain import Chain
from indexer.channel_progress import ChannelProgress, ErrorSource
from indexer.pipeline import Pipeline, PipelineLimits
from indexer.store_retry import retry_while_unavailable
from ledger.mongodb.indexes import IndexOptions
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ChannelState
from runtime.backoff import Backoff
from runtime.retry import GaveUpError
from runtime.throttled_log import ThrottledLog

log = structlog.get_logger()

_PATIENT_SEEKS = 3
_FIRST_POLL_S = 1.0  # a peer that has nothing new says nothing: whether we are level must not take long to learn


class PeerTimeouts(Struct, frozen=True):
    """How long to wait for peers, in seconds."""

    poll_s: float = 15.0
    """Between questions for a peer's height."""
    stall_s: float = 30.0
    """Until a stream that delivers nothing, though the peer has more, counts as broken."""
    peer_retry_s: float = 3600.0
    """Until the daemon gives up when no peer can be reached."""


class _SkippedError(Exception):
    """The source skipped a block: what is wanted must be sought again."""


class ChannelIndexer:
    """Indexes one channel from its sources, which are tried in turn."""

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
    ) -> None:
        self._store, self._sources, self._progress, self._first = store, sources, progress, first
        self._indexes = indexes
        self._limits, self._timeouts = limits, timeouts
        self._stop = asyncio.Event()
        self._failures = ThrottledLog(
            "peer_unavailable", "peer_available", channel=progress.channel
        )
        self._skipped = 0
        self._last_contact = time.monotonic()

    def stop(self) -> None:
        """Takes no more blocks; `run` returns when those that it has are durable."""
        self._stop.set()

    async def run(self) -> None:
        """Runs until stopped, or until the sources end, if they are files.

        Raises `LedgerError` when this channel must not go on, `GaveUpError` when MongoDB or every peer stays away.
        """
        budget_s = self._limits.store_retry_s
        await retry_while_unavailable(
            lambda: self._store.prepare(self._indexes, self._building), budget_s, self._progress
        )
        checkpoint = await retry_while_unavailable(self._store.checkpoint, budget_s, self._progress)
        first = self._first
        if checkpoint is not None:
            first = checkpoint.start
            if self._first not in (0, first):
                log.warning(
                    "start_block_kept",
                    channel=self._progress.channel,
                    stored=first,
                    configured=self._first,
                )
        chain = Chain(
            self._progress.channel, first, checkpoint.head if checkpoint is not None else None
        )
        self._progress.resume(first, chain.next_number)
        log.info(
            "channel_started", channel=chain.channel, start_block=first, height=chain.next_number
        )
        await Pipeline(self._store, chain, self._progress, self._limits).run(self._feed)
        log.info("channel_stopped", channel=chain.channel, height=self._progress.committed_height)

    def _building(self, collection: str, indexes: Sequence[str]) -> None:
        log.info(
            "indexes_building",
            channel=self._progress.channel,
            collection=collection,
            indexes=indexes,
        )

    async def _feed(self, pipeline: Pipeline) -> None:
        """Puts blocks in until stopped, or until a file source ends."""
        following = asyncio.create_task(self._follow(pipeline))
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((following, stopping), return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                following.result()
        finally:
            stopping.cancel()
            following.cancel()
            await asyncio.gather(following, stopping, return_exceptions=True)

    async def _follow(self, pipeline: Pipeline) -> None:
        backoff = Backoff()
        for source in cycle(self._sources):
            wanted = pipeline.wanted
            try:
                await self._session(source, pipeline)
                if source.finite:
                    return
            except _SkippedError:
                self._progress.record_reconnect("skipped")
                continue
            except SourceUnavailableError as error:
                self._progress.record_reconnect(error.reason)
                self._progress.record_error(str(error), ChannelState.WAITING, ErrorSource.PEER)
                self._failures.failed(error=str(error), peer=source.name, reason=error.reason)
            if pipeline.wanted > wanted:
                backoff.reset()
            if time.monotonic() - self._last_contact > self._timeouts.peer_retry_s:
                last = (
                    self._progress.error.message if self._progress.error is not None else "no error"
                )
                raise GaveUpError(
                    f"no peer of channel {self._progress.channel} could be followed: {last}"
                )
            await asyncio.sleep(backoff.next_delay())

    async def _session(self, source: BlockSource, pipeline: Pipeline) -> None:
        """One connection to one source, from the last accepted block on."""
        self._progress.peer = source.name
        await self._ask_height(source, pipeline)
        tip = pipeline.wanted - 1 if pipeline.wanted > self._progress.start_block else None
        quiet_s, wait_s = 0.0, min(_FIRST_POLL_S, self._timeouts.poll_s)
        async with aclosing(source.blocks(pipeline.wanted, tip)) as blocks:
            following = asyncio.ensure_future(anext(blocks, None))
            try:
                while True:
                    done, _ = await asyncio.wait((following,), timeout=wait_s)
                    if not done:
                        quiet_s += wait_s
                        wait_s = self._timeouts.poll_s
                        await self._quiet(source, pipeline, quiet_s)
                        continue
                    delivered = following.result()
                    if delivered is None:
                        return
                    quiet_s = 0.0
                    await self._accept(delivered, source, pipeline)
                    following = asyncio.ensure_future(anext(blocks, None))
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)

    async def _accept(
        self, delivered: DeliveredBlock, source: BlockSource, pipeline: Pipeline
    ) -> None:
        number = delivered.block.header.number
        self._last_contact = time.monotonic()
        if number == pipeline.wanted:
            self._failures.recovered()
            self._skipped = 0
        elif number > pipeline.wanted and not source.finite and self._skipped < _PATIENT_SEEKS:
            self._skipped += 1
            raise _SkippedError
        await pipeline.put(delivered)

    async def _ask_height(self, source: BlockSource, pipeline: Pipeline) -> None:
        """Learns the source's height; compares its highest block with ours if it has no more than we have."""
        try:
            async with asyncio.timeout(self._timeouts.stall_s):
                newest = await source.newest()
        except TimeoutError:
            raise SourceUnavailableError(
                "stalled",
                f"{source.name} did not tell its height within {self._timeouts.stall_s:.0f} s",
            ) from None
        if newest is None:
            return
        self._last_contact = time.monotonic()
        height = newest.block.header.number + 1
        self._progress.record_peer_height(height)
        if height < pipeline.wanted:
            await pipeline.put(newest)
            raise SourceUnavailableError(
                "behind",
                f"{source.name} has {height} blocks, wanted is block {pipeline.wanted}: waiting for it. If its channel "
                "was rebuilt, it will never catch up on this chain",
            )

    async def _quiet(self, source: BlockSource, pipeline: Pipeline, quiet_s: float) -> None:
        """Nothing came for a while: is there nothing, or does the stream hang?"""
        await self._ask_height(source, pipeline)
        if self._progress.lag == 0:
            self._failures.recovered()
            self._progress.set_state(ChannelState.FOLLOWING)
        elif (
            self._progress.peer_height or 0
        ) > pipeline.wanted and quiet_s >= self._timeouts.stall_s:
            raise SourceUnavailableError(
                "stalled",
                f"{source.name} delivered nothing for {quiet_s:.0f} s, though it has more",
            )
