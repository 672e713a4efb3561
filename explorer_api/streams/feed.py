"""The newest messages of a channel, read and encoded once for all of its streams."""

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
from explorer_api.options import StreamLimits
from explorer_api.streams.chunks import ChainReplacedError, Chunk, first_counts, read_chunk
from explorer_api.streams.messages import EVERYTHING, Selection
from explorer_api.streams.positions import block_start
from ledger.mongodb.paging import Window
from ledger.mongodb.reader import LedgerReader
from runtime.backoff import Backoff
from runtime.retry import retry

T = TypeVar("T")

_WOKEN_AT_ONCE: Final = 100
_MAX_SHARED_PIECES: Final = 100


@dataclass(frozen=True, eq=False)
class Subscription:
    """Tells a stream what happens in the feed."""

    wake_up: asyncio.Event
    """Is set when there are new messages."""
    end: Callable[[], None]
    """Is called when the chain was replaced, so that the stream must end."""


class Feed:
    """Keeps the newest messages of one channel, up to the head and at most `max_bytes` of them.

    The first messages are those of a few blocks below the head, so that clients that reconnect at
    the same time find the messages that they missed. The feed reads nothing while it has no
    subscriptions.
    """

    def __init__(
        self, reader: LedgerReader, watch: HeadWatch, max_bytes: int, limits: StreamLimits
    ) -> None:
        self._reader, self._watch = reader, watch
        self._max_bytes, self._limits = max_bytes, limits
        self._subscriptions: set[Subscription] = set()
        self._subscribed = asyncio.Event()
        self._clear()

    def _clear(self) -> None:
        self._chunks: list[Chunk] = []
        self._shared_pieces: dict[tuple[int, Selection], tuple[bytes, int]] = {}
        """Selected messages that many streams need at the same time."""
        self._bytes = 0
        self._chain = ""
        self.start: int | None = None
        """The position of the first message that is kept; None before the first reading."""
        self.end = 0
        """The position after the last message that is kept."""

    @contextmanager
    def subscribed(self, subscription: Subscription) -> Iterator[None]:
        """Keep the subscription while the context lasts. A task must run `follow` meanwhile."""
        self._subscriptions.add(subscription)
        self._subscribed.set()
        try:
            yield
        finally:
            self._subscriptions.discard(subscription)

    def may_be_of(self, chain: str) -> bool:
        """Return whether the messages can be of that chain.

        A ledger without blocks has no chain yet, so that it can become any chain.
        """
        return not chain or not self._chain or chain == self._chain

    def read(self, position: int, selection: Selection) -> tuple[bytes, int]:
        """Return the next selected messages, and the position after them.

        The position must be at or after `start`, and before `end`.
        """
        piece = self._shared_pieces.get((position, selection))
        if piece is None:
            chunk = self._chunks[bisect_right(self._chunks, position, key=lambda chunk: chunk.end)]
            piece = chunk.select(position, selection), chunk.end
            if len(self._shared_pieces) < _MAX_SHARED_PIECES:
                self._shared_pieces[position, selection] = piece
        return piece

    async def follow(self) -> None:
        """Read new messages while there are subscriptions; until cancelled."""
        while True:
            await self._subscribed.wait()
            try:
                await self._read_while_subscribed()
            except ChainReplacedError:
                continue
            finally:
                self._end_streams()

    async def _read_while_subscribed(self) -> None:
        snapshot = await self._retry(self._watch.recent)
        first_block = await self._retry(partial(self._find_first_block, snapshot))
        self.start = self.end = block_start(first_block)
        self._chain = snapshot.chain
        await self._wake_streams()
        while True:
            await self._read_up_to(snapshot)
            if not self._subscriptions:
                return
            snapshot = await self._watch.wait_for_change(snapshot)
            if self._chain and snapshot.chain != self._chain:
                raise ChainReplacedError
            self._chain = snapshot.chain

    async def _find_first_block(self, snapshot: HeadSnapshot) -> int:
        """Return the number of the first block to keep: the height if no stored block is kept."""
        number, transactions = snapshot.height, 0
        window = Window(self._limits.recent_blocks, descending=True)
        page = await self._reader.blocks(0, snapshot.last, window)
        for block in page.documents:
            transactions += int(block["transactionCount"])
            if transactions > self._limits.recent_transactions:
                break
            number = int(block["number"])
        return number

    async def _read_up_to(self, snapshot: HeadSnapshot) -> None:
        if snapshot.first is None:
            return
        first_stored = block_start(snapshot.first["number"])  # a ledger can begin at any block
        while self._subscriptions and self.end < block_start(snapshot.height):
            limits = self._limits.chunks
            counts = self._chunks[-1].next_counts if self._chunks else first_counts(limits)
            start = max(self.end, first_stored)
            read = partial(
                read_chunk,
                self._reader,
                EVERYTHING,
                start,
                snapshot.height,
                counts=counts,
                limits=limits,
            )
            self._keep(await self._retry(read))
            await self._wake_streams()

    def _keep(self, chunk: Chunk) -> None:
        self._chunks.append(chunk)
        self._shared_pieces.clear()
        self._bytes += chunk.size
        self.end = chunk.end
        while self._bytes > self._max_bytes and len(self._chunks) > 1:
            oldest = self._chunks.pop(0)
            self._bytes -= oldest.size
            self.start = oldest.end

    async def _wake_streams(self) -> None:
        """Wake all streams, and let them run before more is read.

        Streams are woken in groups, so that other requests run in between.
        """
        subscriptions = list(self._subscriptions)
        for begin in range(0, len(subscriptions), _WOKEN_AT_ONCE):
            for subscription in subscriptions[begin : begin + _WOKEN_AT_ONCE]:
                subscription.wake_up.set()
            await asyncio.sleep(0)

    def _end_streams(self) -> None:
        self._clear()
        self._subscribed.clear()
        for subscription in self._subscriptions:
            subscription.end()

    async def _retry(self, read: Callable[[], Awaitable[T]]) -> T:
        """Return what is read, however long MongoDB is unavailable.

        An outage is reported by the requests that fail meanwhile.
        """

        async def read_in_time() -> T:
            with pymongo.timeout(self._limits.read_timeout_s):
                return await read()

        return await retry(
            read_in_time,
            is_transient=lambda error: isinstance(error, PyMongoError),
            backoff=Backoff(maximum=self._limits.max_retry_delay_s),
        )
