"""Hears of new heads: from the daemon through Redis, else from a change stream of MongoDB.

Heads are read now and then in any case, so whatever goes wrong here costs a moment, and nothing else.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import structlog
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure, PyMongoError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ledger.head_topic import ALL_HEAD_TOPICS, database_of
from ledger.mongodb.block_change_stream import watch_stored_blocks
from runtime.cancellation import raise_if_cancelled

log = structlog.get_logger()

_AGAIN_S: Final = 1.0
_SILENCE_S: Final = 10.0
_LOG_INTERVAL_S: Final = 60.0
_NO_STREAM: Final = frozenset({13, 40573})  # Unauthorized; no replica set


async def hear_announcements(redis: Redis, wake: Callable[[str], None]) -> None:
    """Calls `wake` with the database's name whenever the daemon announces a head; until cancelled."""
    logged: float | None = None
    while True:
        try:
            await _hear(redis, wake)
        except (RedisError, OSError, TimeoutError) as error:
            now = time.monotonic()
            if logged is None or now - logged > _LOG_INTERVAL_S:
                logged = now
                log.warning("announcements_unavailable", error=str(error) or type(error).__name__)
        raise_if_cancelled()
        await asyncio.sleep(_AGAIN_S)


async def _hear(redis: Redis, wake: Callable[[str], None]) -> None:
    async with redis.pubsub(ignore_subscribe_messages=True) as subscription:
        await subscription.psubscribe(ALL_HEAD_TOPICS)
        asked = False
        while True:
            message = await subscription.get_message(timeout=_SILENCE_S)
            raise_if_cancelled()
            if message is not None:
                asked = False
                if isinstance(message["channel"], bytes):
                    wake(database_of(message["channel"].decode(errors="replace")))
            elif asked:
                raise TimeoutError("no answer")
            else:  # half-open connections are silent too
                asked = True
                async with asyncio.timeout(_AGAIN_S):
                    await subscription.ping()


async def hear_changes(
    client: AsyncMongoClient[Any], database: str, wake: Callable[[], None]
) -> None:
    """Calls `wake` whenever a block is inserted; until cancelled, or until MongoDB says that it has no such stream."""
    while True:
        try:
            async with watch_stored_blocks(client, database) as changes:
                wake()
                while changes.alive:
                    raise_if_cancelled()
                    if await changes.try_next() is not None:
                        wake()
        except OperationFailure as error:
            if error.code in _NO_STREAM:
                log.info("change_stream_unavailable", code=error.code)
                return
        except PyMongoError:
            pass  # away; requests say so
        raise_if_cancelled()
        await asyncio.sleep(_AGAIN_S)
