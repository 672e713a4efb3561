"""Totals over a channel's blocks, for counts and charts."""

from collections.abc import Callable
from datetime import datetime
from functools import reduce
from operator import add
from typing import Any, Final, Literal, TypeVar

from msgspec import Struct
from msgspec.structs import astuple
from pymongo import ASCENDING

from ledger.documents.format import Document
from ledger.mongodb.collections import BLOCKS
from ledger.mongodb.ledger_keys import block_numbers
from ledger.mongodb.paging import BY_ID, ChannelQueries
from ledger.position import BlockNumber

Unit = Literal["minute", "hour", "day"]
K = TypeVar("K")
V = TypeVar("V")

_NAMED: Final = ("statuses", "types", "organisations", "chaincodes")
_TOTALS: Final = {
    "transactions": "$transactionCount",
    "valid_transactions": "$validCount",
    "events": "$eventCount",
    "size": "$size",
}
_BY_TIME = [("ts", ASCENDING), ("number", ASCENDING)]


class BlockTotals(Struct, frozen=True):
    """Totals over a range of blocks; `size` is the number of bytes of their envelopes."""

    blocks: int = 0
    transactions: int = 0
    valid_transactions: int = 0
    events: int = 0
    size: int = 0

    def plus(self, other: "BlockTotals") -> "BlockTotals":
        """Return the totals over both ranges."""
        return BlockTotals(
            *(left + right for left, right in zip(astuple(self), astuple(other), strict=True))
        )


class ChaincodeTotals(Struct, frozen=True):
    """The number of transactions of a chaincode, and its first and its last block."""

    transactions: int
    first_block: int
    last_block: int

    def plus(self, other: "ChaincodeTotals") -> "ChaincodeTotals":
        """Return the totals over both ranges."""
        return ChaincodeTotals(
            self.transactions + other.transactions,
            min(self.first_block, other.first_block),
            max(self.last_block, other.last_block),
        )


class LedgerTotals(Struct, frozen=True):
    """Totals over a range of blocks, and their parts.

    Transactions are counted by status, type, organisation and chaincode. The name None stands for
    transactions without a name, and for names that were too long to be stored. `hours` has the
    totals by the hour of the blocks' `ts`; None stands for blocks without a `ts`.
    """

    totals: BlockTotals = BlockTotals()
    statuses: dict[str, int] = {}
    types: dict[str | None, int] = {}
    organisations: dict[str | None, int] = {}
    chaincodes: dict[str | None, ChaincodeTotals] = {}
    hours: dict[datetime | None, BlockTotals] = {}

    def plus(self, other: "LedgerTotals") -> "LedgerTotals":
        """Return the totals over both ranges."""
        return LedgerTotals(
            self.totals.plus(other.totals),
            _added(self.statuses, other.statuses, add),
            _added(self.types, other.types, add),
            _added(self.organisations, other.organisations, add),
            _added(self.chaincodes, other.chaincodes, ChaincodeTotals.plus),
            _added(self.hours, other.hours, BlockTotals.plus),
        )


_PLUS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    **dict.fromkeys(("statuses", "types", "organisations"), add),
    "chaincodes": ChaincodeTotals.plus,
    "hours": BlockTotals.plus,
}


def _add_to(table: dict[K, V], key: K, value: V, plus: Callable[[V, V], V]) -> None:
    table[key] = plus(table[key], value) if key in table else value


def _added(left: dict[K, V], right: dict[K, V], plus: Callable[[V, V], V]) -> dict[K, V]:
    result = dict(left)
    for key, value in right.items():
        _add_to(result, key, value, plus)
    return result


class Bucket(Struct, frozen=True):
    """Totals over the blocks whose `ts` is in the minute, hour or day that begins at `start`."""

    start: datetime
    totals: BlockTotals


class TotalsQueries(ChannelQueries):
    """Computes totals from all block documents of a range.

    In each method, `last` is the number of the highest block to read.
    """

    async def totals_by_time(
        self, since: datetime, until: datetime, unit: Unit, last: BlockNumber
    ) -> list[Bucket]:
        """Return totals by the minute, hour or day (UTC) of the blocks' `ts`.

        The blocks have a `ts` from `since` on and before `until`. The buckets are in ascending
        order; buckets without a block are left out.
        """
        totals = {"blocks": {"$sum": 1}} | {
            name: {"$sum": field} for name, field in _TOTALS.items()
        }
        pipeline: list[Document] = [
            {"$match": {"ts": {"$gte": since, "$lt": until}, "number": block_numbers(last=last)}},
            {"$group": {"_id": {"$dateTrunc": {"date": "$ts", "unit": unit}}, **totals}},
            {"$sort": {"_id": ASCENDING}},
        ]
        cursor = await self._database[BLOCKS].aggregate(pipeline, hint=dict(_BY_TIME))
        return [
            Bucket(group["_id"], BlockTotals(*(int(group[name]) for name in totals)))
            async for group in cursor
        ]

    async def totals(self, first: int, last: BlockNumber) -> LedgerTotals:
        """Return the totals over blocks `first` to `last`; 50,000 blocks take half a second.

        Each block gives a row with its totals and a row for each name, so that the size of the
        result is not limited by the size of a document.
        """
        hour = {"kind": "hours", "name": {"$dateTrunc": {"date": "$ts", "unit": "hour"}}, **_TOTALS}
        rows = {"$concatArrays": [[hour], *(_named_rows(kind) for kind in _NAMED)]}
        pipeline: list[Document] = [
            {"$match": {"_id": block_numbers(first, last)}},
            {"$project": {"row": rows}},
            {"$unwind": "$row"},
            {
                "$group": {
                    "_id": {"kind": "$row.kind", "name": "$row.name"},
                    "blocks": {"$sum": 1},
                    "first": {"$min": "$_id"},
                    "last": {"$max": "$_id"},
                    **{name: {"$sum": f"$row.{name}"} for name in _TOTALS},
                }
            },
        ]
        tables: dict[str, dict[Any, Any]] = {kind: {} for kind in (*_NAMED, "hours")}
        async for group in await self._database[BLOCKS].aggregate(pipeline, hint=dict(BY_ID)):
            kind, name = group["_id"]["kind"], group["_id"].get("name")
            key = name if isinstance(name, str | datetime) else None
            _add_to(tables[kind], key, _value(kind, group), _PLUS[kind])
        return LedgerTotals(
            totals=reduce(BlockTotals.plus, tables["hours"].values(), BlockTotals()), **tables
        )


def _value(kind: str, group: Document) -> BlockTotals | ChaincodeTotals | int:
    if kind == "hours":
        return BlockTotals(int(group["blocks"]), *(int(group[name]) for name in _TOTALS))
    if kind == "chaincodes":
        return ChaincodeTotals(int(group["transactions"]), int(group["first"]), int(group["last"]))
    return int(group["transactions"])


def _named_rows(kind: str) -> Document:
    """Return an expression for a row for each name; an omitted list gives no row."""
    names = f"$sums.{kind}"
    row = {"kind": kind, "name": "$$entry.name", "transactions": "$$entry.count"}
    return {
        "$cond": [{"$isArray": names}, {"$map": {"input": names, "as": "entry", "in": row}}, []]
    }
