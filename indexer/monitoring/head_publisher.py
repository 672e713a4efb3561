"""Announces new blocks through Redis, which is optional: listeners also ask MongoDB."""

import asyncio
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from indexer.progress.channel_progress import ChannelProgress, ErrorSource
from ledger.head_topic import head_topic
from runtime.backoff import Backoff
from runtime.cancellation import raise_if_cancelled
from runtime.throttled_log import ThrottledLog

_CALL_TIMEOUT_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 5.0


class HeadPublisher:
    """Publishes the committed height of a channel, as a decimal number, to its head topic.

    Listeners get only the latest height: heights that are committed while a message is on its
    way, or while Redis is unavailable, are left out.
    """

    def __init__(self, redis: Redis, database: str, progress: ChannelProgress) -> None:
        self._redis, self._topic, self._progress = redis, head_topic(database), progress
        self._failures = ThrottledLog(
            "announcements_unavailable",
            "announcements_available",
            channel=progress.channel,
        )

    async def run(self) -> None:
        """Publish each new height until cancelled, first the height that the store has now."""
        published = 0
        backoff = Backoff(initial=0.5, maximum=_LONGEST_PAUSE_S)
        while True:
            await self._progress.wait_for_height(published + 1)
            height = self._progress.committed_height
            try:
                async with asyncio.timeout(_CALL_TIMEOUT_S):
                    await self._redis.publish(self._topic, str(height))
            except (RedisError, OSError, TimeoutError) as error:
                raise_if_cancelled()
                self._progress.errors[ErrorSource.REDIS] += 1
                self._failures.failed(error=str(error) or f"no answer within {_CALL_TIMEOUT_S:g} s")
                await asyncio.sleep(backoff.next_delay())
            else:
                raise_if_cancelled()
                self._failures.recovered()
                backoff.reset()
                published = height
