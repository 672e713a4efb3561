"""Finds the blocks that have a transaction of a range of times.

A block has no time of its own. Its transactions have the times that their clients signed, which do
not ascend along the chain.
"""

from datetime import datetime
from typing import Final, cast

import bson
from pymongo import ASCENDING
from pymongo.asynchronous.database import AsyncDatabase

from ledger.documents.format import Document
from ledger.mongodb.block_range import BlockRange
from ledger.mongodb.collections import TRANSACTIONS
from ledger.mongodb.paging import EARLIEST
from ledger.position import last_position, pack_position, unpack_position

_BY_TIME: Final = [("ts", ASCENDING), ("_id", ASCENDING)]
_BATCH: Final = 50_000


async def blocks_of_times(
    database: AsyncDatabase[Document],
    since: datetime | None,
    until: datetime | None,
    stored: BlockRange,
) -> BlockRange | None:
    """Return the blocks from the first to the last one with a transaction of these times.

    The transaction's `ts` is at least `since` and less than `until`; None is no bound. Return None
    if no block of the range `stored` has one. MongoDB reads the times from the index only, a
    million of them in about two seconds, and refuses the query if the index does not exist.
    """
    times: Document = {"$gte": since if since is not None else EARLIEST}
    if until is not None:
        times["$lt"] = until
    positions = {
        "$gte": pack_position(stored.lowest, 0),
        "$lte": last_position(stored.highest),
        "$type": ["int", "long"],
    }
    batches = database[TRANSACTIONS].find_raw_batches(
        {"ts": times, "_id": positions}, {"_id": 1}, hint=_BY_TIME, batch_size=_BATCH
    )
    ends: list[int] = []
    async with batches:
        async for batch in batches:
            found = [document["_id"] for document in bson.decode_all(cast("bytes", batch))]
            if found:
                ends = [min(ends + found), max(ends + found)]
    return BlockRange(*(unpack_position(position)[0] for position in ends)) if ends else None
