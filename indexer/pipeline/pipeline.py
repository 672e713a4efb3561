"""Checks, decodes and stores the blocks that a source delivers.

There are three stages, connected by queues that are bounded in bytes:

1. the source puts delivered blocks in;
2. `_prepare` checks them against the chain, decodes them, decides which transaction owns each
   transaction id, and checks their commit hashes, strictly in ascending order;
3. `_write` stores them.

All blocks that wait to be written make up one batch, up to a limit. So a single live block is
committed at once, and during catching up thousands of transactions are committed together.

Batches are written in parallel, but the block documents of a batch only after those of every
earlier batch. `ledger.mongodb.store` explains why this order is safe against crashes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from indexer.pipeline.block_signatures import BlockSignatures
from indexer.pipeline.block_steps import (
    EncodingSteps,
    NewBlock,
    PreparedBlock,
    check_blocks,
    compute,
    encode_blocks,
)
from indexer.pipeline.chain import Chain, compare_redelivered
from indexer.pipeline.commit_hashes import CommitHashes, UncheckedHashes, Values
from indexer.pipeline.leftovers import describe_leftovers
from indexer.pipeline.owner_lookup import OwnerLookup
from indexer.pipeline.raw_block_keeper import RawBlockKeeper
from indexer.pipeline.store_retry import StoreRetry
from indexer.progress.channel_progress import ChannelProgress, Stage
from indexer.sources.block_source import DeliveredBlock
from ledger.block_encoder import BlockEncoder
from ledger.documents.digests import NO_DIGEST
from ledger.documents.encoding import EncodedBlock
from ledger.errors import LedgerError, StoreConflictError
from ledger.mongodb.earlier_values import earlier_values
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.stored_blocks import StoredBlock
from ledger.ownership import ids_to_look_up
from ledger.position import BlockNumber, height_above
from ledger.state_changes import StateKey
from runtime.byte_queue import ByteQueue
from runtime.tasks import unwrap_exception_group


class PipelineLimits(Struct, frozen=True):
    """Limits of the pipeline: sizes in bytes, times in seconds."""

    delivered_bytes: int = 16 << 20
    """The size of the delivered blocks that wait to be decoded."""
    decode_bytes: int = 4 << 20
    """The size of the blocks that are decoded together, in one chunk."""
    encoded_bytes: int = 16 << 20
    """The size of the encoded documents that wait to be written."""
    batch_bytes: int = 8 << 20
    """The size of the documents that are written together, in one batch."""
    parallel_batches: int = 2
    store_retry_s: float = 600.0
    """The time for which a failing call to the store is repeated."""


class Pipeline:
    """Indexes the blocks that are put in; `run` starts the stages and waits until all is stored."""

    def __init__(
        self,
        store: LedgerStore,
        store_retry: StoreRetry,
        chain: Chain,
        progress: ChannelProgress,
        *,
        limits: PipelineLimits,
        encoder: BlockEncoder,
        owner_lookup: OwnerLookup,
        signatures: BlockSignatures | None,
        raw_blocks: RawBlockKeeper | None,
    ) -> None:
        self._store, self._store_retry, self._owner_lookup = store, store_retry, owner_lookup
        self._chain, self._progress, self._limits = chain, progress, limits
        self._signatures, self._raw_blocks = signatures, raw_blocks
        self._steps = EncodingSteps(
            encoder,
            signatures.check if signatures is not None else None,
            raw_blocks.compress if raw_blocks is not None else None,
        )
        self._delivered: ByteQueue[DeliveredBlock] = ByteQueue(limits.delivered_bytes)
        self._encoded: ByteQueue[PreparedBlock] = ByteQueue(limits.encoded_bytes)
        progress.queues = {"delivered": self._delivered, "encoded": self._encoded}
        self._uncommitted: dict[int, StoredBlock] = {}
        """The accepted blocks that are not committed yet, by number."""
        self._uncommitted_owners: dict[str, int] = {}
        """The transaction ids that uncommitted blocks own, with the number of the block."""
        self._commit_hashes = CommitHashes(self._earlier_values, chain.tip, self._has_commit_hashes)
        self._unchecked_hashes = UncheckedHashes(progress)
        self._free_batches = asyncio.Semaphore(limits.parallel_batches)
        self._digest = chain.tip.digest if chain.tip is not None else NO_DIGEST
        """The digest of the highest encoded block."""
        self._error: LedgerError | None = None
        self._source_error: LedgerError | None = None
        self.next_number = chain.next_number
        """The number of the next block to put in."""

    async def run(self, deliver: Callable[["Pipeline"], Awaitable[None]]) -> None:
        """Run the stages while `deliver` puts blocks in; return when all these blocks are stored.

        Raises `LedgerError` when a block must not be stored, after the blocks before it are
        stored; `GaveUpError` when MongoDB is unavailable for too long; and the errors of `deliver`.
        Blocks that were not committed by then are invisible to readers.
        """
        try:
            with unwrap_exception_group():
                async with asyncio.TaskGroup() as stages:
                    delivering = stages.create_task(self._deliver(deliver))
                    stages.create_task(self._prepare(delivering))
                    stages.create_task(self._write())
        except StoreConflictError as conflict:
            conflict.append(await describe_leftovers(self._store, list(self._uncommitted)))
            raise
        error = self._error or self._source_error
        if error is not None:
            raise error

    async def put(self, delivered: DeliveredBlock) -> None:
        """Add a delivered block when there is room in the queue."""
        number = BlockNumber(delivered.number)
        self._progress.record_delivery(number, delivered.size)
        self.next_number = max(self.next_number, BlockNumber(number + 1))
        await self._delivered.put(delivered, delivered.size)

    async def _deliver(self, deliver: Callable[["Pipeline"], Awaitable[None]]) -> None:
        try:
            await deliver(self)
        except LedgerError as error:
            self._source_error = error
        await self._delivered.close()

    async def _prepare(self, delivering: asyncio.Task[None]) -> None:
        """Check, decode and encode delivered blocks until the source ends or a block is wrong."""
        while self._error is None and (chunk := await self._next_chunk()):
            await self._encode(await self._accept(chunk))
        delivering.cancel()
        await self._encoded.close()

    async def _next_chunk(self) -> list[DeliveredBlock]:
        with self._progress.timed(Stage.WAIT_FOR_BLOCKS):
            return await self._delivered.take(self._limits.decode_bytes)

    async def _accept(self, chunk: Sequence[DeliveredBlock]) -> list[NewBlock]:
        """Append new blocks to the chain and return them; compare blocks that it already has."""
        with self._progress.timed(Stage.DECODE):
            check = partial(check_blocks, self._steps.encoder, chunk, self._chain.next_number)
            checked, self._error = await compute(check, sum(each.size for each in chunk))
        accepted = await self._accepted_blocks(
            [undecoded.number for undecoded, block in checked if block is None]
        )
        new_blocks: list[NewBlock] = []
        try:
            for delivered, (undecoded, block) in zip(chunk, checked, strict=False):
                number = undecoded.number
                if block is not None and number >= self._chain.next_number:
                    accepted[number] = self._uncommitted[number] = self._chain.extend(block)
                    new_blocks.append(NewBlock(block, delivered.data))
                elif number in accepted:
                    compare_redelivered(undecoded, accepted[number])
                    if self._signatures is not None:
                        self._signatures.recognize(undecoded)
                    self._progress.redelivered_blocks += 1
        except LedgerError as error:
            self._error = error
        return new_blocks

    async def _accepted_blocks(self, numbers: Sequence[int]) -> dict[int, StoredBlock]:
        """Return the accepted blocks with these numbers, without those before the start block."""
        accepted = {
            number: self._uncommitted[number] for number in numbers if number in self._uncommitted
        }
        stored = [number for number in numbers if number not in accepted]
        if stored:
            accepted |= await self._store_retry.run(lambda: self._store.stored_blocks(stored))
        return accepted

    async def _encode(self, blocks: Sequence[NewBlock]) -> None:
        """Decide which transactions own their ids, and put the blocks' documents into the queue."""
        to_look_up: set[str] = set().union(*(ids_to_look_up(block.claimed) for block in blocks))
        # Read before the query: a block may be committed, and leave this dictionary, meanwhile.
        owned_below = to_look_up & self._uncommitted_owners.keys()
        if to_look_up:
            with self._progress.timed(Stage.OWNERS):
                owned_below |= await self._owner_lookup.owned_ids(to_look_up, blocks[0].number)
        with self._progress.timed(Stage.ENCODE):
            encode = partial(encode_blocks, self._steps, blocks, owned_below, self._digest)
            encoded, error = await compute(encode, sum(len(each.data) for each in blocks))
        self._error = error or self._error
        for prepared, owned_ids in encoded:
            block = prepared.documents
            try:
                await self._check_commit_hash(block)
            except LedgerError as mismatch:
                self._error = mismatch
                return
            self._digest = block.digest
            self._uncommitted_owners |= dict.fromkeys(owned_ids, block.number)
            await self._owner_lookup.add(block.number, owned_ids)
            with self._progress.timed(Stage.WAIT_FOR_ROOM):
                written = PreparedBlock(replace(block, updates=b""), prepared.frame)
                await self._encoded.put(written, written.size)

    async def _check_commit_hash(self, block: EncodedBlock) -> None:
        accepted = self._uncommitted[block.number]
        reason = await self._commit_hashes.check(accepted, block.updates)
        if reason is not None:
            self._unchecked_hashes.record(block.number, reason)

    async def _earlier_values(self, number: int, keys: set[StateKey]) -> Values | None:
        """Return the values of keys before a block, when all lower blocks are committed."""
        await self._progress.wait_for_height(number)
        start, database = self._chain.first, self._store.database
        return await self._store_retry.run(lambda: earlier_values(database, start, number, keys))

    async def _has_commit_hashes(self) -> bool:
        first = max(self._chain.first, 1)  # the genesis block never has one
        return await self._store_retry.run(lambda: self._store.has_commit_hash(first))

    async def _write(self) -> None:
        async with asyncio.TaskGroup() as batches:
            previous: asyncio.Task[None] | None = None
            while True:
                await self._free_batches.acquire()
                batch = await self._encoded.take(self._limits.batch_bytes)
                if not batch:
                    return
                previous = batches.create_task(self._write_batch(batch, previous))

    async def _write_batch(
        self, prepared: list[PreparedBlock], previous: asyncio.Task[None] | None
    ) -> None:
        """Write a batch: raw blocks and documents at the same time, then the block documents."""
        batch = [block.documents for block in prepared]
        keeping: asyncio.Task[None] | None = None
        try:
            with self._progress.timed(Stage.WRITE_DOCUMENTS):
                await self._store_retry.run(lambda: self._store.check_committed(batch))
                keeping = asyncio.create_task(self._keep(prepared))
                await self._store_retry.run(lambda: self._store.insert_documents(batch))
            if previous is not None:
                await previous
            with self._progress.timed(Stage.WRITE_BLOCKS):
                await self._store_retry.run(lambda: self._store.check_surplus(batch))
                await keeping
                await self._store_retry.run(lambda: self._store.insert_blocks(batch))
        finally:
            if keeping is not None:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)
        self._progress.batch_bytes.observe(sum(block.size for block in prepared))
        self._record_commit(batch)
        self._free_batches.release()

    async def _keep(self, blocks: list[PreparedBlock]) -> None:
        if self._raw_blocks is not None:
            await self._raw_blocks.keep(blocks)

    def _record_commit(self, batch: list[EncodedBlock]) -> None:
        """Record that the batch is committed; from now on its blocks are read from the store."""
        for block in batch:
            del self._uncommitted[block.number]
        height = height_above(batch[-1].number)
        self._uncommitted_owners = {
            tx_id: number for tx_id, number in self._uncommitted_owners.items() if number >= height
        }
        self._progress.record_commit(
            height,
            blocks=len(batch),
            transactions=sum(len(block.transactions) for block in batch),
            events=sum(len(block.events) for block in batch),
            undecodable=sum(block.undecodable for block in batch),
        )
