"""The lowest and the highest block that a channel's database holds.

Documents whose `_id` is no block number are left out; `kindledger verify` reports them.
"""

from collections.abc import Mapping

from msgspec import Struct
from pymongo import ASCENDING, DESCENDING
from pymongo.asynchronous.database import AsyncDatabase

from ledger.documents.format import Document
from ledger.mongodb.collections import BLOCKS
from ledger.mongodb.ledger_keys import block_numbers
from ledger.position import BlockNumber, Height

_NUMBER = {"_id": 1}


class BlockRange(Struct, frozen=True):
    """The numbers of the lowest and the highest stored block; others may be missing."""

    lowest: BlockNumber
    highest: BlockNumber

    @property
    def height(self) -> Height:
        """The number of blocks from block 0 up to the highest stored one."""
        return Height(self.highest + 1)


async def lowest_block(
    database: AsyncDatabase[Document], projection: Mapping[str, int] | None = None
) -> Document | None:
    """Return the lowest block document, or None if no block is stored."""
    return await database[BLOCKS].find_one(
        {"_id": block_numbers()}, projection, sort=[("_id", ASCENDING)]
    )


async def highest_block(
    database: AsyncDatabase[Document], projection: Mapping[str, int] | None = None
) -> Document | None:
    """Return the highest block document, or None if no block is stored."""
    return await database[BLOCKS].find_one(
        {"_id": block_numbers()}, projection, sort=[("_id", DESCENDING)]
    )


async def lowest_block_number(database: AsyncDatabase[Document]) -> BlockNumber | None:
    """Return the number of the lowest stored block, or None if no block is stored."""
    lowest = await lowest_block(database, _NUMBER)
    return BlockNumber(lowest["_id"]) if lowest is not None else None


async def stored_height(database: AsyncDatabase[Document]) -> Height:
    """Return the number of blocks up to the highest stored one, or 0 if no block is stored."""
    highest = await highest_block(database, _NUMBER)
    return Height(highest["_id"] + 1 if highest is not None else 0)


async def stored_range(database: AsyncDatabase[Document]) -> BlockRange | None:
    """Return the range of the stored blocks, or None if no block is stored."""
    lowest = await lowest_block(database, _NUMBER)
    highest = await highest_block(database, _NUMBER)
    if lowest is None or highest is None:
        return None
    return BlockRange(BlockNumber(lowest["_id"]), BlockNumber(highest["_id"]))


async def stored_format(database: AsyncDatabase[Document], number: int) -> int | None:
    """Return the format of a block document; None if it has none, or is not stored."""
    block = await database[BLOCKS].find_one({"_id": number}, {"format": 1})
    found = block.get("format") if block is not None else None
    return found if isinstance(found, int) else None
