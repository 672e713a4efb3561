"""Limits how often one client asks one route: counted in Redis for all processes, in memory without it."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from explorer_api.http.problems import ProblemError

_WINDOW_S: Final = 60
_CALL_S: Final = 0.25
_REST_S: Final = 2.0
_MAX_CLIENTS: Final = 100_000


class RateLimiter:
    """Fixed windows of a minute. `now` is the wall clock, in seconds, which processes share."""

    def __init__(
        self,
        per_window: int,
        redis: Redis | None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_window, self._redis, self._now, self._clock = per_window, redis, now, clock
        self._rests_until = 0.0
        self._window = 0
        self._counts: OrderedDict[str, int] = OrderedDict()

    async def count(self, client: str, route: str) -> None:
        """Counts a request. Raises `ProblemError` where the client must wait."""
        now = self._now()
        window, left = int(now // _WINDOW_S), _WINDOW_S - int(now % _WINDOW_S)
        key = f"rate_limit:{client}:{route}"
        counted = self._count_here(key, window)
        if counted <= self._per_window:
            counted = max(counted, await self._count_in_redis(key, window) or 0)
        if counted > self._per_window:
            raise ProblemError(
                429,
                "too-many-requests",
                "Too many requests",
                f"This client asked this route more than {self._per_window} times in a minute.",
                f"Wait {left} s. Use ETags, /stream for what is new, and lists with a higher limit.",
                headers={"Retry-After": str(left)},
            )

    def _count_here(self, key: str, window: int) -> int:
        if window != self._window:
            self._window = window
            self._counts.clear()
        counted = self._counts.pop(key, 0) + 1
        self._counts[key] = counted
        if len(self._counts) > _MAX_CLIENTS:
            self._counts.popitem(last=False)
        return counted

    async def _count_in_redis(self, key: str, window: int) -> int | None:
        """None where Redis does not tell; then it is left alone for a while."""
        if self._redis is None or self._clock() < self._rests_until:
            return None
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.incr(f"{key}:{window}")
        pipeline.expire(f"{key}:{window}", 2 * _WINDOW_S)
        try:
            async with asyncio.timeout(_CALL_S):
                return int((await pipeline.execute())[0])
        except (RedisError, OSError, TimeoutError):
            self._rests_until = self._clock() + _REST_S
            return None
