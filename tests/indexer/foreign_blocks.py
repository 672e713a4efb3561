"""Documents in `blocks` whose `_id` is no block number, as someone with the right to write has."""

from typing import Any

from bson.int64 import Int64
from bson.objectid import ObjectId
from pymongo.asynchronous.database import AsyncDatabase

from ledger.mongodb.collections import BLOCKS
from ledger.position import MAX_BLOCK_NUMBER

FOREIGN: tuple[object, ...] = (
    *(None, -5, 1.5, float("inf"), Int64(MAX_BLOCK_NUMBER + 1)),
    *("none", {"number": 2}, ObjectId(b"not a number"), True),
)
"""The keys, in MongoDB's order: some are below, between and above all block numbers."""


async def store_foreign_blocks(database: AsyncDatabase[Any]) -> None:
    """Store a copy of block 1 for each foreign key, with this key as its number too."""
    block = await database[BLOCKS].find_one({"_id": 1})
    assert block is not None
    await database[BLOCKS].insert_many(block | {"_id": key, "number": key} for key in FOREIGN)
