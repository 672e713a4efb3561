"""A queue bounded in bytes, not in items: a block may have one transaction or ten thousand."""

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class ByteQueue(Generic[T]):
    """Holds items of up to `limit` bytes together, or a single larger one."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._items: deque[tuple[T, int]] = deque()
        self._closed = False
        self._changed = asyncio.Condition()
        self.size = 0

    async def put(self, item: T, size: int) -> None:
        """Adds an item, once there is room."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._items or self.size + size <= self.limit)
            self._items.append((item, size))
            self.size += size
            self._changed.notify_all()

    async def take(self, limit: int) -> list[T]:
        """Everything that has queued up, as far as it stays within `limit` bytes, at least one item.

        Waits for one; empty only when the queue is closed and nothing is left.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._items or self._closed)
            taken: list[T] = []
            total = 0
            while self._items and (not taken or total + self._items[0][1] <= limit):
                item, size = self._items.popleft()
                taken.append(item)
                total += size
            self.size -= total
            self._changed.notify_all()
            return taken

    async def close(self) -> None:
        """Says that nothing more will come."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()
