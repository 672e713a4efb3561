"""Tells whoever listens on Redis of new blocks. Nobody depends on it: listeners also look by themselves."""

import asyncio
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from indexer.channel_progress import ChannelProgress, ErrorSource
from runtime.backoff import Backoff
from runtime.cancellation import raise_if_cancelled
from runtime.throttled_log import ThrottledLog

_CALL_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 5.0


class HeadPublisher:
    """Publishes the height of a channel's ledger to `kindledger:head:{database}`, as a decimal number.

    Only the latest height: while one is on its way, or Redis is away, others are passed over.
    """

    def __init__(self, redis: Redis, database: str, progress: ChannelProgress) -> None:
        self._redis, self._topic, self._progress = redis, f"kindledger:head:{database}", progress
        self._failures = ThrottledLog(
            "announcements_unavailable",
            "announcements_available",
            channel=progress.channel,
        )

    async def run(self) -> None:
        """Announces until cancelled, first what is stored already."""
        announced = 0
        backoff = Backoff(initial=0.5, maximum=_LONGEST_PAUSE_S)
        while True:
            await self._progress.wait_for_height(announced + 1)
            height = self._progress.committed_height
            try:
                async with asyncio.timeout(_CALL_S):
                    await self._redis.publish(self._topic, str(height))
            except (RedisError, OSError, TimeoutError) as error:
                raise_if_cancelled()
                self._progress.errors[ErrorSource.REDIS] += 1
                self._failures.failed(error=str(error) or f"no answer within {_CALL_S:g} s")
                await asyncio.sleep(backoff.next_delay())
            else:
                raise_if_cancelled()
                self._failures.recovered()
                backoff.reset()
                announced = height
