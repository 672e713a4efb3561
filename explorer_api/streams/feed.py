"""The newest messages of a channel, read and rendered once for all of its streams."""

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

import pymongo
from pymongo.errors import PyMongoError

from explorer_api.live.heads import HeadSnapshot, HeadWatch
from explorer_api.streams.chunk_reader import FIRST_LIMITS, ChainReplacedError, read_chunk
from explorer_api.streams.messages import EVERYTHING, Chunk, Selection, block_start
from ledger.mongodb.paging import Window
from ledger.mongodb.reader import LedgerReader
from ledger.position import highest_block_below
from runtime.cancellation import raise_if_cancelled

T = TypeVar("T")

_READ_S: Final = 10.0
_AGAIN_S: Final = 1.0
_WOKEN_AT_ONCE: Final = 100
_SHARED: Final = 100
_RECENT_BLOCKS: Final = 50
_RECENT_TRANSACTIONS: Final = 1000


@dataclass(frozen=True, eq=False)
class Subscription:
    """How a stream hears of messages, and that it must end since the chain is another one."""

    news: asyncio.Event
    end: Callable[[], None]


class Feed:
    """Keeps the messages of one channel from some position up to the head, about so many bytes of them at most.

    It begins a few blocks below the head, where clients that all come back at once find what they missed. It reads
    nothing while there are no subscriptions.
    """

    def __init__(self, reader: LedgerReader, watch: HeadWatch, max_bytes: int) -> None:
        self._reader, self._watch, self._max_bytes = reader, watch, max_bytes
        self._subscriptions: set[Subscription] = set()
        self._wanted = asyncio.Event()
        self._clear()

    def _clear(self) -> None:
        self._chunks: list[Chunk] = []
        self._shared: dict[
            tuple[int, Selection], tuple[bytes, int]
        ] = {}  # what many ask for at the same time
        self._bytes = 0
        self._chain = ""
        self.start: int | None = None
        """The position from which messages are kept; None before the first are read."""
        self.end = 0
        """The position up to which messages are kept."""

    @contextmanager
    def subscribed(self, subscription: Subscription) -> Iterator[None]:
        """Keeps the subscription while the context lasts. Somebody must `follow` meanwhile."""
        self._subscriptions.add(subscription)
        self._wanted.set()
        try:
            yield
        finally:
            self._subscriptions.discard(subscription)

    def is_of(self, chain: str) -> bool:
        """Whether messages are those of that chain, as far as is known: an empty one may become any."""
        return not chain or not self._chain or chain == self._chain

    def following(self, position: int, selection: Selection) -> tuple[bytes, int]:
        """Some selected messages after a position, and the position after them; `start` <= position < `end`."""
        found = self._shared.get((position, selection))
        if found is None:
            chunk = self._chunks[bisect_right(self._chunks, position, key=lambda chunk: chunk.end)]
            found = chunk.beyond(position, selection), chunk.end
            if len(self._shared) < _SHARED:
                self._shared[position, selection] = found
        return found

    async def follow(self) -> None:
        """Reads what is new whenever there are subscriptions; until cancelled."""
        while True:
            await self._wanted.wait()
            try:
                await self._run()
            except ChainReplacedError:
                continue
            finally:
                self._stop()

    async def _run(self) -> None:
        snapshot = await _patiently(self._watch.fresh)
        start = block_start(await _patiently(partial(self._recent_block, snapshot)))
        self._chain, self.start, self.end = snapshot.chain, start, start
        await self._tell()
        while True:
            await self._read_up_to(snapshot)
            if not self._subscriptions:
                return
            snapshot = await self._watch.wait_for_change(snapshot)
            if self._chain and snapshot.chain != self._chain:
                raise ChainReplacedError
            self._chain = snapshot.chain

    async def _recent_block(self, snapshot: HeadSnapshot) -> int:
        """The number of the first block to keep, the height if that is the one to come."""
        number, transactions = snapshot.height, 0
        page = await self._reader.blocks(
            0, highest_block_below(snapshot.height), Window(_RECENT_BLOCKS, descending=True)
        )
        for block in page.documents:
            transactions += int(block["transactionCount"])
            if transactions > _RECENT_TRANSACTIONS:
                break
            number = int(block["number"])
        return number

    async def _read_up_to(self, snapshot: HeadSnapshot) -> None:
        if snapshot.first is None:
            return
        while self._subscriptions and self.end < block_start(snapshot.height):
            start = max(
                self.end, block_start(snapshot.first["number"])
            )  # an empty ledger need not begin at block 0
            limits = self._chunks[-1].limits if self._chunks else FIRST_LIMITS
            read = partial(read_chunk, self._reader, EVERYTHING, start, snapshot.height, limits)
            self._keep(await _patiently(read))
            await self._tell()

    def _keep(self, chunk: Chunk) -> None:
        self._chunks.append(chunk)
        self._shared.clear()
        self._bytes += chunk.size
        self.end = chunk.end
        while self._bytes > self._max_bytes and len(self._chunks) > 1:
            forgotten = self._chunks.pop(0)
            self._bytes -= forgotten.size
            self.start = forgotten.end

    async def _tell(self) -> None:
        """Some at a time, so that other requests have their turn, and that all have theirs before more is read."""
        subscriptions = list(self._subscriptions)
        for begin in range(0, len(subscriptions), _WOKEN_AT_ONCE):
            for subscription in subscriptions[begin : begin + _WOKEN_AT_ONCE]:
                subscription.news.set()
            await asyncio.sleep(0)

    def _stop(self) -> None:
        self._clear()
        self._wanted.clear()
        for subscription in self._subscriptions:
            subscription.end()


async def _patiently(read: Callable[[], Awaitable[T]]) -> T:
    """What MongoDB answers, however long it is away; requests say so meanwhile."""
    while True:
        try:
            with pymongo.timeout(_READ_S):
                result = await read()
        except PyMongoError:
            raise_if_cancelled()
            await asyncio.sleep(_AGAIN_S)
        else:
            raise_if_cancelled()
            return result
