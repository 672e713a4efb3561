"""Puts the archive of raw blocks right with the blocks of a source.

The stored blocks say which raw blocks are right: put them right before. What is missing is added,
what is damaged or another block is replaced, and what lies above the highest stored block is
removed, unless the source has the same blocks.
"""

from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from hashlib import sha256
from itertools import groupby
from typing import Final

from msgspec import Struct

from indexer.audit.raw_block_checks import RawBlockFault, RawFault, raw_block_faults
from indexer.audit.repair import Cause, Finding
from indexer.sources.block_source import BlockSource, DeliveredBlock
from indexer.sources.bounded_source import BoundedSource
from ledger.archive.frames import BlockCompressor
from ledger.decoding.block_identities import BlockIdentity
from ledger.errors import DamagedRawBlockError, LedgerError
from ledger.mongodb.block_identities import StoredIdentities
from ledger.mongodb.repairs import RAW_BLOCKS_NAME, Act, RepairStore
from ledger.mongodb.store import LedgerStore
from ledger.position import MAX_BLOCK_NUMBER
from ledger.raw_blocks import (
    CompressedBlock,
    KeptBlock,
    RawBlockArchive,
    RawBlocks,
    check_raw_block,
    check_same_block,
)

_BATCH_BYTES: Final = 8 << 20
_ACTS: Final = {
    RawFault.MISSING: (Cause.MISSING, Act.INSERT),
    RawFault.DAMAGED: (Cause.ALTERED, Act.REPLACE),
    RawFault.OTHER: (Cause.ALTERED, Act.REPLACE),
}


class RawBlockRepairer:
    """Finds what is wrong with the archive of one channel, and puts it right.

    Calls `report` with each finding. Without a source only raw blocks above the highest stored
    block are found.
    """

    def __init__(
        self,
        store: LedgerStore,
        repairs: RepairStore,
        archive: RawBlocks,
        source: BlockSource | None,
        report: Callable[[Finding], None],
    ) -> None:
        self._store, self._repairs, self._archive = store, repairs, archive
        self._source, self._report = source, report
        self._faults: list[RawBlockFault] = []
        self._removed_from: int | None = None
        self._compressor = BlockCompressor()
        self.counts: Counter[Cause] = Counter()
        self.repaired = 0
        """The number of findings that were repaired."""

    @property
    def remaining(self) -> int:
        """The number of findings that are not repaired."""
        return self.counts.total() - self.repaired

    async def inspect(self) -> int:
        """Find what is wrong, and return the number of findings; change nothing."""
        stored = await self._repairs.lowest_and_highest()
        if stored is None:
            return 0  # what is kept may be all that is left of the ledger
        lowest, head = stored
        if self._source is not None:
            faults = raw_block_faults(self._store.database, self._archive, lowest, head + 1)
            async with aclosing(faults):
                async for fault in faults:
                    cause, act = _ACTS[fault.fault]
                    self._record(fault.first, cause, act, fault.what)
                    self._faults.append(fault)
        self._removed_from = await self._first_leftover(head + 1)
        if self._removed_from is not None:
            what = f"raw blocks from {self._removed_from} on are above the highest block"
            self._record(self._removed_from, Cause.LEFTOVER, Act.REMOVE, what)
        return self.counts.total()

    def _record(self, number: int, cause: Cause, act: Act, what: str) -> None:
        self.counts[cause] += 1
        self._report(Finding(number, RAW_BLOCKS_NAME, str(number), cause, None, act, what))

    async def _first_leftover(self, number: int) -> int | None:
        """Return the first raw block from `number` on that the source does not have, or None."""
        of_source = self._delivered([(number, MAX_BLOCK_NUMBER)])
        async with (
            aclosing(of_source),
            aclosing(self._archive.kept_blocks(number, MAX_BLOCK_NUMBER)) as kept,
        ):
            async for block in kept:
                delivered = await anext(of_source, None)
                while delivered is not None and delivered.number < block.number:
                    delivered = await anext(of_source, None)
                if delivered is None or not self._is_same(block, delivered):
                    return block.number
        return None

    def _is_same(self, kept: KeptBlock, delivered: DeliveredBlock) -> bool:
        frame = self._compressor.compress(delivered.data)
        try:
            return check_same_block(kept, CompressedBlock(delivered.number, frame))
        except LedgerError:
            return False

    async def apply(self, archive: RawBlockArchive, *, may_change: bool) -> int:
        """Put right what `inspect` has found; return the number of findings that remain.

        Without `may_change` only missing raw blocks are added.
        """
        if self._removed_from is not None and may_change:
            await remove_raw_blocks(self._repairs, archive, self._removed_from)
            self.repaired += 1
        faults = [f for f in self._faults if may_change or f.fault is RawFault.MISSING]
        if faults:
            await self._refetch(archive, faults)
        return self.remaining

    async def _refetch(self, archive: RawBlockArchive, faults: Sequence[RawBlockFault]) -> None:
        """Take the blocks of the faults from the source, as far as they are the stored blocks."""
        stored, batch, size = StoredIdentities(self._store.database), list[_Restored](), 0
        restored: Counter[RawBlockFault] = Counter()
        async with aclosing(self._wanted(faults)) as wanted:
            async for fault, delivered in wanted:
                identity = await stored.find(delivered.number)
                if identity is None or not _is_stored(delivered, identity):
                    continue
                frame = self._compressor.compress(delivered.data)
                batch.append(_Restored(fault, CompressedBlock(delivered.number, frame)))
                restored[fault] += 1
                size += len(frame)
                if size > _BATCH_BYTES:
                    await self._write(archive, batch)
                    batch, size = [], 0
        await self._write(archive, batch)
        self.repaired += sum(restored[each] == each.last - each.first + 1 for each in faults)

    async def _write(self, archive: RawBlockArchive, batch: Sequence["_Restored"]) -> None:
        """Record the acts, then keep the blocks."""
        for fault, group in groupby(batch, key=lambda each: each.fault):
            blocks = [each.block for each in group]
            act = _ACTS[fault.fault][1]
            after = {
                "blocks": len(blocks),
                "sha256": sha256(b"".join(each.frame for each in blocks)).hexdigest(),
            }
            before = {"what": fault.what}
            first, last = blocks[0].number, blocks[-1].number
            await self._repairs.record_raw_blocks(act, first, last, before, after)
            if act is Act.INSERT:
                await archive.append(blocks)
            else:
                await archive.replace(blocks)

    async def _wanted(
        self, faults: Sequence[RawBlockFault]
    ) -> AsyncGenerator[tuple[RawBlockFault, DeliveredBlock], None]:
        """Yield the blocks of the source that the faults are about, each with its fault."""
        spans = [(fault.first, fault.last) for fault in faults]
        if self._source is not None and not self._source.seeks:
            spans = [(spans[0][0], spans[-1][1])]  # files are read only once
        remaining = deque(faults)
        async with aclosing(self._delivered(spans)) as blocks:
            async for delivered in blocks:
                while remaining and remaining[0].last < delivered.number:
                    remaining.popleft()
                if remaining and remaining[0].first <= delivered.number:
                    yield remaining[0], delivered

    async def _delivered(
        self, spans: Sequence[tuple[int, int]]
    ) -> AsyncGenerator[DeliveredBlock, None]:
        """Yield the source's blocks of each span, from a first to a last number, in order."""
        if self._source is None:
            return
        newest = await self._source.newest()
        end = newest.number if newest is not None else MAX_BLOCK_NUMBER
        for first, last in spans:
            following = first
            source = BoundedSource(self._source, min(last, end))
            async with aclosing(source.blocks(first, None)) as blocks:
                async for delivered in blocks:
                    if delivered.number >= following:
                        yield delivered
                        following = delivered.number + 1


class _Restored(Struct, frozen=True):
    """A block from the source, and the fault that it cures."""

    fault: RawBlockFault
    block: CompressedBlock


async def remove_raw_blocks(repairs: RepairStore, archive: RawBlockArchive, number: int) -> None:
    """Remove the raw blocks from `number` on, if there are any, and record this before."""
    kept = await archive.kept_range()
    if kept is not None and kept.last >= number:
        before = {"what": f"kept in {archive.name}"}
        await repairs.record_raw_blocks(Act.REMOVE, number, kept.last, before, None)
        await archive.remove_from(number)


def _is_stored(delivered: DeliveredBlock, stored: BlockIdentity) -> bool:
    try:
        check_raw_block(bytes(delivered.data), stored, delivered.name)
    except DamagedRawBlockError:
        return False
    return True
