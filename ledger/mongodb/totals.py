"""Sums over a channel's blocks, for counts and charts."""

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
from ledger.mongodb.paging import BY_ID, Queries
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
    """Sums over a range of blocks; `size` is the bytes of their envelopes."""

    blocks: int = 0
    transactions: int = 0
    valid_transactions: int = 0
    events: int = 0
    size: int = 0

    def plus(self, other: "BlockTotals") -> "BlockTotals":
        """The sums over both ranges."""
        return BlockTotals(
            *(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True))
        )


class ChaincodeTotals(Struct, frozen=True):
    """How many transactions name a chaincode, and the numbers of the first and last block that has one."""

    transactions: int
    first_block: int
    last_block: int

    def plus(self, other: "ChaincodeTotals") -> "ChaincodeTotals":
        """The sum over both ranges."""
        return ChaincodeTotals(
            self.transactions + other.transactions,
            min(self.first_block, other.first_block),
            max(self.last_block, other.last_block),
        )


class LedgerTotals(Struct, frozen=True):
    """Sums over a range of blocks, and how they are made up.

    Transactions by status, type, organisation and chaincode: None stands for those that name none,
    and for names too long to be kept. Everything by the hour that the blocks' `ts` falls into: None
    for blocks without one.
    """

    totals: BlockTotals = BlockTotals()
    statuses: dict[str, int] = {}
    types: dict[str | None, int] = {}
    organisations: dict[str | None, int] = {}
    chaincodes: dict[str | None, ChaincodeTotals] = {}
    hours: dict[datetime | None, BlockTotals] = {}

    def plus(self, other: "LedgerTotals") -> "LedgerTotals":
        """The sums over both ranges."""
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


def _added(mine: dict[K, V], its: dict[K, V], plus: Callable[[V, V], V]) -> dict[K, V]:
    result = dict(mine)
    for key, value in its.items():
        _add_to(result, key, value, plus)
    return result


class Bucket(Struct, frozen=True):
    """Sums over the blocks whose `ts` falls into the minute, hour or day that begins at `start`."""

    start: datetime
    totals: BlockTotals


class TotalsQueries(Queries):
    """Adds up blocks: every document of the range is read. `last` is the highest block that may be shown."""

    async def totals_by_time(
        self, since: datetime, until: datetime, unit: Unit, last: BlockNumber
    ) -> list[Bucket]:
        """Sums by the minute, hour or day (UTC) of the blocks' `ts`, from `since` on and before `until`.

        In ascending order, without those that have no block.
        """
        sums = {"blocks": {"$sum": 1}} | {name: {"$sum": field} for name, field in _TOTALS.items()}
        pipeline: list[Document] = [
            {"$match": {"ts": {"$gte": since, "$lt": until}, "number": {"$lte": last}}},
            {"$group": {"_id": {"$dateTrunc": {"date": "$ts", "unit": unit}}, **sums}},
            {"$sort": {"_id": ASCENDING}},
        ]
        cursor = await self._database[BLOCKS].aggregate(pipeline, hint=dict(_BY_TIME))
        return [
            Bucket(group["_id"], BlockTotals(*(int(group[name]) for name in sums)))
            async for group in cursor
        ]

    async def totals(self, first: int, last: BlockNumber) -> LedgerTotals:
        """All sums over blocks `first` to `last`; 50,000 blocks take about half a second.

        Each block gives a row with its totals and one for each name, so that an answer can be of
        any length.
        """
        hour = {"kind": "hours", "name": {"$dateTrunc": {"date": "$ts", "unit": "hour"}}, **_TOTALS}
        rows = {"$concatArrays": [[hour], *(_named_rows(kind) for kind in _NAMED)]}
        pipeline: list[Document] = [
            {"$match": {"_id": {"$gte": first, "$lte": last}}},
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
            known = name if isinstance(name, str | datetime) else None
            _add_to(tables[kind], known, _value(kind, group), _PLUS[kind])
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
    """A row for each name; a list that was too long to be kept gives none."""
    names = f"$sums.{kind}"
    row = {"kind": kind, "name": "$$one.name", "transactions": "$$one.count"}
    return {"$cond": [{"$isArray": names}, {"$map": {"input": names, "as": "one", "in": row}}, []]}
