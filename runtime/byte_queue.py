"""A queue that is bounded in bytes: a block may have one transaction or ten thousand."""

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class ByteQueue(Generic[T]):
    """Holds items of up to `limit` bytes in total, or a single larger item."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._items: deque[tuple[T, int]] = deque()
        self._closed = False
        self._changed = asyncio.Condition()
        self.size = 0
        """The total size of the items in the queue, in bytes."""

    async def put(self, item: T, size: int) -> None:
        """Add an item of `size` bytes, when there is room for it."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._items or self.size + size <= self.limit)
            self._items.append((item, size))
            self.size += size
            self._changed.notify_all()

    async def take(self, limit: int) -> list[T]:
        """Remove and return the first items: as many as fit into `limit` bytes, but at least one.

        Waits for an item; the list is empty only when the queue is closed and empty.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._items or self._closed)
            items: list[T] = []
            total = 0
            while self._items and (not items or total + self._items[0][1] <= limit):
                item, size = self._items.popleft()
                items.append(item)
                total += size
            self.size -= total
            self._changed.notify_all()
            return items

    async def close(self) -> None:
        """Announce that no more items will be added."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()
