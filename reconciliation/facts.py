"""What the ledger in MongoDB says of transactions: by block for the follower, by id for rows that came late."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from bson.int64 import Int64
from msgspec import Struct
from pymongo import ASCENDING

from ledger.documents.format import Document
from ledger.model import VALID
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.store import LedgerStore
from ledger.position import pack_position
from reconciliation.comparison import Fact, is_usable
from reconciliation.mapping import BusinessMapping
from runtime.cancellation import raise_if_cancelled

BATCH_TRANSACTIONS: Final = 5_000
_BATCH_BLOCKS = 500
_TRANSACTION = {
    "txId": 1,
    "status": 1,
    "validationCode": 1,
    "blockNumber": 1,
    "chaincodeId": 1,
    "function": 1,
}
_MOST_DIGITS = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Batch(Struct, frozen=True):
    """What blocks `first` to `end` - 1 say, and the hash of the last one."""

    first: int
    end: int
    block_hash: str
    facts: dict[str, Fact]
    unusable: int
    """Ids that cannot be asked for in PostgreSQL, so no row can have them."""


class LedgerFacts:
    """Reads facts of one channel. Only blocks below a committed height may be asked for."""

    def __init__(self, store: LedgerStore, business: BusinessMapping) -> None:
        self._store = store
        self._database = store.database
        self._business = business
        self._paths = {amount.event: amount.path.split(".") for amount in business.amounts}

    async def start_block(self) -> int | None:
        """The lowest block that is stored; None before the first."""
        lowest = await self._database[BLOCKS].find_one({}, {"_id": 1}, sort=[("_id", ASCENDING)])
        raise_if_cancelled()
        return None if lowest is None else int(lowest["_id"])

    async def block_hash(self, number: int) -> str | None:
        """The hash of a stored block, in hex."""
        block = await self._store.block(number)
        raise_if_cancelled()
        return None if block is None else block.hash.hex()

    async def batch(self, first: int, height: int) -> Batch | None:
        """The next blocks from `first` on and below `height`; None if there is none."""
        blocks = await self._blocks(first, height)
        if not blocks:
            return None
        end = blocks[-1]["_id"] + 1
        within = {"_id": {"$gte": pack_position(first, 0), "$lt": pack_position(end, 0)}}
        documents = await self._list(TRANSACTIONS, within, _TRANSACTION)
        amounts = await self._amounts(within)
        times = {block["_id"]: _time(block["ts"]) for block in blocks}
        facts, unusable = {}, 0
        for document in documents:
            tx_id = document["txId"]
            if not isinstance(tx_id, str):
                continue
            if is_usable(tx_id):
                facts[tx_id] = self._fact(document, times, amounts)
            else:
                unusable += 1
        return Batch(first, end, blocks[-1]["blockHash"], facts, unusable)

    async def lookup(self, tx_ids: Iterable[str], height: int) -> dict[str, Fact]:
        """What the blocks below `height` say of these ids, which must be usable."""
        wanted = list(tx_ids)
        if not wanted:
            return {}
        owned = {"txId": {"$in": wanted}}
        found = await self._list(TRANSACTIONS, owned, _TRANSACTION)
        documents = [document for document in found if document["_id"] < pack_position(height, 0)]
        amounts = await self._amounts({"_id": {"$in": [document["_id"] for document in documents]}})
        numbers = {document["blockNumber"] for document in documents}
        blocks = await self._list(BLOCKS, {"_id": {"$in": list(numbers)}}, {"ts": 1})
        times = {block["_id"]: _time(block["ts"]) for block in blocks}
        return {document["txId"]: self._fact(document, times, amounts) for document in documents}

    async def _blocks(self, first: int, height: int) -> list[Document]:
        """Whole blocks that have a batch of transactions together, at least one block; contiguous."""
        wanted = {"_id": {"$gte": first, "$lt": height}}
        fields = {"transactionCount": 1, "ts": 1, "blockHash": 1}
        cursor = (
            self._database[BLOCKS].find(wanted, fields).sort("_id", ASCENDING).limit(_BATCH_BLOCKS)
        )
        blocks: list[Document] = []
        transactions = 0
        for block in await cursor.to_list():
            transactions += block["transactionCount"]
            if block["_id"] != first + len(blocks) or (
                blocks and transactions > BATCH_TRANSACTIONS
            ):
                break
            blocks.append(block)
        raise_if_cancelled()
        return blocks

    async def _amounts(self, within: Document) -> dict[Int64, Decimal]:
        """Amounts that events state, by the position of their transaction."""
        if not self._paths:
            return {}
        query = within | {"eventName": {"$in": list(self._paths)}}
        fields = {"eventName": 1} | {
            f"payload.{'.'.join(path)}": 1 for path in self._paths.values()
        }
        amounts: dict[Int64, Decimal] = {}
        for event in await self._list(EVENTS, query, fields, hint="_id_"):
            amount = _amount(event.get("payload"), self._paths[event["eventName"]])
            if amount is not None:
                amounts[event["_id"]] = amount
        return amounts

    async def _list(
        self, name: str, query: Document, fields: Mapping[str, int], hint: str | None = None
    ) -> list[Document]:
        documents = await self._database[name].find(query, fields, hint=hint).to_list()
        raise_if_cancelled()
        return documents

    def _fact(
        self,
        document: Document,
        times: Mapping[int, int | None],
        amounts: Mapping[Int64, Decimal],
    ) -> Fact:
        valid = document["validationCode"] == VALID
        return Fact(
            tx_id=document["txId"],
            status=document["status"],
            valid=valid,
            block=document["blockNumber"],
            at_ms=times.get(document["blockNumber"]),
            amount=amounts.get(document["_id"]),
            business=valid and self._is_business(document),
        )

    def _is_business(self, document: Document) -> bool:
        functions = self._business.functions
        return (
            self._business.missing_rows
            and document["chaincodeId"] in self._business.chaincodes
            and (not functions or document["function"] in functions)
        )


def _time(stored: datetime | None) -> int | None:
    """The time of a block in milliseconds since 1970."""
    return (
        None
        if stored is None
        else (stored.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
    )


def _amount(payload: Any, path: Iterable[str]) -> Decimal | None:
    """The number at that place of a payload; None where there is none."""
    value = payload
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, dict):
        value = value.get("bigInteger")
    text = "" if isinstance(value, bool) else str(value)
    if not isinstance(value, int | float | str) or len(text) > _MOST_DIGITS:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None
