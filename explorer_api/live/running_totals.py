"""Sums over all blocks of a channel: counted in the background, once from the first block, then along with the head.

Blocks never change, so Redis keeps the sums over long ranges of them: a service that starts reads those first.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import reduce
from operator import add
from typing import Final, TypeVar

import pymongo
from msgspec import Struct
from msgspec.structs import replace
from pymongo.errors import PyMongoError

from explorer_api.http.problems import RETRY_SECONDS, ProblemError
from explorer_api.live.heads import HeadSnapshot, HeadWatch, block_name
from explorer_api.live.redis_cache import RedisCache
from ledger.mongodb.reader import LedgerReader
from ledger.mongodb.totals import BlockTotals, ChaincodeTotals, LedgerTotals
from ledger.position import BlockNumber
from runtime.cancellation import raise_if_cancelled

V = TypeVar("V")

BLOCKS_AT_A_TIME: Final = 50_000
MAX_NAME_CHARACTERS: Final = 1024
"""A longer name counts as none, as do those that were too long for the store."""
MAX_NAMES: Final = 10_000
"""Of one kind. Clients can make up any; those that come after so many count as none."""

_STEP_S: Final = 60.0
_REST_S: Final = 2.0
_RECENT_S: Final = 30.0
_LONGEST_RETRY_S: Final = 60
_KEPT_S: Final = 30 * 86_400


class ChannelTotals(Struct, frozen=True):
    """Sums over a range of blocks, and its events by chaincode."""

    blocks: LedgerTotals = LedgerTotals()
    events: dict[str | None, int] = {}

    def plus(self, other: "ChannelTotals") -> "ChannelTotals":
        """What both ranges count together; `other` is the later one."""
        events = dict(self.events)
        for name, count in other.events.items():
            events[name] = events.get(name, 0) + count
        return ChannelTotals(self.blocks.plus(other.blocks), events).bounded()

    def bounded(self) -> "ChannelTotals":
        """The same with no more names than may be kept, and none of them too long."""
        blocks = replace(
            self.blocks,
            organisations=_bounded(self.blocks.organisations, add),
            chaincodes=_bounded(self.blocks.chaincodes, ChaincodeTotals.plus),
        )
        return ChannelTotals(blocks, _bounded(self.events, add))

    @property
    def untimed_blocks(self) -> int:
        """Blocks that have no time."""
        return self.blocks.hours.get(None, BlockTotals()).blocks


class TotalsNotReadyError(ProblemError):
    """The blocks have not been counted up to the head yet."""

    def __init__(self, counted: int, blocks: int, left_s: float | None) -> None:
        seconds = (
            RETRY_SECONDS
            if left_s is None
            else min(max(RETRY_SECONDS, round(left_s)), _LONGEST_RETRY_S)
        )
        super().__init__(
            503,
            "totals-not-ready",
            "Totals not ready",
            f"This service is still adding up the ledger: {counted} of {blocks} blocks.",
            f"Try again in {seconds} s. It adds up every block once after its start; lists and lookups work meanwhile.",
            headers={"Retry-After": str(seconds)},
            counted=counted,
            blocks=blocks,
        )


class _Part(Struct, frozen=True):
    """What was counted up to block `last`, from the one after the part before."""

    last: int
    block_hash: str | None
    counted: ChannelTotals
    at: float


class RunningTotals:
    """Counts each block of one channel once.

    What was counted last is kept in parts for a while, so that the sums are also known for a head that another
    request saw a moment ago. A database that was dropped and indexed anew is counted from its beginning.
    """

    def __init__(
        self,
        reader: LedgerReader,
        watch: HeadWatch,
        shared: RedisCache | None = None,
        blocks_at_a_time: int = BLOCKS_AT_A_TIME,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader, self._watch, self._shared = reader, watch, shared
        self._blocks_at_a_time, self._clock = blocks_at_a_time, clock
        self._wanted = asyncio.Event()
        self._stepped: asyncio.Future[None] | None = None
        self._begin("", 0)

    def _begin(self, chain: str, first: int) -> None:
        self._chain, self._first, self._began_at = chain, first, self._clock()
        self._base = _Part(first - 1, None, ChannelTotals(), self._began_at)
        self._parts: deque[_Part] = deque()
        self._view: tuple[HeadSnapshot, ChannelTotals] | None = None

    @property
    def _last(self) -> _Part:
        return self._parts[-1] if self._parts else self._base

    async def up_to(self, snapshot: HeadSnapshot, wait_s: float) -> ChannelTotals:
        """The sums over all stored blocks up to the snapshot's head, neither more nor less.

        Raises `TotalsNotReadyError` where they are not known within `wait_s`, `PyMongoError` where MongoDB does not answer.
        Somebody must `follow` meanwhile.
        """
        if snapshot.head is None:
            return ChannelTotals()
        try:
            async with asyncio.timeout(wait_s):
                while not self._covers(snapshot):
                    await self._step_taken()
        except TimeoutError:
            raise self._summing(snapshot) from None
        if self._view is None or self._view[0].version != snapshot.version:
            self._view = (snapshot, await self._sum(snapshot))
        return self._view[1]

    def _covers(self, snapshot: HeadSnapshot) -> bool:
        """Whether it is counted, and not so long ago that it is no more told apart from what came before."""
        if snapshot.chain != self._chain or snapshot.height > self._last.last + 1:
            return False
        return _agrees([self._base, *self._parts_up_to(snapshot)][-1], snapshot)

    def _parts_up_to(self, snapshot: HeadSnapshot) -> list[_Part]:
        return [part for part in self._parts if part.last < snapshot.height]

    async def _sum(self, snapshot: HeadSnapshot) -> ChannelTotals:
        parts = self._parts_up_to(snapshot)
        counted = _total(self._base, parts)
        last = [self._base, *parts][-1].last
        if last < snapshot.height - 1:  # a head that was passed over
            counted = counted.plus(await self._count(last + 1, snapshot.height - 1))
        return counted

    def _summing(self, snapshot: HeadSnapshot) -> TotalsNotReadyError:
        done = self._last.last + 1 - self._first if self._chain == snapshot.chain else 0
        first = snapshot.first["number"] if snapshot.first is not None else 0
        blocks = snapshot.height - first
        left_s = (self._clock() - self._began_at) / done * (blocks - done) if done else None
        return TotalsNotReadyError(done, blocks, left_s)

    async def _step_taken(self) -> None:
        if self._stepped is None:
            self._stepped = asyncio.get_running_loop().create_future()
        self._wanted.set()
        await asyncio.shield(self._stepped)

    def _tell(self, error: PyMongoError | None) -> None:
        waited, self._stepped = self._stepped, None
        if waited is None:
            return
        if error is None:
            waited.set_result(None)
        else:
            waited.set_exception(error)
            waited.exception()  # whoever waited may have gone

    async def follow(self) -> None:
        """Counts what is not counted yet: at once where a request waits, else now and then; until cancelled."""
        while True:
            self._wanted.clear()
            try:
                with pymongo.timeout(_STEP_S):
                    counted = await self._step()
            except PyMongoError as error:
                self._tell(error)
                counted = False
            raise_if_cancelled()
            if counted:
                self._tell(None)
            else:
                await self._rest()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(_REST_S):
                await self._wanted.wait()
        except TimeoutError:
            return

    async def _step(self) -> bool:
        """Counts some blocks; says whether there were any, or what was counted before is no longer true."""
        snapshot = self._watch.latest or await self._watch.read_now()
        if snapshot.head is None or snapshot.first is None:
            self._begin("", 0)
            return False
        if not self._belongs(snapshot):
            self._begin(snapshot.chain, snapshot.first["number"])
        first, highest = self._last.last + 1, snapshot.height - 1
        if first > highest:
            return False
        start = first - first % self._blocks_at_a_time
        last = min(start + self._blocks_at_a_time - 1, highest)
        whole = first == max(start, self._first) and last == start + self._blocks_at_a_time - 1
        counted = await (self._count_once(first, last) if whole else self._count(first, last))
        before, block_hash = await self._hash(first - 1), await self._hash(last)
        changed = last == highest and block_hash != snapshot.head["blockHash"]
        if changed or block_hash is None or before != self._last.block_hash:
            self._begin("", 0)  # dropped, and perhaps indexed anew, while it was read
            await self._watch.read_now()
            return True
        self._parts.append(_Part(last, block_hash, counted, self._clock()))
        self._forget_parts()
        return True

    def _belongs(self, snapshot: HeadSnapshot) -> bool:
        """Whether what was counted belongs to this chain; a head that is lower than it cannot be of the same one."""
        if snapshot.chain != self._chain or snapshot.height <= self._last.last:
            return False
        return _agrees(self._last, snapshot)

    def _forget_parts(self) -> None:
        """Adds what is older than a while to the base; now and then only, since that can be large."""
        now = self._clock()
        if self._parts[0].at > now - 2 * _RECENT_S:
            return
        old = [part for part in self._parts if part.at <= now - _RECENT_S]
        self._base = _Part(old[-1].last, old[-1].block_hash, _total(self._base, old), now)
        self._parts = deque(part for part in self._parts if part.last > self._base.last)

    async def _count_once(self, first: int, last: int) -> ChannelTotals:
        """Counts a range that any service over this ledger counts, unless one of them did it before."""
        if self._shared is None:
            return await self._count(first, last)
        name = await self._range_name(first, last)
        kept = await self._shared.recall(name, ChannelTotals) if name is not None else None
        if kept is not None:
            return kept
        counted = await self._count(first, last)
        whole = (
            counted.blocks.totals.blocks == last - first + 1
        )  # else a block was lost, and may come back
        if whole and name is not None and name == await self._range_name(first, last):
            await self._shared.keep(name, counted, _KEPT_S)
        return counted

    async def _range_name(self, first: int, last: int) -> str | None:
        block = await self._reader.block(last)
        return f"sums:{first}:{block_name(block)}" if block is not None else None

    async def _count(self, first: int, last: int) -> ChannelTotals:
        sums = await self._reader.totals(first, BlockNumber(last))
        events = await self._reader.event_counts(first, BlockNumber(last))
        return ChannelTotals(sums, events).bounded()

    async def _hash(self, number: int) -> str | None:
        block = await self._reader.block(number)  # there is none before the first one
        return block["blockHash"] if block is not None else None


def _bounded(counts: dict[str | None, V], plus: Callable[[V, V], V]) -> dict[str | None, V]:
    bounded: dict[str | None, V] = {}
    names = 0
    for name, count in counts.items():
        kept = (
            name
            if name is not None and len(name) <= MAX_NAME_CHARACTERS and names < MAX_NAMES
            else None
        )
        names += kept is not None
        bounded[kept] = plus(bounded[kept], count) if kept in bounded else count
    return bounded


def _agrees(part: _Part, snapshot: HeadSnapshot) -> bool:
    """Whether the part does not end with another block than the snapshot's head, where their numbers are the same."""
    return part.last < snapshot.height - 1 or (
        snapshot.head is not None and part.block_hash == snapshot.head["blockHash"]
    )


def _total(base: _Part, parts: Iterable[_Part]) -> ChannelTotals:
    """The base, and the parts after it, which are small and therefore added up first."""
    return base.counted.plus(
        reduce(ChannelTotals.plus, (part.counted for part in parts), ChannelTotals())
    )
