"""What the ledger in MongoDB says of transactions: by block for the follower, by id for rows that came late."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from bson.int64 import Int64
from msgspec import Struct

from ledger.documents.format import Document
from ledger.model import VALID
from ledger.mongodb.block_range import lowest_block_number
from ledger.mongodb.outcome_queries import OutcomeQueries
from ledger.mongodb.store import LedgerStore
from ledger.position import BlockNumber, Height
from reconciliation.comparison import Fact, is_usable
from reconciliation.mapping import BusinessMapping
from runtime.cancellation import raise_if_cancelled

BATCH_TRANSACTIONS: Final = 5_000
_BATCH_BLOCKS = 500
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
        self._queries = OutcomeQueries(store.database)
        self._business = business
        self._paths = {amount.event: amount.path for amount in business.amounts}

    async def start_block(self) -> int | None:
        """The lowest block that is stored; None before the first."""
        lowest = await lowest_block_number(self._store.database)
        raise_if_cancelled()
        return lowest

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
        end = Height(blocks[-1]["_id"] + 1)
        documents = await self._queries.outcomes_of_blocks(BlockNumber(first), end)
        raise_if_cancelled()
        events = await self._queries.events_of_blocks(BlockNumber(first), end, self._paths)
        raise_if_cancelled()
        amounts = self._amounts(events)
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
        documents = await self._queries.outcomes_of_ids(wanted, Height(height))
        raise_if_cancelled()
        positions = [document["_id"] for document in documents]
        events = await self._queries.events_at(positions, self._paths)
        raise_if_cancelled()
        amounts = self._amounts(events)
        blocks = await self._queries.block_times(
            {document["blockNumber"] for document in documents}
        )
        raise_if_cancelled()
        times = {block["_id"]: _time(block["ts"]) for block in blocks}
        return {document["txId"]: self._fact(document, times, amounts) for document in documents}

    async def _blocks(self, first: int, height: int) -> list[Document]:
        """Whole blocks that have a batch of transactions together, at least one block; contiguous."""
        stored = await self._queries.blocks(BlockNumber(first), Height(height), _BATCH_BLOCKS)
        raise_if_cancelled()
        blocks: list[Document] = []
        transactions = 0
        for block in stored:
            transactions += block["transactionCount"]
            if block["_id"] != first + len(blocks) or (
                blocks and transactions > BATCH_TRANSACTIONS
            ):
                break
            blocks.append(block)
        return blocks

    def _amounts(self, events: Iterable[Document]) -> dict[Int64, Decimal]:
        """Return the amounts that events state, by the position of their transaction."""
        amounts: dict[Int64, Decimal] = {}
        for event in events:
            amount = _amount(event.get("payload"), self._paths[event["eventName"]].split("."))
            if amount is not None:
                amounts[event["_id"]] = amount
        return amounts

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
