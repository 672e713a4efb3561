"""Notifications of new heads: by the daemon through Redis, or by a change stream of MongoDB.

The heads are also read at regular intervals: without notifications they are only seen later.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure, PyMongoError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from explorer_api.options import ServiceLimits
from ledger.head_topic import ALL_HEAD_TOPICS, database_of
from ledger.mongodb.block_change_stream import watch_stored_blocks
from runtime.cancellation import raise_if_cancelled
from runtime.throttled_log import ThrottledLog

log = structlog.get_logger()

_UNAUTHORIZED: Final = 13
_NO_REPLICA_SET: Final = 40573


async def follow_redis_topics(
    redis: Redis, wake: Callable[[str], None], limits: ServiceLimits
) -> None:
    """Call `wake` with the database's name when the daemon announces a head; until cancelled."""
    failures = ThrottledLog("announcements_unavailable")
    while True:
        try:
            await _subscribe(redis, wake, limits)
        except (RedisError, OSError, TimeoutError) as error:
            failures.failed(error=str(error) or type(error).__name__)
        raise_if_cancelled()
        await asyncio.sleep(limits.notification_retry_s)


async def _subscribe(redis: Redis, wake: Callable[[str], None], limits: ServiceLimits) -> None:
    async with redis.pubsub(ignore_subscribe_messages=True) as subscription:
        await subscription.psubscribe(ALL_HEAD_TOPICS)
        awaits_pong = False
        while True:
            message = await subscription.get_message(timeout=limits.notification_silence_s)
            raise_if_cancelled()
            if message is not None:
                awaits_pong = False
                if isinstance(message["channel"], bytes):
                    wake(database_of(message["channel"].decode(errors="replace")))
            elif awaits_pong:
                raise TimeoutError("no answer")
            else:  # a half-open connection is silent too
                awaits_pong = True
                async with asyncio.timeout(limits.notification_retry_s):
                    await subscription.ping()


async def follow_change_stream(
    client: AsyncMongoClient[Any],
    database: str,
    wake: Callable[[], None],
    limits: ServiceLimits,
) -> None:
    """Call `wake` when a block is stored; until cancelled.

    Returns if MongoDB has no change streams for this client.
    """
    while True:
        try:
            async with watch_stored_blocks(client, database) as changes:
                wake()
                while changes.alive:
                    raise_if_cancelled()
                    if await changes.try_next() is not None:
                        wake()
        except OperationFailure as error:
            if error.code in (_UNAUTHORIZED, _NO_REPLICA_SET):
                log.info("change_stream_unavailable", code=error.code)
                return
        except PyMongoError:
            pass  # an outage of MongoDB is logged by the calls that read the head
        raise_if_cancelled()
        await asyncio.sleep(limits.notification_retry_s)
