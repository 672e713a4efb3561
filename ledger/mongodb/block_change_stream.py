"""A change stream of MongoDB that reports new blocks."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from pymongo import AsyncMongoClient
from pymongo.asynchronous.change_stream import AsyncChangeStream

from ledger.mongodb.collections import BLOCKS

_MAX_WAIT_MS: Final = 1000


@asynccontextmanager
async def watch_stored_blocks(
    client: AsyncMongoClient[Any], database: str
) -> AsyncIterator[AsyncChangeStream[Any]]:
    """Open a stream of the blocks that become durable from now on.

    Each change has the block's number as `documentKey`. The stream's method `try_next` waits one
    second at most. Raises `OperationFailure` when MongoDB has no change stream: it is not a replica
    set, or its user has no right to the stream.
    """
    pipeline: list[dict[str, Any]] = [
        {"$match": {"operationType": "insert"}},
        {"$project": {"documentKey": 1}},
    ]
    async with await client[database][BLOCKS].watch(
        pipeline, max_await_time_ms=_MAX_WAIT_MS
    ) as changes:
        yield changes
