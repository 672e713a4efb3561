"""Limits how often a client may request a route."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from redis.asyncio import Redis

from explorer_api.http.problems import ProblemError
from runtime.redis_calls import RedisCalls

_WINDOW_S: Final = 60
_MAX_COUNTERS: Final = 100_000


class RateLimiter:
    """Counts requests by client and route in fixed windows of a minute.

    With `redis` the limit applies to all processes together. Without it, and while Redis is
    unavailable, the limit applies to each process alone. `now` is the wall clock in seconds, which
    all processes share.
    """

    def __init__(
        self,
        requests_per_window: int,
        redis: Redis | None,
        *,
        pause_s: float = 2.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._requests_per_window, self._now = requests_per_window, now
        self._redis = RedisCalls(redis, pause_s=pause_s) if redis is not None else None
        self._window = 0
        self._counters: OrderedDict[str, int] = OrderedDict()

    async def count(self, client: str, route: str) -> None:
        """Count a request. Raises `ProblemError` if the client exceeds the limit."""
        now = self._now()
        window, remaining_s = int(now // _WINDOW_S), _WINDOW_S - int(now % _WINDOW_S)
        key = f"rate_limit:{client}:{route}"
        count = self._count_in_process(key, window)
        if count <= self._requests_per_window:
            count = max(count, await self._count_in_redis(key, window) or 0)
        if count > self._requests_per_window:
            raise ProblemError(
                429,
                "too-many-requests",
                "Too many requests",
                f"This client requested this route more than {self._requests_per_window} times "
                "in a minute.",
                f"Wait {remaining_s} s. Use ETags, /stream for new blocks, and lists with a higher "
                "limit.",
                headers={"Retry-After": str(remaining_s)},
            )

    def _count_in_process(self, key: str, window: int) -> int:
        if window != self._window:
            self._window = window
            self._counters.clear()
        count = self._counters.pop(key, 0) + 1
        self._counters[key] = count
        if len(self._counters) > _MAX_COUNTERS:
            self._counters.popitem(last=False)
        return count

    async def _count_in_redis(self, key: str, window: int) -> int | None:
        """Return the count of all processes, None while Redis is unavailable."""
        if self._redis is None:
            return None

        async def increment(redis: Redis) -> int:
            pipeline = redis.pipeline(transaction=True)
            pipeline.incr(f"{key}:{window}")
            pipeline.expire(f"{key}:{window}", 2 * _WINDOW_S)
            return int((await pipeline.execute())[0])

        return await self._redis.call(increment)
