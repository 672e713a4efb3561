"""From delivered blocks to durable documents.

Three stages, joined by queues that are bounded in bytes: the source puts blocks in; `_prepare` checks them against the
chain, decodes them and decides who owns each transaction id, strictly in ascending order; `_write` makes them durable.
Whatever has queued up becomes one batch, so a single block commits at once when live, and thousands of transactions
commit together when behind.

Batches are written in parallel, but a batch's block documents only after those of every batch before it: see
`ledger.mongodb.store` for why that order is the crash protocol.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from msgspec import Struct

from indexer.block_source import DeliveredBlock
from indexer.byte_queue import ByteQueue
from indexer.chain import Chain, compare_known
from indexer.channel_progress import ChannelProgress, Stage
from indexer.store_retry import retry_while_unavailable
from ledger.decoding.blocks import UndecodedBlock, check_block, decode_block
from ledger.documents.encoding import EncodedBlock, encode_block
from ledger.errors import LedgerError
from ledger.model import Block
from ledger.mongodb.store import LedgerStore, StoredBlock
from ledger.ownership import decide_owners, ids_to_look_up
from runtime.tasks import unwrap_exception_group

T = TypeVar("T")


class PipelineLimits(Struct, frozen=True):
    """Bounds of the pipeline; sizes in bytes, times in seconds."""

    delivered_bytes: int = 24 << 20
    decode_bytes: int = 4 << 20
    encoded_bytes: int = 32 << 20
    batch_bytes: int = 16 << 20
    parallel_batches: int = 2
    store_retry_s: float = 600.0


class Pipeline:
    """Indexes the blocks that are put in. Use `run`, which starts the stages and waits until all is durable."""

    def __init__(
        self, store: LedgerStore, chain: Chain, progress: ChannelProgress, limits: PipelineLimits
    ) -> None:
        self._store, self._chain, self._progress, self._limits = store, chain, progress, limits
        self._delivered: ByteQueue[DeliveredBlock] = ByteQueue(limits.delivered_bytes)
        self._encoded: ByteQueue[EncodedBlock] = ByteQueue(limits.encoded_bytes)
        progress.queues = {"delivered": self._delivered, "encoded": self._encoded}
        self._pending: dict[int, StoredBlock] = {}  # accepted, not committed
        self._pending_ids: dict[
            str, int
        ] = {}  # ids that pending blocks own, with the block's number
        self._slots = asyncio.Semaphore(limits.parallel_batches)
        self._failure: LedgerError | None = None
        self._source_failure: LedgerError | None = None
        self.wanted = chain.next_number
        """Number of the block to put in next."""

    async def run(self, feed: Callable[["Pipeline"], Awaitable[None]]) -> None:
        """Runs the stages while `feed` puts blocks in; returns when all that it put in is durable.

        Raises `LedgerError` when a block must not be stored, after what came before it is; `GaveUpError` when MongoDB
        stays away too long; and what `feed` raises. Whatever was not committed by then is invisible.
        """
        with unwrap_exception_group():
            async with asyncio.TaskGroup() as stages:
                feeding = stages.create_task(self._feed(feed))
                stages.create_task(self._prepare(feeding))
                stages.create_task(self._write())
        failure = self._failure or self._source_failure
        if failure is not None:
            raise failure

    async def put(self, delivered: DeliveredBlock) -> None:
        """Adds a block that a source delivered, when there is room."""
        number = delivered.block.header.number
        self._progress.record_delivery(number, delivered.size)
        self.wanted = max(self.wanted, number + 1)
        await self._delivered.put(delivered, delivered.size)

    async def _feed(self, feed: Callable[["Pipeline"], Awaitable[None]]) -> None:
        try:
            await feed(self)
        except LedgerError as error:
            self._source_failure = error
        await self._delivered.close()

    async def _prepare(self, feeding: asyncio.Task[None]) -> None:
        while self._failure is None and (
            chunk := await self._delivered.take(self._limits.decode_bytes)
        ):
            with self._progress.timed(Stage.DECODE):
                opened, self._failure = await asyncio.to_thread(
                    _open, chunk, self._chain.next_number
                )
            blocks = []
            known = await self._known([frame.number for frame, block in opened if block is None])
            try:
                for frame, block in opened:
                    if block is None or frame.number < self._chain.next_number:
                        self._compare(frame, known)
                    else:
                        self._chain.extend(frame, block)
                        known[frame.number] = StoredBlock(frame.number, frame.hash, frame.codes)
                        self._pending[frame.number] = known[frame.number]
                        blocks.append(block)
            except LedgerError as error:
                self._failure = error
            await self._encode(blocks)
        feeding.cancel()
        await self._encoded.close()

    async def _known(self, numbers: list[int]) -> dict[int, StoredBlock]:
        """What is stored of these numbers, or on its way there; nothing of those before the start block."""
        known = {number: self._pending[number] for number in numbers if number in self._pending}
        stored = [number for number in numbers if number not in known]
        if stored:
            known |= await self._patiently(lambda: self._store.stored_blocks(stored))
        return known

    def _compare(self, frame: UndecodedBlock, known: dict[int, StoredBlock]) -> None:
        """Compares a block that was delivered again."""
        if frame.number in known:
            compare_known(frame, known[frame.number])
            self._progress.redelivered_blocks += 1

    async def _encode(self, blocks: list[Block]) -> None:
        doubtful: set[str] = set().union(*map(ids_to_look_up, blocks))
        taken = (
            doubtful & self._pending_ids.keys()
        )  # before the store is asked: what is committed meanwhile counts
        if doubtful:
            with self._progress.timed(Stage.OWNERS):
                taken |= await self._patiently(
                    lambda: self._store.owned_ids(doubtful, blocks[0].number)
                )
        with self._progress.timed(Stage.ENCODE):
            encoded, failure = await asyncio.to_thread(_encode, blocks, taken)
        self._failure = failure or self._failure
        for block, owned in encoded:
            self._pending_ids |= dict.fromkeys(owned, block.number)
            await self._encoded.put(block, block.size)

    async def _write(self) -> None:
        async with asyncio.TaskGroup() as batches:
            previous: asyncio.Task[None] | None = None
            while True:
                await self._slots.acquire()
                batch = await self._encoded.take(self._limits.batch_bytes)
                if not batch:
                    return
                previous = batches.create_task(self._write_batch(batch, previous))

    async def _write_batch(
        self, batch: list[EncodedBlock], previous: asyncio.Task[None] | None
    ) -> None:
        with self._progress.timed(Stage.WRITE_TRANSACTIONS):
            await self._patiently(lambda: self._store.insert_transactions(batch))
        with self._progress.timed(Stage.WRITE_EVENTS):
            await self._patiently(lambda: self._store.insert_events(batch))
        if previous is not None:
            await previous
        with self._progress.timed(Stage.WRITE_BLOCKS):
            await self._patiently(lambda: self._store.insert_blocks(batch))
        self._progress.batch_bytes.observe(sum(block.size for block in batch))
        self._commit(batch)
        self._slots.release()

    def _commit(self, batch: list[EncodedBlock]) -> None:
        """Forgets what the store can tell from now on."""
        for block in batch:
            del self._pending[block.number]
        height = batch[-1].number + 1
        self._pending_ids = {
            tx_id: number for tx_id, number in self._pending_ids.items() if number >= height
        }
        self._progress.record_commit(
            height,
            blocks=len(batch),
            transactions=sum(len(block.transactions) for block in batch),
            events=sum(len(block.events) for block in batch),
            undecodable=sum(block.undecodable for block in batch),
        )

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeats a call to the store while MongoDB is away: each may be repeated, see `LedgerStore`."""
        return await retry_while_unavailable(call, self._limits.store_retry_s, self._progress)


def _open(
    chunk: Sequence[DeliveredBlock], wanted: int
) -> tuple[list[tuple[UndecodedBlock, Block | None]], LedgerError | None]:
    """Checks each block against itself, up to the first that is corrupt; reads those from `wanted` on."""
    opened: list[tuple[UndecodedBlock, Block | None]] = []
    try:
        for delivered in chunk:
            frame = check_block(delivered.block)
            opened.append((frame, decode_block(frame) if frame.number >= wanted else None))
    except LedgerError as error:
        return opened, error
    return opened, None


def _encode(
    blocks: Sequence[Block], taken: set[str]
) -> tuple[list[tuple[EncodedBlock, list[str]]], LedgerError | None]:
    """Decides ownership in ascending order and encodes; with each block the ids that it owns.

    `taken` holds the doubtful ids of these blocks that lower blocks own, and learns those that these blocks own.
    """
    encoded: list[tuple[EncodedBlock, list[str]]] = []
    try:
        for block in blocks:
            owns = decide_owners(block, taken)
            owned = [claim.tx_id for claim, owner in zip(block.claims, owns, strict=True) if owner]
            taken.update(owned)
            encoded.append((encode_block(block, owns), owned))
    except LedgerError as error:
        return encoded, error
    return encoded, None
