"""Read-only queries over one channel's database. Every one runs on an index that `ledger.mongodb.store` creates.

The highest block document is the head: what lies above it, of a batch that is being written, must
not be seen. So every query takes the highest block to look at, and all read what the majority of
the replica set holds. They read the primary: a secondary may know a block and lag behind with the
transactions of the next query.
"""

from datetime import datetime
from typing import Any, Final

from bson.datetime_ms import DatetimeMS
from msgspec import Struct
from pymongo import ASCENDING, AsyncMongoClient, ReadPreference
from pymongo.read_concern import ReadConcern

from ledger.documents.format import Document
from ledger.mongodb.block_range import highest_block, lowest_block
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.event_queries import EventQueries
from ledger.mongodb.indexes import INDEXES, IndexOptions, payload_path, ready_indexes
from ledger.mongodb.key_history import KeyHistoryQueries
from ledger.mongodb.paging import DECODED, Page, Window, ids, read_page
from ledger.mongodb.sync_state import SyncState, read_sync_state
from ledger.mongodb.totals import TotalsQueries
from ledger.mongodb.transaction_queries import TransactionQueries
from ledger.position import BlockNumber

_PAYLOAD: Final = payload_path("")
_BLOCK_ROW: Final = dict.fromkeys(
    (
        "number",
        "blockHash",
        "previousHash",
        "dataHash",
        "ts",
        "transactionCount",
        "validCount",
        "eventCount",
        "size",
    ),
    1,
)


class OptionalIndexes(Struct, frozen=True):
    """What a database has indexed beyond the required: fields of event payloads, and the keys that were written."""

    payload_fields: frozenset[str]
    key_history: bool


class LedgerReader(TransactionQueries, EventQueries, KeyHistoryQueries, TotalsQueries):
    """Reads one channel's database. Blocks are given by number, `last` is the highest that may be shown."""

    def __init__(self, client: AsyncMongoClient[Any], database: str) -> None:
        super().__init__(
            client.get_database(
                database,
                codec_options=DECODED,
                read_concern=ReadConcern("majority"),
                read_preference=ReadPreference.PRIMARY,
            )
        )

    async def sync_state(self) -> SyncState | None:
        """What the daemon last wrote of its progress; None before it did."""
        return await read_sync_state(self._database)

    async def head(self) -> Document | None:
        """The highest block document; None if no block is stored."""
        return await highest_block(self._database)

    async def lowest_block(self) -> Document | None:
        """The lowest block document; None if no block is stored."""
        return await lowest_block(self._database)

    async def block(self, number: int) -> Document | None:
        """The block document of that number."""
        return await self._database[BLOCKS].find_one({"_id": number})

    async def block_by_hash(self, block_hash: str, last: BlockNumber) -> Document | None:
        """The block document with that hash (lower-case hex)."""
        query = {"blockHash": block_hash, "_id": {"$lte": last}}
        return await self._database[BLOCKS].find_one(query, hint=[("blockHash", ASCENDING)])

    async def blocks(self, first: int, last: BlockNumber, window: Window) -> Page:
        """Blocks `first` to `last`, by number; without what only a single block's answer needs."""
        query = {"_id": ids(first, last, window)}
        return await read_page(self._find(BLOCKS, query, window, _BLOCK_ROW), window.limit)

    async def blocks_by_time(
        self,
        since: DatetimeMS | None,
        until: DatetimeMS | None,
        last: BlockNumber,
        window: Window,
        after_ts: datetime | None = None,
    ) -> Page:
        """Blocks up to `last` whose `ts` is at least `since` and less than `until`, by `ts`, then number.

        `after_ts` is the `ts` of the block `window.after`.
        """
        times = (since, until)
        return await self._by_time(
            BLOCKS, "number", times, last, window, after_ts=after_ts, projection=_BLOCK_ROW
        )

    async def missing_indexes(self) -> list[str]:
        """The indexes that the queries need and the database lacks, or still builds, as `collection.index`."""
        missing: list[str] = []
        for name, indexes in INDEXES.items():
            ready = await ready_indexes(self._database, name)
            wanted = [index.document["name"] for index in indexes]
            missing.extend(f"{name}.{index}" for index in wanted if index not in ready)
        return missing

    async def optional_indexes(self) -> OptionalIndexes:
        """What the daemon was told to index in this database, as far as it is built."""
        events = await ready_indexes(self._database, EVENTS)
        transactions = await ready_indexes(self._database, TRANSACTIONS)
        paths = {next(iter(spec["key"])) for spec in events.values()}
        fields = {path.removeprefix(_PAYLOAD) for path in paths if path.startswith(_PAYLOAD)}
        return OptionalIndexes(
            payload_fields=frozenset(
                field for field in fields if _names(IndexOptions((field,)), EVENTS) <= events.keys()
            ),
            key_history=_names(IndexOptions(key_history=True), TRANSACTIONS) <= transactions.keys(),
        )


def _names(options: IndexOptions, collection: str) -> set[str]:
    return {model.document["name"] for model in options.models()[collection]}
