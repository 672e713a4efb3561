"""Queries for whole transactions, each with its event and the envelopes that repeat its id."""

from collections import defaultdict
from collections.abc import Collection
from typing import Final

from msgspec import Struct
from pymongo import ASCENDING
from pymongo.asynchronous.database import AsyncDatabase

from ledger.documents.format import Document
from ledger.mongodb.collections import EVENTS, TRANSACTIONS
from ledger.mongodb.paging import MAX_PAGE_BYTES, ChannelQueries
from ledger.position import BlockNumber, pack_position
from runtime.batching import Batches

MAX_REPEATS: Final = 100
"""The maximal number of repeats in a record."""

_RECORDS_IN_A_CALL: Final = 20
_DOCUMENTS_IN_A_REPLY: Final = 2 * _RECORDS_IN_A_CALL + MAX_REPEATS + 1
_REPEAT: Final = dict.fromkeys(
    ("claimedTxId", "blockNumber", "txIndex", "status", "validationCode"), 1
)


class TransactionRecord(Struct, frozen=True):
    """A transaction, its event, and other envelopes that claim its id, by position."""

    transaction: Document
    event: Document | None
    repeats: list[Document]


class RecordQueries(ChannelQueries):
    """Reads transactions whole.

    Requests for different ids that arrive together share one call of MongoDB.
    """

    def __init__(
        self, database: AsyncDatabase[Document], max_page_bytes: int = MAX_PAGE_BYTES
    ) -> None:
        super().__init__(database, max_page_bytes)
        self._records = Batches(self._records_of, _RECORDS_IN_A_CALL)

    async def transaction_record(self, tx_id: str, last: BlockNumber) -> TransactionRecord | None:
        """Return the transaction that owns the id, if it is in a block up to `last`.

        The result also has the first envelopes that repeat the id, at most `MAX_REPEATS` of them.
        """
        await self.required_indexes.check()
        record = await self._records.get(tx_id)
        if record is None or record.transaction["blockNumber"] > last:
            return None
        repeats = [repeat for repeat in record.repeats if repeat["blockNumber"] <= last]
        return TransactionRecord(record.transaction, record.event, repeats)

    async def transaction_record_at(self, number: int, index: int) -> TransactionRecord | None:
        """Return the transaction at `index` in block `number` and its event, without repeats."""
        at_position = {"_id": pack_position(number, index)}
        transactions, events, _ = await self._read(
            at_position, _union(EVENTS, {"$match": at_position})
        )
        event = events[0] if events else None
        return TransactionRecord(transactions[0], event, []) if transactions else None

    async def _records_of(self, tx_ids: Collection[str]) -> dict[str, TransactionRecord]:
        """Return the records of the ids that are owned, with documents of all blocks.

        The repeats have no condition on the block, since MongoDB would then weigh two indexes.
        """
        ids = {"$in": list(tx_ids)}
        transactions, events, repeats = await self._read(
            {"txId": ids},
            _union(EVENTS, {"$match": {"txId": ids}}),
            _union(
                TRANSACTIONS,
                {"$match": {"claimedTxId": ids}},
                {"$sort": {"claimedTxId": ASCENDING, "_id": ASCENDING}},
                {"$limit": MAX_REPEATS},
                {"$project": _REPEAT},
            ),
        )
        if len(repeats) == MAX_REPEATS and len(tx_ids) > 1:  # the repeats of some ids may lack
            parts = [await self._records_of([tx_id]) for tx_id in tx_ids]
            return {tx_id: record for part in parts for tx_id, record in part.items()}
        event_of = {event["txId"]: event for event in events}
        repeats_of: defaultdict[str, list[Document]] = defaultdict(list)
        for repeat in repeats:
            repeats_of[repeat["claimedTxId"]].append(repeat)
        return {
            tx_id: TransactionRecord(transaction, event_of.get(tx_id), repeats_of[tx_id])
            for transaction in transactions
            for tx_id in [transaction["txId"]]
        }

    async def _read(
        self, query: Document, *unions: Document
    ) -> tuple[list[Document], list[Document], list[Document]]:
        """Return transactions, events and repeats, which a single call of MongoDB reads.

        Only transactions have the field `envelopeHash`, and only events the field `payload`.
        """
        transactions, events, repeats = [], [], []
        cursor = await self._database[TRANSACTIONS].aggregate(
            [{"$match": query}, *unions], batchSize=_DOCUMENTS_IN_A_REPLY
        )
        for document in await cursor.to_list():
            if "envelopeHash" in document:
                transactions.append(document)
            elif "payload" in document:
                events.append(document)
            else:
                repeats.append(document)
        return transactions, events, repeats


def _union(name: str, *stages: Document) -> Document:
    return {"$unionWith": {"coll": name, "pipeline": list(stages)}}
