"""Finds documents at positions where the chain has none, and documents of uncommitted blocks.

Another chain that was written into the same database, or a block of a lying peer, may have left
transactions and events at positions that do not collide with any document of a block. Only counting
finds them. Counts run on the index of `_id`.

The read concern is `local`: documents that another program wrote a moment ago count too, even if
the majority does not have them yet. The own documents were acknowledged by the majority before, and
a driver never goes back to an earlier primary, so none of them is missing after an election.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from bson.int64 import Int64
from msgspec import Struct
from pymongo import DESCENDING
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.read_concern import ReadConcern

from ledger.documents.encoding import EncodedBlock
from ledger.documents.format import Document
from ledger.errors import StoreConflictError, SurplusDocumentsError
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.comparison import compare_documents
from ledger.mongodb.ledger_keys import block_numbers
from ledger.mongodb.paging import RAW
from ledger.position import last_position, pack_position, unpack_position

_LOCAL: Final = ReadConcern("local")
_ID: Final = {"_id": 1}
_MAX_NAMED: Final = 5
"""The number of positions that an error names."""

COUNTED_UNCOMMITTED: Final = 10_000
"""The number of uncommitted documents of a collection up to which they are counted."""


class UncommittedDocuments(Struct, frozen=True, rename="camel"):
    """The documents above the highest committed block, which no reader shows.

    The counts end at `COUNTED_UNCOMMITTED`. `highest_block` is null if there is no document.
    """

    transactions: int
    events: int
    highest_block: int | None

    def __bool__(self) -> bool:
        return self.highest_block is not None

    def __str__(self) -> str:
        """Return the counts as text: `12 transactions and 3 events up to block 90`."""
        return (
            f"{_at_most(self.transactions)} transactions and {_at_most(self.events)} events up to "
            f"block {self.highest_block:,}"
        )


def _at_most(count: int) -> str:
    return f"{count:,}" if count < COUNTED_UNCOMMITTED else f"{count:,} or more"


def positions_of(first: int, last: int) -> Document:
    """Return the condition on `_id` for the positions of blocks `first` to `last`."""
    return {"$gte": pack_position(first, 0), "$lte": last_position(last)}


async def uncommitted_documents(
    database: AsyncDatabase[Document], first: int
) -> UncommittedDocuments:
    """Return what is stored at the positions of block `first` and above; counts are bounded."""
    above = {"$gte": pack_position(first, 0)}
    counts: list[int] = []
    highest: list[int] = []
    for name in (TRANSACTIONS, EVENTS):
        counts.append(await _count(database, name, above, COUNTED_UNCOMMITTED))
        if counts[-1]:
            newest = await database[name].find_one({"_id": above}, _ID, sort=[("_id", DESCENDING)])
            highest += [unpack_position(int(newest["_id"]))[0]] if newest is not None else []
    return UncommittedDocuments(counts[0], counts[1], max(highest, default=None))


async def check_committed(
    database: AsyncDatabase[Document], blocks: Sequence[EncodedBlock]
) -> None:
    """Raise `StoreConflictError` if other blocks are committed at the numbers of these blocks."""
    expected = {block.number: block.block for block in blocks}
    collection = database[BLOCKS].with_options(codec_options=RAW, read_concern=_LOCAL)
    numbers = {"$gte": blocks[0].number, "$lte": blocks[-1].number}
    async for stored in collection.find({"_id": numbers}, hint="_id_"):
        if stored["_id"] in expected:
            compare_documents(BLOCKS, expected[stored["_id"]], stored)


async def check_surplus(database: AsyncDatabase[Document], blocks: Sequence[EncodedBlock]) -> None:
    """Raise `SurplusDocumentsError` if other documents are stored at the blocks' positions.

    All documents of these contiguous blocks must be stored. Raises `StoreConflictError` if one of
    them is missing.
    """
    positions = positions_of(blocks[0].number, blocks[-1].number)
    counts = await asyncio.gather(
        *(_count(database, name, positions) for name in (TRANSACTIONS, EVENTS))
    )
    for name, count, joined in (
        (TRANSACTIONS, counts[0], [block.transactions for block in blocks]),
        (EVENTS, counts[1], [block.events for block in blocks]),
    ):
        if count == sum(map(len, joined)):
            continue
        expected = {document["_id"] for documents in joined for document in documents}
        stored = await _keys(database, name, positions)
        if surplus := sorted(stored - expected):
            raise _surplus(name, surplus)
        if missing := sorted(expected - stored):
            raise StoreConflictError(name, missing[0], "_id", "a document is here", "none")


async def check_committed_surplus(database: AsyncDatabase[Document], first: int, last: int) -> None:
    """Raise `SurplusDocumentsError` if more is stored at committed blocks than they count.

    Blocks from `first` to `last` are checked, as far as their block documents are stored.
    """
    numbers = {"_id": block_numbers(first, last)}
    cursor = database[BLOCKS].find(numbers, {"transactionCount": 1, "eventCount": 1}).sort(_ID)
    blocks = [block async for block in cursor]
    for name, field in ((TRANSACTIONS, "transactionCount"), (EVENTS, "eventCount")):
        await _check_counts(database, name, blocks, field)


async def _check_counts(
    database: AsyncDatabase[Document], name: str, blocks: Sequence[Document], field: str
) -> None:
    """Compare the number of documents with the blocks' counts; halve the range at a difference."""
    if not blocks:
        return
    first, last = blocks[0]["_id"], blocks[-1]["_id"]
    contiguous = last - first + 1 == len(blocks)
    positions = positions_of(first, last)
    if contiguous:
        counted = sum(int(block[field]) for block in blocks)
        stored = await _count(database, name, positions)
        if stored <= counted and (stored == counted or len(blocks) == 1):
            return
    if len(blocks) > 1:
        middle = len(blocks) // 2
        await _check_counts(database, name, blocks[:middle], field)
        await _check_counts(database, name, blocks[middle:], field)
        return
    keys = sorted(await _keys(database, name, positions))
    beyond = [key for key in keys if unpack_position(key)[1] >= int(blocks[0]["transactionCount"])]
    raise _surplus(name, beyond or keys)


def _surplus(name: str, positions: Sequence[Int64]) -> SurplusDocumentsError:
    number = unpack_position(positions[0])[0]
    in_block = [each for each in positions if unpack_position(each)[0] == number]
    return SurplusDocumentsError(name, number, in_block[:_MAX_NAMED], len(positions))


async def _count(
    database: AsyncDatabase[Document], name: str, positions: Document, limit: int = 0
) -> int:
    """Return the number of documents at these positions, at most `limit` unless it is 0.

    The command `count` only walks the index; an aggregation, which PyMongo's `count_documents`
    uses, takes several times as long.
    """
    reply = await database.command(
        {
            "count": name,
            "query": {"_id": positions},
            "hint": "_id_",
            "limit": limit,
            "readConcern": _LOCAL.document,
        }
    )
    return int(reply["n"])


async def _keys(database: AsyncDatabase[Document], name: str, positions: Document) -> set[Int64]:
    collection: AsyncCollection[Any] = database[name].with_options(read_concern=_LOCAL)
    return {document["_id"] async for document in collection.find({"_id": positions}, _ID)}
