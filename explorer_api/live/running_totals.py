"""Keeps the totals over all blocks of a channel up to date."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import reduce
from typing import Final

import pymongo
from msgspec import Struct
from pymongo.errors import PyMongoError

from explorer_api.live.channel_totals import ChannelTotals, TotalsNotReadyError
from explorer_api.live.heads import HeadSnapshot, HeadWatch
from explorer_api.live.range_totals import RangeTotals
from explorer_api.live.redis_cache import RedisCache
from ledger.mongodb.reader import LedgerReader
from runtime.broadcast import Broadcast
from runtime.cancellation import raise_if_cancelled

MAX_COUNTED_NAMES: Final = 10_000
"""The maximal number of names of each kind; further names are counted under None."""

_BLOCKS_PER_STEP: Final = 50_000
_STEP_LIMIT_S: Final = 60.0
_POLL_S: Final = 2.0
_RECENT_S: Final = 30.0


class _Part(Struct, frozen=True):
    """The totals over the blocks after those of the previous part, up to block `last`."""

    last: int
    block_hash: str | None
    totals: ChannelTotals
    counted_at: float


class RunningTotals:
    """Counts each block of one channel once: first all stored blocks, then each new head.

    Recent totals are held in parts, so that the totals are also known for a head that another
    request read shortly before. A database that was dropped and indexed again is counted from its
    beginning.
    """

    def __init__(
        self,
        reader: LedgerReader,
        watch: HeadWatch,
        redis_cache: RedisCache | None = None,
        *,
        blocks_per_step: int = _BLOCKS_PER_STEP,
        max_names: int = MAX_COUNTED_NAMES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader, self._watch, self._clock = reader, watch, clock
        self._blocks_per_step, self._max_names = blocks_per_step, max_names
        self._ranges = RangeTotals(reader, redis_cache, max_names)
        self._requested = asyncio.Event()
        self._steps = Broadcast()
        self._begin("", 0)

    def _begin(self, chain: str, first: int) -> None:
        self._chain, self._first, self._began_at = chain, first, self._clock()
        self._base = _Part(first - 1, None, ChannelTotals(), self._began_at)
        self._parts: deque[_Part] = deque()
        self._last_result: tuple[HeadSnapshot, ChannelTotals] | None = None

    @property
    def _last_part(self) -> _Part:
        return self._parts[-1] if self._parts else self._base

    async def up_to(self, snapshot: HeadSnapshot, wait_s: float) -> ChannelTotals:
        """Return the totals over exactly the blocks up to the snapshot's head.

        Raises `TotalsNotReadyError` if they are not known within `wait_s`, and `PyMongoError` if
        MongoDB does not answer. `follow` must run meanwhile.
        """
        if snapshot.head is None:
            return ChannelTotals()
        try:
            async with asyncio.timeout(wait_s):
                while not self._covers(snapshot):
                    self._requested.set()
                    await self._steps.wait()
        except TimeoutError:
            raise self._not_ready(snapshot) from None
        if self._last_result is None or self._last_result[0].version != snapshot.version:
            self._last_result = (snapshot, await self._add_up(snapshot))
        return self._last_result[1]

    def _covers(self, snapshot: HeadSnapshot) -> bool:
        """Return whether the totals up to the head are known, and not merged with later blocks."""
        if snapshot.chain != self._chain or snapshot.height > self._last_part.last + 1:
            return False
        return _may_precede([self._base, *self._parts_up_to(snapshot)][-1], snapshot)

    def _parts_up_to(self, snapshot: HeadSnapshot) -> list[_Part]:
        return [part for part in self._parts if part.last < snapshot.height]

    async def _add_up(self, snapshot: HeadSnapshot) -> ChannelTotals:
        parts = self._parts_up_to(snapshot)
        totals = self._sum(self._base, parts)
        last = [self._base, *parts][-1].last
        if last < snapshot.height - 1:  # no part ends at this head
            rest = await self._ranges.compute(last + 1, snapshot.height - 1)
            totals = totals.plus(rest).bounded(self._max_names)
        return totals

    def _sum(self, base: _Part, parts: Iterable[_Part]) -> ChannelTotals:
        """Add the parts to the base; the parts, which are small, are added up first."""
        recent = reduce(ChannelTotals.plus, (part.totals for part in parts), ChannelTotals())
        return base.totals.plus(recent.bounded(self._max_names)).bounded(self._max_names)

    def _not_ready(self, snapshot: HeadSnapshot) -> TotalsNotReadyError:
        counted = self._last_part.last + 1 - self._first if self._chain == snapshot.chain else 0
        first = snapshot.first["number"] if snapshot.first is not None else 0
        blocks = snapshot.height - first
        elapsed_s = self._clock() - self._began_at
        remaining_s = elapsed_s / counted * (blocks - counted) if counted else None
        return TotalsNotReadyError(counted, blocks, remaining_s)

    async def follow(self) -> None:
        """Count new blocks at intervals, and at once when a request waits; until cancelled."""
        while True:
            self._requested.clear()
            try:
                with pymongo.timeout(_STEP_LIMIT_S):
                    has_changed = await self._step()
            except PyMongoError as error:
                self._steps.announce(error)
                has_changed = False
            raise_if_cancelled()
            if has_changed:
                self._steps.announce()
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_S):
                        await self._requested.wait()

    async def _step(self) -> bool:
        """Count some blocks.

        Return whether the totals have changed: blocks were counted, or the counted blocks are not
        those of the ledger any more.
        """
        snapshot = self._watch.latest or await self._watch.read_now()
        if snapshot.head is None or snapshot.first is None:
            self._begin("", 0)
            return False
        if not self._is_continued_by(snapshot):
            self._begin(snapshot.chain, snapshot.first["number"])
        first, highest = self._last_part.last + 1, snapshot.height - 1
        if first > highest:
            return False
        start = first - first % self._blocks_per_step
        end = start + self._blocks_per_step - 1
        last = min(end, highest)
        if first == max(start, self._first) and last == end:  # the same range in every process
            totals = await self._ranges.get_or_compute(first, last)
        else:
            totals = await self._ranges.compute(first, last)
        hash_before, block_hash = await self._block_hash(first - 1), await self._block_hash(last)
        is_replaced = last == highest and block_hash != snapshot.head["blockHash"]
        if is_replaced or block_hash is None or hash_before != self._last_part.block_hash:
            self._begin("", 0)  # the database was dropped while the blocks were counted
            await self._watch.read_now()
            return True
        self._parts.append(_Part(last, block_hash, totals, self._clock()))
        self._merge_old_parts()
        return True

    def _is_continued_by(self, snapshot: HeadSnapshot) -> bool:
        """Return whether the counted blocks belong to the snapshot's chain."""
        if snapshot.chain != self._chain or snapshot.height <= self._last_part.last:
            return False
        return _may_precede(self._last_part, snapshot)

    def _merge_old_parts(self) -> None:
        """Add old parts to the base, in long intervals: the base can be large."""
        now = self._clock()
        if self._parts[0].counted_at > now - 2 * _RECENT_S:
            return
        old = [part for part in self._parts if part.counted_at <= now - _RECENT_S]
        self._base = _Part(old[-1].last, old[-1].block_hash, self._sum(self._base, old), now)
        self._parts = deque(part for part in self._parts if part.last > self._base.last)

    async def _block_hash(self, number: int) -> str | None:
        block = await self._reader.block(number)  # None before the first block
        return block["blockHash"] if block is not None else None


def _may_precede(part: _Part, snapshot: HeadSnapshot) -> bool:
    """Return whether the part ends below the snapshot's head, or with the head itself."""
    return part.last < snapshot.height - 1 or (
        snapshot.head is not None and part.block_hash == snapshot.head["blockHash"]
    )
