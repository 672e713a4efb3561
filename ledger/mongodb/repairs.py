"""Changes a channel's stored documents, and records each change in the collection `repairs`.

Only `kindledger repair` uses this; the daemon neither changes nor deletes documents of the ledger.
An act is recorded before it is done. If the process is killed in between, the next repair records
it again.
"""

import hashlib
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from bson.binary import Binary
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from msgspec import Struct
from pymongo import ASCENDING, DESCENDING, DeleteOne, ReplaceOne
from pymongo.errors import DocumentTooLarge, OperationFailure

from ledger.documents.format import Document
from ledger.mongodb.block_range import stored_range
from ledger.mongodb.collections import (
    BLOCKS,
    CERTIFICATES,
    EVENTS,
    RAW_BLOCKS,
    REPAIRS,
    TRANSACTIONS,
    VERDICTS,
)
from ledger.mongodb.ledger_keys import block_numbers, foreign_keys_of
from ledger.mongodb.paging import RAW
from ledger.mongodb.store import LedgerStore
from ledger.position import BlockNumber, last_position, pack_position, unpack_position

_MAX_RECORD_BYTES: Final = 15 << 20
_CHUNK_DOCUMENTS: Final = 500
_CHUNK_BYTES: Final = 16 << 20
"""The limits of the documents that are read and removed together."""

RAW_BLOCKS_NAME: Final = RAW_BLOCKS
"""The collection in findings and records of raw blocks, also if they are kept in a folder."""
LEDGER: Final = (EVENTS, TRANSACTIONS, BLOCKS)
"""The collections of the ledger in the order in which documents are removed."""


class Act(StrEnum):
    """What a repair does to a document."""

    INSERT = "insert"
    REPLACE = "replace"
    REMOVE = "remove"
    RELEASE_ID = "release_id"  # gives another id to a document that holds the id of another one


class Change(Struct, frozen=True):
    """A change of one document: `before` is the stored one, `after` the one that replaces it."""

    act: Act
    collection: str
    key: object
    before: RawBSONDocument | None = None
    after: RawBSONDocument | None = None
    field: str | None = None


class RepairedBy(Struct, frozen=True):
    """Who repairs: the user of the operating system and of MongoDB, from which source, and why."""

    os_user: str
    mongo_user: str
    source: str | None
    reason: str


def block_of(collection: str, key: object) -> int | None:
    """Return the number of the block that a key belongs to; None if it is no key of the ledger."""
    if not isinstance(key, int) or isinstance(key, bool) or key < 0:
        return None
    return key if collection in (BLOCKS, VERDICTS) else unpack_position(key)[0]


class RepairStore:
    """Reads what a repair needs from one channel's database, and changes it.

    Every method is safe to repeat.
    """

    def __init__(self, store: LedgerStore, by: RepairedBy, now: Callable[[], datetime]) -> None:
        self._database, self._by, self._now = store.database, by, now
        self._run = ObjectId()

    async def lowest_and_highest(self) -> tuple[int, int] | None:
        """Return the numbers of the lowest and the highest stored block, or None."""
        stored = await stored_range(self._database)
        return (stored.lowest, stored.highest) if stored is not None else None

    async def highest_at_most(self, number: int) -> Document | None:
        """Return the highest block document up to a number."""
        condition = {"_id": block_numbers(last=number)}
        return await self._database[BLOCKS].find_one(condition, sort=[("_id", DESCENDING)])

    async def first_block(self, lowest: int) -> BlockNumber:
        """Return the lowest block whose transactions are stored without a gap below `lowest`.

        It is lower than `lowest` if the lowest block documents were deleted.
        """
        transactions = self._database[TRANSACTIONS]
        while lowest > 0:
            below = {"$gte": pack_position(lowest - 1, 0), "$lte": last_position(lowest - 1)}
            if await transactions.find_one({"_id": below}, {"_id": 1}) is None:
                break
            lowest -= 1
        return BlockNumber(lowest)

    async def misplaced(
        self, first: int
    ) -> AsyncGenerator[tuple[str, list[RawBSONDocument]], None]:
        """Yield the documents whose `_id` no document of block `first` or above can have."""
        for name in LEDGER:
            for condition in foreign_keys_of(name, first):
                async for documents in self._chunks(name, condition):
                    yield name, documents

    async def above(self, number: int) -> AsyncGenerator[tuple[str, list[RawBSONDocument]], None]:
        """Yield the events, then the transactions of block `number` and above."""
        for name in (EVENTS, TRANSACTIONS):
            async for documents in self._chunks(name, {"$gte": pack_position(number, 0)}):
                yield name, documents

    async def verdicts(
        self, number: int
    ) -> AsyncGenerator[tuple[str, list[RawBSONDocument]], None]:
        """Yield the verdicts on block `number` and above, the highest first."""
        async for documents in self._chunks(VERDICTS, {"$gte": number}, DESCENDING):
            yield VERDICTS, documents

    async def certificates(self) -> AsyncGenerator[tuple[str, list[RawBSONDocument]], None]:
        """Yield the inventory of certificates, first the document that says how far it is."""
        async for documents in self._chunks(CERTIFICATES, {"$gte": ""}, DESCENDING):
            yield CERTIFICATES, documents

    async def blocks_from_the_top(
        self, number: int
    ) -> AsyncGenerator[tuple[str, list[RawBSONDocument]], None]:
        """Yield the block documents above block `number`, the highest first."""
        async for documents in self._chunks(BLOCKS, {"$gt": number}, DESCENDING):
            yield BLOCKS, documents

    async def _chunks(
        self, name: str, condition: Document, direction: int = ASCENDING
    ) -> AsyncGenerator[list[RawBSONDocument], None]:
        chunk: list[RawBSONDocument] = []
        size = 0
        collection = self._database[name].with_options(codec_options=RAW)
        async for document in collection.find(
            {"_id": condition}, sort=[("_id", direction)], hint="_id_"
        ):
            chunk.append(document)
            size += len(document.raw)
            if len(chunk) == _CHUNK_DOCUMENTS or size > _CHUNK_BYTES:
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk

    async def repair_block(self, changes: Sequence[Change]) -> None:
        """Make the changes of one block, in an order that leaves no incomplete block visible.

        An event never lies without its transaction, and a missing block document comes last.
        """
        events, transactions, blocks = (_of(changes, name) for name in LEDGER)
        await self._apply(_removals(events))
        holders = await self._holders(transactions)
        await self._apply(
            [
                Change(Act.RELEASE_ID, TRANSACTIONS, each["_id"], each, field="txId")
                for each in holders
            ]
        )
        for each in (transactions, events):
            await self._apply([change for change in each if change.act is not Act.REMOVE])
        await self._apply(_removals(transactions))
        await self._apply(blocks)

    async def insert_missing(self, changes: Sequence[Change]) -> int:
        """Make only the insertions among the changes of one block; return their number.

        This needs no right to change documents. A transaction whose id another document holds
        stays missing, and its event with it.
        """
        inserts = [each for each in changes if each.act is Act.INSERT]
        held = {each["txId"] for each in await self._holders(_of(inserts, TRANSACTIONS))}
        inserts = [each for each in inserts if not each.after or each.after.get("txId") not in held]
        if len(inserts) < len(changes):
            inserts = [each for each in inserts if each.collection != BLOCKS]
        for name in (TRANSACTIONS, EVENTS, BLOCKS):
            await self._apply(_of(inserts, name))
        return len(inserts)

    async def remove(self, changes: Sequence[Change]) -> None:
        """Remove documents: first events, also those of the transactions; blocks in their order."""
        keys = [each.key for each in _of(changes, TRANSACTIONS)]
        collection = self._database[EVENTS].with_options(codec_options=RAW)
        known = {each.key for each in _of(changes, EVENTS)}
        events = [each async for each in collection.find({"_id": {"$in": keys}})] if keys else []
        orphans = [
            Change(Act.REMOVE, EVENTS, each["_id"], each)
            for each in events
            if each["_id"] not in known
        ]
        await self._apply([*_of(changes, EVENTS), *orphans])
        await self._apply(_of(changes, TRANSACTIONS))
        for name in (BLOCKS, VERDICTS, CERTIFICATES):
            await self._apply(_of(changes, name))

    async def _holders(self, changes: Sequence[Change]) -> list[RawBSONDocument]:
        """Return the transactions that hold an id of the changes' documents at another position."""
        keys = {each.after["txId"]: each.key for each in changes if each.after is not None}
        if not keys:
            return []
        collection = self._database[TRANSACTIONS].with_options(codec_options=RAW)
        cursor = collection.find({"txId": {"$in": list(keys)}})
        return [each async for each in cursor if keys[each["txId"]] != each["_id"]]

    async def _apply(self, changes: Sequence[Change]) -> None:
        """Record the changes, then make them. They are of one collection."""
        if not changes:
            return
        await self._insert_records([self._record_of(each) for each in changes])
        collection = self._database[changes[0].collection]
        inserts = [each.after for each in changes if each.act is Act.INSERT and each.after]
        if inserts:
            await collection.insert_many(inserts)
        replacements: list[ReplaceOne[Document]] = [
            ReplaceOne({"_id": each.key}, each.after)
            for each in changes
            if each.act is Act.REPLACE and each.after is not None
        ]
        if replacements:
            await collection.bulk_write(replacements)
        for each in changes:
            if each.act is Act.RELEASE_ID:
                await collection.update_one({"_id": each.key}, {"$set": {"txId": ObjectId()}})
        removals: list[DeleteOne] = [
            DeleteOne({"_id": each.key}) for each in changes if each.act is Act.REMOVE
        ]
        if removals:
            await collection.bulk_write(removals, ordered=True)

    async def record_raw_blocks(
        self, act: Act, first: int, last: int, before: Document, after: Document | None
    ) -> None:
        """Record an act on the raw blocks from `first` to `last`, which the caller does next."""
        about = {"block": first, "collection": RAW_BLOCKS, "key": f"{first}-{last}", "field": None}
        record = {"act": act.value, **about, "before": before, "after": after}
        await self._insert_records([self._stamped(record)])

    async def _insert_records(self, records: list[Document]) -> None:
        repairs = self._database[REPAIRS]
        try:
            await repairs.insert_many(records)
        except (OperationFailure, DocumentTooLarge):
            # A stored document may be nested as deeply as MongoDB allows: a record cannot hold it.
            for record in records:
                record["_id"] = ObjectId()
                for side in ("before", "after"):
                    if isinstance(record[side], RawBSONDocument):
                        record[side] = Binary(record[side].raw)
            await repairs.insert_many(records)

    def _record_of(self, change: Change) -> Document:
        before, after = change.before, change.after
        too_large = _size(change) > _MAX_RECORD_BYTES
        return self._stamped(
            {
                "act": change.act.value,
                "block": block_of(change.collection, change.key),
                "collection": change.collection,
                "key": change.key,
                "field": change.field,
                "before": _digest(before) if too_large and after is None else before,
                "after": _digest(after) if too_large else after,
            }
        )

    def _stamped(self, record: Document) -> Document:
        """Return the record with the time, and with who repairs."""
        return {
            "run": self._run,
            "at": self._now(),
            **record,
            "osUser": self._by.os_user,
            "mongoUser": self._by.mongo_user,
            "source": self._by.source,
            "reason": self._by.reason,
        }


def _of(changes: Sequence[Change], collection: str) -> list[Change]:
    return [each for each in changes if each.collection == collection]


def _removals(changes: Sequence[Change]) -> list[Change]:
    return [each for each in changes if each.act is Act.REMOVE]


def _size(change: Change) -> int:
    return sum(len(each.raw) for each in (change.before, change.after) if each is not None)


def _digest(document: RawBSONDocument | None) -> dict[str, Any] | None:
    """Return the size and the SHA-256 of a document that is too large for a record."""
    if document is None:
        return None
    return {
        "omitted": True,
        "size": len(document.raw),
        "sha256": hashlib.sha256(document.raw).hexdigest(),
    }
