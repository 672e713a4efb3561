"""Hears from MongoDB itself that blocks were stored."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from pymongo import AsyncMongoClient
from pymongo.asynchronous.change_stream import AsyncChangeStream

from ledger.mongodb.collections import BLOCKS

_WAIT_MS: Final = 1000


@asynccontextmanager
async def watch_stored_blocks(
    client: AsyncMongoClient[Any], database: str
) -> AsyncIterator[AsyncChangeStream[Any]]:
    """A stream of the numbers of blocks that become durable from now on. `try_next` waits for a second at most.

    Raises `OperationFailure` where MongoDB has no such stream: it is no replica set, or its user
    has no right to it.
    """
    pipeline: list[dict[str, Any]] = [
        {"$match": {"operationType": "insert"}},
        {"$project": {"documentKey": 1}},
    ]
    async with await client[database][BLOCKS].watch(
        pipeline, max_await_time_ms=_WAIT_MS
    ) as changes:
        yield changes
