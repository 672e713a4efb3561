"""Computes a result once for all who ask for it at the same time."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs one computation for each key at a time; callers that come meanwhile share its result."""

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Future[T | None]] = {}

    async def once(self, key: Hashable, compute: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `compute`, or of another caller's that is running; share its error too."""
        while True:
            running = self._running.get(key)
            if running is None:
                return await self._compute(key, compute)
            result = await asyncio.shield(running)
            if result is not None:
                return result  # else the caller who computed it was cancelled

    async def _compute(self, key: Hashable, compute: Callable[[], Awaitable[T]]) -> T:
        future: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()
        self._running[key] = future
        try:
            result = await compute()
        except Exception as error:
            future.set_exception(error)
            future.exception()  # no other caller need be waiting for it
            raise
        except BaseException:
            future.set_result(None)
            raise
        else:
            future.set_result(result)
            return result
        finally:
            del self._running[key]
