"""Reads a channel's stored documents for verification: block by block, in order."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import TypeAlias

from bson.raw_bson import RawBSONDocument
from msgspec import Struct
from pymongo import ASCENDING
from pymongo.asynchronous.database import AsyncDatabase

from ledger.documents.encoding import EncodedBlock
from ledger.documents.format import Document
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.paging import RAW
from ledger.position import BlockNumber, pack_position

_Groups: TypeAlias = AsyncGenerator[tuple[int, list[Document]], None]
"""Pairs of a block's number and the documents that name this number."""


class StoredDocuments(Struct, frozen=True):
    """The documents of one block in one collection, in the order of their positions."""

    collection: str
    documents: list[Document]


class StoredBlockDocuments(Struct, frozen=True):
    """All documents that name one block's number; `block` is None if the block is not stored.

    Transactions have `txId`, `status` and `validationCode`, events have `txId`.
    """

    number: BlockNumber
    block: Document | None
    transactions: StoredDocuments
    events: StoredDocuments


class ComparableDocuments(Struct, frozen=True):
    """The documents of one block in one collection: as the chain gives them, and as stored.

    Stored documents are keyed by their `_id`.
    """

    collection: str
    expected: Sequence[RawBSONDocument]
    stored: dict[int, RawBSONDocument]


async def stored_documents_by_block(
    database: AsyncDatabase[Document], last: BlockNumber
) -> AsyncGenerator[StoredBlockDocuments, None]:
    """Yield the stored documents of each block up to block `last`, in ascending order.

    Blocks without a document are left out. Documents above the highest block up to `last` are not
    read: the daemon may be writing them.
    """
    blocks = _grouped(database, BLOCKS, "_id", {"_id": {"$lte": last}})
    transactions = _grouped(
        database, TRANSACTIONS, "blockNumber", {}, "txId", "status", "validationCode"
    )
    events = _grouped(database, EVENTS, "blockNumber", {}, "txId")
    async with aclosing(blocks), aclosing(transactions), aclosing(events):
        async for number, groups in _merged(blocks, transactions, events):
            block, of_transactions, of_events = groups
            yield StoredBlockDocuments(
                number=BlockNumber(number),
                block=block[0] if block else None,
                transactions=StoredDocuments(TRANSACTIONS, of_transactions),
                events=StoredDocuments(EVENTS, of_events),
            )


async def comparable_documents(
    database: AsyncDatabase[Document], block: EncodedBlock
) -> AsyncIterator[ComparableDocuments]:
    """Yield for each collection the documents of `block` and the stored documents."""
    number = block.number
    positions = {"$gte": pack_position(number, 0), "$lt": pack_position(number + 1, 0)}
    for name, expected, keys in (
        (BLOCKS, [block.block], number),
        (TRANSACTIONS, block.transactions, positions),
        (EVENTS, block.events, positions),
    ):
        cursor = database[name].with_options(codec_options=RAW).find({"_id": keys})
        yield ComparableDocuments(
            name, expected, {document["_id"]: document async for document in cursor}
        )


def _grouped(
    database: AsyncDatabase[Document], name: str, number: str, query: Document, *fields: str
) -> _Groups:
    """Yield the documents of a collection in the order of their keys, grouped by block.

    `number` is the field that has the block's number. If `fields` are given, the documents have
    only these fields.
    """
    projection = [number, *fields] if fields else None
    cursor = database[name].find(query, projection, sort=[("_id", ASCENDING)])
    return _group(cursor, lambda document: int(document[number]))


async def _group(documents: AsyncIterator[Document], key: Callable[[Document], int]) -> _Groups:
    group: list[Document] = []
    async for document in documents:
        if group and key(document) != key(group[0]):
            yield key(group[0]), group
            group = []
        group.append(document)
    if group:
        yield key(group[0]), group


async def _merged(*streams: _Groups) -> AsyncGenerator[tuple[int, list[list[Document]]], None]:
    """Yield for each number, in ascending order, the group of each stream.

    A stream without a group of the number gives an empty list. `streams[0]` decides the end: the
    groups that the other streams have left then are not read.
    """
    next_groups = [await anext(stream, None) for stream in streams]
    while next_groups[0] is not None:
        number = min(group[0] for group in next_groups if group is not None)
        groups: list[list[Document]] = []
        for index, group in enumerate(next_groups):
            if group is not None and group[0] == number:
                groups.append(group[1])
                next_groups[index] = await anext(streams[index], None)
            else:
                groups.append([])
        yield number, groups
