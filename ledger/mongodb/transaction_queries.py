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
from ledger.mongodb.collections import TRANSACTIONS
from ledger.mongodb.indexes import TRANSACTION_FILTERS
from ledger.mongodb.paging import (
    ChannelQueries,
    Page,
    Window,
    equal_to,
    merge_pages,
    position_range,
)
from ledger.position import BlockNumber, last_position, pack_position

_CODES_IN_A_QUERY = 48
"""The most validation codes in one query.

MongoDB merges at most 200 scans of an index. Two conditions on long names have four combinations of
values, see `equal_to`, and each combination needs a scan for each code.
"""

_ROW = dict.fromkeys(
    (
        *("txId", "claimedTxId", "status", "validationCode", "chaincodeId", "blockNumber"),
        *("txIndex", "type", "ts", "creator.mspId", "function"),
    ),
    1,
)
_DEFINITION = dict.fromkeys(("blockNumber", "txIndex", "txId", "ts", "lifecycle"), 1)
_MAX_DEFINITIONS = 1000
_BY_TX_ID = [("txId", ASCENDING)]
_BY_FUNCTION = [
    (field, ASCENDING) for field in ("chaincodeId", "function", "validationCode", "_id")
]
_BY_CODE = [("validationCode", ASCENDING), ("_id", ASCENDING)]


class TransactionFilter(Struct, frozen=True):
    """The conditions that a transaction must meet: all that are given.

    Its validation code must be one of `codes`, or none of them if `excluded` is set. At most one of
    `chaincode`, `creator_msp` and `type` may be given, because no index has two of them; `function`
    can be given only together with `chaincode`.
    """

    chaincode: str | None = None
    function: str | None = None
    creator_msp: str | None = None
    type: str | None = None
    codes: frozenset[int] | None = None
    excluded: bool = False

    def equalities(self) -> dict[str, str]:
        """Return the fields with the values that they must have.

        Raises `ValueError` when no index has all the fields.
        """
        header_type = stored_type(self.type) if self.type is not None else None
        values = (self.chaincode, self.function, self.creator_msp, header_type)
        fields = ("chaincodeId", "function", "creator.mspId", "type")
        equalities = {
            field: value for field, value in zip(fields, values, strict=True) if value is not None
        }
        if tuple(equalities) not in TRANSACTION_FILTERS:
            raise ValueError(f"no index of transactions has {', '.join(equalities)} together")
        return equalities


class TransactionQueries(ChannelQueries):
    """Finds transactions. In each method, `last` is the number of the highest block to read."""

    async def transactions(
        self,
        transaction_filter: TransactionFilter,
        first: int,
        last: BlockNumber,
        window: Window,
        *,
        fields: Sequence[str] = (),
    ) -> Page:
        """Return rows of the transactions of blocks `first` to `last` by position.

        The rows have these `fields`, too.

        In an index, the validation code comes before the position. Therefore MongoDB scans the
        index once for each code, and merges the ordered results.
        """
        values = transaction_filter.equalities()
        query: Document = {field: equal_to(value) for field, value in values.items()}
        query["_id"] = position_range(first, last, window)
        row = _ROW | dict.fromkeys(fields, 1)
        codes = await self._codes(transaction_filter)
        if codes is None:
            return await self._page(TRANSACTIONS, query, window, row)
        hint = [(field, ASCENDING) for field in (*values, "validationCode", "_id")]
        pages = []
        for start in range(0, len(codes), _CODES_IN_A_QUERY):
            query["validationCode"] = {"$in": codes[start : start + _CODES_IN_A_QUERY]}
            pages.append(await self._page(TRANSACTIONS, query, window, row, hint))
        return merge_pages(pages, window)

    async def _codes(self, transaction_filter: TransactionFilter) -> list[int] | None:
        """Return the validation codes to query, or None if the query needs no condition on them."""
        if transaction_filter.codes is not None and not transaction_filter.excluded:
            return sorted(transaction_filter.codes)
        excluded = transaction_filter.codes or frozenset()
        if not excluded and not transaction_filter.equalities():
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
        """Return rows of the transactions up to block `last` by `ts`, then by position.

        Their `ts` is at least `since` and less than `until`. `after_ts` is the `ts` of the row
        `window.after`.
        """
        highest = last_position(last)
        times = (since, until)
        return await self._page_by_time(
            TRANSACTIONS, "_id", times, highest, window, after_ts=after_ts, projection=_ROW
        )

    async def block_transactions(self, number: int, window: Window) -> Page:
        """Return rows of the transactions of a block by position."""
        query = {"_id": position_range(number, BlockNumber(number), window)}
        return await self._page(TRANSACTIONS, query, window, _ROW)

    async def transaction_rows(self, number: int) -> list[Document]:
        """Return rows of all transactions of a block by position."""
        ids = {"$gte": pack_position(number, 0), "$lte": last_position(number)}
        cursor = self._database[TRANSACTIONS].find({"_id": ids}, _ROW).sort("_id", ASCENDING)
        return [document async for document in cursor]

    async def owner_position(self, tx_id: str, last: BlockNumber) -> int | None:
        """Return the position of the transaction that owns the id, or None if there is none."""
        await self.required_indexes.check()
        document = await self._database[TRANSACTIONS].find_one({"txId": tx_id}, {"_id": 1})
        if document is None or document["_id"] > last_position(last):
            return None
        return int(document["_id"])

    async def transaction_at(self, number: int, index: int) -> Document | None:
        """Return the transaction at `index` in block `number`."""
        return await self._database[TRANSACTIONS].find_one({"_id": pack_position(number, index)})

    async def chaincode_definitions(
        self, last: BlockNumber, name: str | None = None
    ) -> list[Document]:
        """Return the last thousand committed chaincode definitions by position.

        With `name`, return those of this chaincode. Each has `blockNumber`, `txIndex`, `txId`, `ts`
        and `lifecycle`.
        """
        query: Document = {
            "chaincodeId": "_lifecycle",
            "function": "CommitChaincodeDefinition",
            "validationCode": VALID,
            "_id": {"$lte": last_position(last)},
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
        """Return the rows of transactions that own an id with this prefix, by id.

        There are at most `limit` of them.
        """
        query = {"txId": {"$gte": prefix}, "_id": {"$lte": last_position(last)}}
        cursor = (
            self._database[TRANSACTIONS]
            .find(query, _ROW, hint=_BY_TX_ID, limit=limit)
            .sort("txId", ASCENDING)
        )
        return list(takewhile(lambda row: row["txId"].startswith(prefix), await cursor.to_list()))
