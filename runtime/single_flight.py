"""Computes a result once for all callers that ask for it at the same time."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs at most one computation for each key at a time; concurrent callers share its outcome.

    When the caller that runs the computation is cancelled, one of the others starts it again.
    """

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Future[T]] = {}

    async def once(self, key: Hashable, compute: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `compute`, or of a running computation; raise its error."""
        while True:
            running = self._running.get(key)
            if running is None:
                return await self._compute(key, compute)
            await asyncio.wait((running,))
            if not running.cancelled():
                return running.result()

    async def _compute(self, key: Hashable, compute: Callable[[], Awaitable[T]]) -> T:
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._running[key] = outcome
        try:
            result = await compute()
        except Exception as error:
            outcome.set_exception(error)
            outcome.exception()  # else asyncio logs the error if no other caller raises it
            raise
        except BaseException:
            outcome.cancel()
            raise
        else:
            outcome.set_result(result)
            return result
        finally:
            del self._running[key]
