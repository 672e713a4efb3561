"""Queries over a channel's transactions."""

from collections.abc import Sequence
from datetime import datetime
from itertools import takewhile

from bson.datetime_ms import DatetimeMS
from msgspec import Struct
from pymongo import ASCENDING, DESCENDING

from ledger.documents.code_names import VALIDATION_CODES, stored_type
from ledger.documents.format import Document
from ledger.model import VALID
from ledger.mongodb.collections import EVENTS, TRANSACTIONS
from ledger.mongodb.indexes import TRANSACTION_FILTERS
from ledger.mongodb.paging import Page, Queries, Window, equal_to, merged, positions, read_page
from ledger.position import MAX_INDEX, BlockNumber, pack_position

_CODES_AT_ONCE = 48
"""MongoDB merges at most 200 scans of an index; two long names stand for four pairs of values, see `equal_to`."""

_ROW = dict.fromkeys(
    (
        *(
            "txId",
            "claimedTxId",
            "status",
            "validationCode",
            "chaincodeId",
            "blockNumber",
            "txIndex",
            "type",
            "ts",
        ),
        *("creator.mspId", "function"),
    ),
    1,
)
_DEFINITION = dict.fromkeys(("blockNumber", "txIndex", "txId", "ts", "lifecycle"), 1)
_MAX_DEFINITIONS = 1000
_REPEAT = dict.fromkeys(("blockNumber", "txIndex", "status", "validationCode"), 1)
_BY_TX_ID = [("txId", ASCENDING)]
_BY_FUNCTION = [
    (field, ASCENDING) for field in ("chaincodeId", "function", "validationCode", "_id")
]
_BY_CODE = [("validationCode", ASCENDING), ("_id", ASCENDING)]


class TransactionFilter(Struct, frozen=True):
    """Which transactions: those that have all of these, of any code, of one of `codes`, or of any but `codes`.

    An index serves at most one of `chaincode`, `creator_msp` and `type`; `function` goes with
    `chaincode`.
    """

    chaincode: str | None = None
    function: str | None = None
    creator_msp: str | None = None
    type: str | None = None
    codes: frozenset[int] | None = None
    excluded: bool = False

    def equalities(self) -> dict[str, str]:
        """The fields that must have a value. Raises `ValueError` where no index has them all."""
        header_type = stored_type(self.type) if self.type is not None else None
        values = (self.chaincode, self.function, self.creator_msp, header_type)
        fields = ("chaincodeId", "function", "creator.mspId", "type")
        given = {
            field: value for field, value in zip(fields, values, strict=True) if value is not None
        }
        if tuple(given) not in TRANSACTION_FILTERS:
            raise ValueError(f"no index of transactions serves {', '.join(given)} together")
        return given


class TransactionRecord(Struct, frozen=True):
    """A transaction with its event and the envelopes that repeat its id."""

    transaction: Document
    event: Document | None
    repeats: list[Document]


class TransactionQueries(Queries):
    """Finds transactions. `last` is the highest block that may be shown."""

    async def transactions(
        self, wanted: TransactionFilter, first: int, last: BlockNumber, window: Window
    ) -> Page:
        """Rows of blocks `first` to `last`, by position.

        All codes stand between the other fields of an index and the position: what has one of
        several codes is a merge of as many scans, each in order.
        """
        values = wanted.equalities()
        query: Document = {field: equal_to(value) for field, value in values.items()}
        query["_id"] = positions(first, last, window)
        codes = await self._codes(wanted)
        if codes is None:
            return await read_page(self._find(TRANSACTIONS, query, window, _ROW), window.limit)
        hint = [(field, ASCENDING) for field in (*values, "validationCode", "_id")]
        pages = []
        for start in range(0, len(codes), _CODES_AT_ONCE):
            query["validationCode"] = {"$in": codes[start : start + _CODES_AT_ONCE]}
            pages.append(
                await read_page(self._find(TRANSACTIONS, query, window, _ROW, hint), window.limit)
            )
        return merged(pages, window)

    async def _codes(self, wanted: TransactionFilter) -> list[int] | None:
        """The codes to look for; None if all, in the order of the chain."""
        if wanted.codes is not None and not wanted.excluded:
            return sorted(wanted.codes)
        excluded = wanted.codes or frozenset()
        if not excluded and not wanted.equalities():
            return None
        pipeline: list[Document] = [
            {"$sort": {"validationCode": 1}},
            {"$group": {"_id": "$validationCode"}},
        ]
        groups = await self._database[TRANSACTIONS].aggregate(
            pipeline, hint=dict(_BY_CODE), batchSize=len(VALIDATION_CODES) + 1
        )
        return sorted([group["_id"] async for group in groups if group["_id"] not in excluded])

    async def transactions_by_time(
        self,
        since: DatetimeMS | None,
        until: DatetimeMS | None,
        last: BlockNumber,
        window: Window,
        after_ts: datetime | None = None,
    ) -> Page:
        """Rows up to block `last` whose `ts` is at least `since` and less than `until`, by `ts`, then position.

        `after_ts` is the `ts` of the row `window.after`.
        """
        highest = pack_position(last, MAX_INDEX)
        times = (since, until)
        return await self._by_time(
            TRANSACTIONS, "_id", times, highest, window, after_ts=after_ts, projection=_ROW
        )

    async def block_transactions(self, number: int, window: Window) -> Page:
        """Rows of a block, by position."""
        query = {"_id": positions(number, BlockNumber(number), window)}
        return await read_page(self._find(TRANSACTIONS, query, window, _ROW), window.limit)

    async def transaction_rows(self, number: int) -> list[Document]:
        """All rows of a block, in order."""
        ids = {"$gte": pack_position(number, 0), "$lte": pack_position(number, MAX_INDEX)}
        cursor = self._database[TRANSACTIONS].find({"_id": ids}, _ROW).sort("_id", ASCENDING)
        return [document async for document in cursor]

    async def owner_position(self, tx_id: str, last: BlockNumber) -> int | None:
        """The position of the transaction that owns the id."""
        document = await self._database[TRANSACTIONS].find_one({"txId": tx_id}, {"_id": 1})
        return (
            document["_id"]
            if document is not None and document["_id"] <= pack_position(last, MAX_INDEX)
            else None
        )

    async def transaction_at(self, number: int, index: int) -> Document | None:
        """The transaction at that place of the chain."""
        return await self._database[TRANSACTIONS].find_one({"_id": pack_position(number, index)})

    async def transaction_record(
        self, tx_id: str, last: BlockNumber, repeats: int
    ) -> TransactionRecord | None:
        """The transaction that owns the id, its event, and the first `repeats` envelopes that repeat the id."""
        claimed = {"claimedTxId": tx_id, "_id": {"$lte": pack_position(last, MAX_INDEX)}}
        repeated: list[Document] = [
            {"$match": claimed},
            {"$sort": {"_id": ASCENDING}},
            {"$limit": repeats},
            {"$project": _REPEAT},
        ]
        unions = [_union(EVENTS, {"$match": {"txId": tx_id}}), _union(TRANSACTIONS, *repeated)]
        record = await self._record({"txId": tx_id}, unions, repeats + 2)
        return record if record is not None and record.transaction["blockNumber"] <= last else None

    async def transaction_record_at(self, number: int, index: int) -> TransactionRecord | None:
        """The transaction at that place of the chain and its event; `repeats` is empty."""
        place = {"_id": pack_position(number, index)}
        return await self._record(place, [_union(EVENTS, {"$match": place})], 2)

    async def _record(
        self, query: Document, unions: Sequence[Document], most: int
    ) -> TransactionRecord | None:
        """One round trip takes a third of the time that three take."""
        pipeline = [{"$match": query}, *unions]
        transaction, event, repeats = None, None, []
        async with await self._database[TRANSACTIONS].aggregate(
            pipeline, batchSize=most + 1
        ) as cursor:
            async for document in cursor:
                if "envelopeHash" in document:
                    transaction = document
                elif "payload" in document:
                    event = document
                else:
                    repeats.append(document)
        return TransactionRecord(transaction, event, repeats) if transaction is not None else None

    async def chaincode_definitions(
        self, last: BlockNumber, name: str | None = None
    ) -> list[Document]:
        """The chaincode definitions that the channel has committed, or those of one chaincode, in order.

        Each with `blockNumber`, `txIndex`, `txId`, `ts` and `lifecycle`; the last thousand.
        """
        query: Document = {
            "chaincodeId": "_lifecycle",
            "function": "CommitChaincodeDefinition",
            "validationCode": VALID,
            "_id": {"$lte": pack_position(last, MAX_INDEX)},
            "lifecycle.kind": "commit",
        }
        if name is not None:
            query["lifecycle.name"] = equal_to(name)
        cursor = self._database[TRANSACTIONS].find(
            query, _DEFINITION, hint=_BY_FUNCTION, limit=_MAX_DEFINITIONS
        )
        return (await cursor.sort("_id", DESCENDING).batch_size(_MAX_DEFINITIONS).to_list())[::-1]

    async def transactions_by_id_prefix(
        self, prefix: str, last: BlockNumber, limit: int
    ) -> list[Document]:
        """The first `limit` rows, by id, of transactions that own an id with this beginning."""
        query = {"txId": {"$gte": prefix}, "_id": {"$lte": pack_position(last, MAX_INDEX)}}
        cursor = (
            self._database[TRANSACTIONS]
            .find(query, _ROW, hint=_BY_TX_ID, limit=limit)
            .sort("txId", ASCENDING)
        )
        return list(takewhile(lambda row: row["txId"].startswith(prefix), await cursor.to_list()))


def _union(name: str, *stages: Document) -> Document:
    return {"$unionWith": {"coll": name, "pipeline": list(stages)}}
