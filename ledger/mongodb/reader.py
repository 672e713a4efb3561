"""Read-only queries over one channel's database. Each runs on an index that the store creates.

The highest block document is the head of the ledger. Documents above the head belong to a batch
that is being written, and must not be read. Therefore a query has the highest block to read as a
parameter. All queries read data that the majority of the replica set holds, and they read the
primary: a secondary can have a block and lack transactions that the next query reads.
"""

from datetime import datetime
from typing import Any, Final

from bson.datetime_ms import DatetimeMS
from msgspec import Struct
from pymongo import ASCENDING, AsyncMongoClient, ReadPreference
from pymongo.read_concern import ReadConcern

from ledger.documents.format import Document
from ledger.mongodb.block_range import highest_block, lowest_block
from ledger.mongodb.certificate_queries import CertificateQueries
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.event_queries import EventQueries
from ledger.mongodb.evidence import InThread, ReadBlocks, make_evidence
from ledger.mongodb.indexes import IndexOptions, payload_path, ready_indexes
from ledger.mongodb.key_history import KeyHistoryQueries
from ledger.mongodb.ledger_keys import INTEGER, block_numbers
from ledger.mongodb.paging import DECODED, MAX_PAGE_BYTES, Page, Window, id_range
from ledger.mongodb.raw_blocks import MongoRawBlocks
from ledger.mongodb.sync_state import SyncState, read_sync_state
from ledger.mongodb.totals import TotalsQueries
from ledger.mongodb.transaction_queries import TransactionQueries
from ledger.mongodb.transaction_records import RecordQueries
from ledger.mongodb.verdicts import StoredVerdict, read_verdict
from ledger.position import BlockNumber

_PAYLOAD_PREFIX: Final = payload_path("")
_BLOCK_ROW: Final = dict.fromkeys(
    (
        *("number", "blockHash", "previousHash", "dataHash", "ts"),
        *("transactionCount", "validCount", "eventCount", "size"),
    ),
    1,
)


class OptionalIndexes(Struct, frozen=True):
    """The configured indexes that a database has.

    `payload_fields` are indexed fields of event payloads; `key_history` says whether the written
    keys are indexed.
    """

    payload_fields: frozenset[str]
    key_history: bool


class LedgerReader(
    TransactionQueries,
    RecordQueries,
    EventQueries,
    KeyHistoryQueries,
    TotalsQueries,
    CertificateQueries,
):
    """Reads one channel's database; each base class has the queries of one topic.

    In each method, `last` is the number of the highest block to read.
    """

    def __init__(
        self, client: AsyncMongoClient[Any], database: str, max_page_bytes: int = MAX_PAGE_BYTES
    ) -> None:
        super().__init__(
            client.get_database(
                database,
                codec_options=DECODED,
                read_concern=ReadConcern("majority"),
                read_preference=ReadPreference.PRIMARY,
            ),
            max_page_bytes,
        )

    async def sync_state(self) -> SyncState | None:
        """Return the progress that the daemon last wrote, or None if it never did."""
        return await read_sync_state(self._database)

    async def head(self) -> Document | None:
        """Return the highest block document, or None if no block is stored."""
        return await highest_block(self._database)

    async def lowest_block(self) -> Document | None:
        """Return the lowest block document, or None if no block is stored."""
        return await lowest_block(self._database)

    async def block(self, number: int) -> Document | None:
        """Return the block document with this number."""
        return await self._database[BLOCKS].find_one({"_id": number})

    async def block_by_hash(self, block_hash: str, last: BlockNumber) -> Document | None:
        """Return the block document with this hash in lower-case hex."""
        query = {"blockHash": block_hash, "_id": block_numbers(last=last)}
        return await self._database[BLOCKS].find_one(query, hint=[("blockHash", ASCENDING)])

    async def blocks(self, first: int, last: BlockNumber, window: Window) -> Page:
        """Return rows of blocks `first` to `last` by number; a row lacks the fields of details."""
        query = {"_id": {**id_range(first, last, window), **INTEGER}}
        return await self._page(BLOCKS, query, window, _BLOCK_ROW)

    async def blocks_by_time(
        self,
        since: DatetimeMS | None,
        until: DatetimeMS | None,
        last: BlockNumber,
        window: Window,
        after_ts: datetime | None = None,
    ) -> Page:
        """Return rows of blocks up to `last` by `ts`, then by number.

        Their `ts` is at least `since` and less than `until`. `after_ts` is the `ts` of the block
        `window.after`.
        """
        times = (since, until)
        return await self._page_by_time(
            BLOCKS, "number", times, last, window, after_ts=after_ts, projection=_BLOCK_ROW
        )

    async def verdict(self, number: int) -> StoredVerdict | None:
        """Return the verdict on the signatures in a block; None if there is none to be read."""
        return await read_verdict(self._database, number)

    def raw_blocks(self) -> MongoRawBlocks:
        """Return the archive of raw blocks in the database."""
        return MongoRawBlocks(self._database)

    async def evidence(
        self,
        number: int,
        index: int,
        read_blocks: ReadBlocks,
        *,
        in_thread: InThread,
        max_block_bytes: int,
    ) -> bytes:
        """Return the evidence bundle of a transaction; see `ledger.mongodb.evidence`."""
        evidence = await make_evidence(
            self._database,
            number,
            index,
            read_blocks,
            in_thread=in_thread,
            max_block_bytes=max_block_bytes,
        )
        return evidence.bundle

    async def missing_indexes(self) -> list[str]:
        """Return the required indexes that the database lacks, as `collection.index`.

        MongoDB may be building them.
        """
        return await self.required_indexes.read_missing()

    async def optional_indexes(self) -> OptionalIndexes:
        """Return the configured indexes whose construction is complete.

        Raises `IndexMissingError` while a required index is missing: the configured indexes are
        built together with the required ones.
        """
        await self.required_indexes.check()
        events = await ready_indexes(self._database, EVENTS)
        transactions = await ready_indexes(self._database, TRANSACTIONS)
        paths = {next(iter(spec["key"])) for spec in events.values()}
        fields = {
            path.removeprefix(_PAYLOAD_PREFIX) for path in paths if path.startswith(_PAYLOAD_PREFIX)
        }
        return OptionalIndexes(
            payload_fields=frozenset(
                field for field in fields if _names(IndexOptions((field,)), EVENTS) <= events.keys()
            ),
            key_history=_names(IndexOptions(key_history=True), TRANSACTIONS) <= transactions.keys(),
        )


def _names(options: IndexOptions, collection: str) -> set[str]:
    return {model.document["name"] for model in options.models()[collection]}
