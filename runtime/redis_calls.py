"""Calls to Redis, which is optional: an outage of Redis hardly delays the caller."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from runtime.circuit_breaker import CircuitBreaker

T = TypeVar("T")


class RedisCalls:
    """Limits the time of each call, and pauses after a failure.

    A call takes at most `timeout_s` seconds. No call is made for `pause_s` seconds
    after a failure.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        timeout_s: float = 0.25,
        pause_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis, self._timeout_s = redis, timeout_s
        self._breaker = CircuitBreaker(pause_s, clock)

    @property
    def available(self) -> bool:
        """Whether a call would be made now."""
        return not self._breaker.is_open

    async def call(
        self,
        command: Callable[[Redis], Awaitable[T]],
        on_failure: Callable[[Exception], None] = lambda _: None,
    ) -> T | None:
        """Return the reply to the command, or None if the call fails or is not made.

        `on_failure` receives the error of a failed call.
        """
        if not self._breaker.allow():
            return None
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await command(self._redis)
        except (RedisError, OSError, TimeoutError) as error:
            self._breaker.failed()
            on_failure(error)
            return None
        except BaseException:
            self._breaker.abandoned()
            raise
        self._breaker.succeeded()
        return reply
