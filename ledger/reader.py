"""Read-only queries over one channel's database. Every one runs on an index that `ledger.store` creates.

The highest block document is the head: what lies above it, of a batch that is being written, must not be seen. So
every query takes the highest block to look at, and all read what the majority of the replica set holds. They read the
primary: a secondary may know a block and lag behind with the transactions of the next query.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Final

import bson
from bson.codec_options import CodecOptions
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from msgspec import Struct
from msgspec.structs import astuple
from pymongo import ASCENDING, DESCENDING, AsyncMongoClient, ReadPreference
from pymongo.asynchronous.cursor import AsyncCursor
from pymongo.read_concern import ReadConcern

from ledger.documents import Document, position
from ledger.store import BLOCKS, EVENTS, INDEXES, TRANSACTIONS
from ledger.sync_state import SyncState, read_sync_state

MAX_PAGE_BYTES: Final = 8 << 20
"""A page ends early when its documents exceed this: a single event can have megabytes of payload."""

_DECODED: CodecOptions[Document] = CodecOptions(tz_aware=True)
_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
_LAST_INDEX = (1 << 20) - 1

_BLOCK_ROW = dict.fromkeys(
    ("number", "blockHash", "previousHash", "dataHash", "ts", "transactionCount", "validCount", "eventCount", "size"), 1
)
_TRANSACTION_ROW = dict.fromkeys(
    (
        *("txId", "claimedTxId", "status", "validationCode", "chaincodeId", "blockNumber", "txIndex", "type", "ts"),
        *("creator.mspId", "function"),
    ),
    1,
)


_REPEAT = {"blockNumber": 1, "txIndex": 1, "status": 1, "validationCode": 1}
_CLAIMED = [("claimedTxId", ASCENDING), ("_id", ASCENDING)]


class Window(Struct, frozen=True):
    """Which part of an ordered list: at most `limit` documents beyond the one whose `_id` is `after`."""

    limit: int
    descending: bool
    after: int | None = None


class Page(Struct, frozen=True):
    """Documents in order; `more` says whether others follow."""

    documents: list[Document]
    more: bool


class Totals(Struct, frozen=True):
    """Sums over a range of blocks."""

    blocks: int = 0
    transactions: int = 0
    valid_transactions: int = 0
    events: int = 0

    def plus(self, other: "Totals") -> "Totals":
        """The sums over both ranges."""
        return Totals(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))

    def minus(self, part: "Totals") -> "Totals":
        """The sums without those over a part of the range."""
        return Totals(*(mine - its for mine, its in zip(astuple(self), astuple(part), strict=True)))


class LedgerReader:
    """Reads one channel's database. Blocks are given by number, `last` is the highest that may be shown."""

    def __init__(self, client: AsyncMongoClient[Any], database: str) -> None:
        self._database = client.get_database(
            database,
            codec_options=_DECODED,
            read_concern=ReadConcern("majority"),
            read_preference=ReadPreference.PRIMARY,
        )

    async def sync_state(self) -> SyncState | None:
        """What the daemon last wrote of its progress; None before it did."""
        return await read_sync_state(self._database)

    async def head(self) -> Document | None:
        """The highest block document; None if no block is stored."""
        return await self._database[BLOCKS].find_one({}, sort=[("number", DESCENDING)])

    async def first_block(self) -> Document | None:
        """The lowest block document; None if no block is stored."""
        return await self._database[BLOCKS].find_one({}, sort=[("number", ASCENDING)])

    async def block(self, number: int) -> Document | None:
        """The block document of that number."""
        return await self._database[BLOCKS].find_one({"_id": number})

    async def block_by_hash(self, block_hash: str, last: int) -> Document | None:
        """The block document with that hash (lower-case hex)."""
        query = {"blockHash": block_hash, "_id": {"$lte": last}}
        return await self._database[BLOCKS].find_one(query, hint=[("blockHash", ASCENDING)])

    async def blocks(self, first: int, last: int, window: Window) -> Page:
        """Blocks `first` to `last`, by number; without what only a single block's answer needs."""
        query = {"_id": _ids(first, last, window)}
        return await _page(self._find(BLOCKS, query, window, _BLOCK_ROW), window.limit)

    async def blocks_by_time(
        self,
        since: DatetimeMS | None,
        until: DatetimeMS | None,
        last: int,
        window: Window,
        after_ts: datetime | None = None,
    ) -> Page:
        """Blocks up to `last` whose `ts` is at least `since` and less than `until`, by `ts`, then number.

        `after_ts` is the `ts` of the block `window.after`.
        """
        hint = [("ts", ASCENDING), ("number", ASCENDING)]
        bounds = {"$gte": since, "$lt": until}
        times = {operator: time for operator, time in bounds.items() if time is not None}

        async def within(ts: Any, after: int | None, limit: int) -> Page:
            query = {"ts": ts, "_id": _ids(0, last, Window(limit, window.descending, after))}
            return await _page(self._find(BLOCKS, query, window, _BLOCK_ROW, hint, limit=limit), limit)

        async def beyond(ts: Any | None, limit: int) -> Page:
            further = times if ts is None else {"$lt" if window.descending else "$gt": ts}
            query = {"$and": [{"ts": times}, {"ts": further}], "_id": {"$lte": last}}
            cursor = self._find(BLOCKS, query, window, _BLOCK_ROW, hint, sort="ts", limit=limit)
            return await _page(cursor, limit)

        resume = (after_ts, window.after) if window.after is not None else None
        return await _by_group("ts", within, beyond, resume, window)

    async def transaction_rows(self, number: int) -> list[Document]:
        """All transactions of a block, in order; without what only a single transaction's answer needs."""
        ids = {"$gte": position(number, 0), "$lte": position(number, _LAST_INDEX)}
        cursor = self._database[TRANSACTIONS].find({"_id": ids}, _TRANSACTION_ROW).sort("_id", ASCENDING)
        return [document async for document in cursor]

    async def transaction(self, tx_id: str, last: int) -> Document | None:
        """The transaction that owns the id."""
        document = await self._database[TRANSACTIONS].find_one({"txId": tx_id})
        return document if document is not None and document["blockNumber"] <= last else None

    async def repeats(self, tx_id: str, last: int, limit: int) -> list[Document]:
        """Envelopes that claim the id and do not own it, in order: where they stand and what became of them."""
        query = {"claimedTxId": tx_id, "_id": {"$lte": position(last, _LAST_INDEX)}}
        cursor = self._database[TRANSACTIONS].find(query, _REPEAT, hint=_CLAIMED, limit=limit).sort("_id", ASCENDING)
        return [document async for document in cursor]

    async def transaction_at(self, number: int, index: int) -> Document | None:
        """The transaction at that place of the chain."""
        return await self._database[TRANSACTIONS].find_one({"_id": position(number, index)})

    async def event_at(self, number: int, index: int) -> Document | None:
        """The event of the VALID transaction at that place of the chain."""
        return await self._database[EVENTS].find_one({"_id": position(number, index)})

    async def events(self, first: int, last: int, window: Window) -> Page:
        """Events of blocks `first` to `last`, by position."""
        query = {"_id": _positions(first, last, window)}
        return await _page(self._find(EVENTS, query, window), window.limit)

    async def events_of_transaction(
        self, tx_id: str, names: Sequence[str] | None, first: int, last: int, window: Window
    ) -> Page:
        """Events of blocks `first` to `last` under that transaction id, by position."""
        query: Document = {"txId": tx_id, "_id": _positions(first, last, window)}
        if names is not None:
            query["eventName"] = {"$in": list(names)}
        return await _page(self._find(EVENTS, query, window, hint=[("txId", ASCENDING)]), window.limit)

    async def events_named(self, names: Sequence[str], first: int, last: int, window: Window) -> Page:
        """Events of blocks `first` to `last` that have one of these names, by position."""
        wanted = {"$in": list(names)}

        async def within(number: Any, after: int | None, limit: int) -> Page:
            ids = _positions(number, number, Window(limit, window.descending, after))
            query = {"_id": ids, "eventName": wanted}
            return await _page(self._find(EVENTS, query, window, hint=[("_id", ASCENDING)], limit=limit), limit)

        async def beyond(number: Any | None, limit: int) -> Page:
            low, high = first, last
            if number is not None:
                low, high = (low, min(high, number - 1)) if window.descending else (max(low, number + 1), high)
            query = {"eventName": wanted, "blockNumber": {"$gte": low, "$lte": high}}
            hint = [("eventName", ASCENDING), ("blockNumber", DESCENDING)]
            return await _page(self._find(EVENTS, query, window, hint=hint, sort="blockNumber", limit=limit), limit)

        resume = (window.after >> 20, window.after) if window.after is not None else None
        return await _by_group("blockNumber", within, beyond, resume, window)

    async def totals(self, first: int, last: int) -> Totals:
        """Sums over blocks `first` to `last`. Reads every block document of the range."""
        sums = {
            "blocks": {"$sum": 1},
            "transactions": {"$sum": "$transactionCount"},
            "valid_transactions": {"$sum": "$validCount"},
            "events": {"$sum": "$eventCount"},
        }
        pipeline: list[Document] = [
            {"$match": {"_id": {"$gte": first, "$lte": last}}},
            {"$group": {"_id": None, **sums}},
        ]
        async for group in await self._database[BLOCKS].aggregate(pipeline, hint={"_id": 1}):
            return Totals(*(int(group[name]) for name in sums))
        return Totals()

    async def missing_indexes(self) -> list[str]:
        """The indexes that the queries need and the database lacks, as `collection.index`."""
        missing: list[str] = []
        for name, indexes in INDEXES.items():
            present = await self._database[name].index_information()
            wanted = [index.document["name"] for index in indexes]
            missing.extend(f"{name}.{index}" for index in wanted if index not in present)
        return missing

    def _find(
        self,
        name: str,
        query: Document,
        window: Window,
        projection: Document | None = None,
        hint: list[tuple[str, int]] | None = None,
        *,
        sort: str = "_id",
        limit: int | None = None,
    ) -> AsyncCursor[RawBSONDocument]:
        """One document more than the limit, to learn whether there are more; all in one answer of the server."""
        count = (window.limit if limit is None else limit) + 1
        collection = self._database[name].with_options(codec_options=_RAW)
        cursor = collection.find(query, projection, limit=count, batch_size=count, hint=hint or [("_id", ASCENDING)])
        return cursor.sort(sort, DESCENDING if window.descending else ASCENDING)


def _ids(low: int, high: int, window: Window) -> Document:
    """The range from `low` to `high`, less what was shown already."""
    if window.after is not None and window.descending:
        high = min(high, window.after - 1)
    elif window.after is not None:
        low = max(low, window.after + 1)
    return {"$gte": low, "$lte": high}


def _positions(first: int, last: int, window: Window) -> Document:
    return _ids(position(first, 0), position(last, _LAST_INDEX), window)


async def _page(cursor: AsyncCursor[RawBSONDocument], limit: int) -> Page:
    documents: list[Document] = []
    size = 0
    async with cursor:
        async for raw in cursor:
            if len(documents) == limit or size > MAX_PAGE_BYTES:
                return Page(documents, more=True)
            documents.append(bson.decode(raw.raw, _DECODED))
            size += len(raw.raw)
    return Page(documents, more=False)


async def _by_group(
    field: str,
    within: Callable[[Any, int | None, int], Awaitable[Page]],
    beyond: Callable[[Any | None, int], Awaitable[Page]],
    resume: tuple[Any, int] | None,
    window: Window,
) -> Page:
    """A page in the order of (`field`, `_id`) from an index that knows the order of `field` only.

    `within(value, after, limit)` reads one group in the order of `_id`; `beyond(value, limit)` reads the groups
    beyond that value, in the order of the groups but in any order inside each. So the last group that `beyond` gave
    in part is read again in its own order.
    """
    found: list[Document] = []
    if resume is not None:
        page = await within(*resume, window.limit)
        if page.more:
            return page
        found = page.documents
    run = await beyond(resume[0] if resume is not None else None, window.limit - len(found))
    documents = run.documents
    if not run.more or not documents:
        return Page(found + _sorted(documents, field, window), run.more)
    last = documents[-1][field]
    whole = [document for document in documents if document[field] != last]
    rest = await within(last, None, window.limit - len(found) - len(whole))
    return Page(found + _sorted(whole, field, window) + rest.documents, more=True)


def _sorted(documents: list[Document], field: str, window: Window) -> list[Document]:
    return sorted(documents, key=lambda document: (document[field], document["_id"]), reverse=window.descending)
