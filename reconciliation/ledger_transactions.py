"""Reads the transactions of one channel from the ledger in MongoDB, for reconciliation."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from bson.int64 import Int64
from msgspec import Struct

from ledger.documents.format import Document
from ledger.model import VALID
from ledger.mongodb.block_range import lowest_block_number
from ledger.mongodb.outcome_queries import OutcomeQueries
from ledger.mongodb.store import LedgerStore
from ledger.position import BlockNumber, Height
from reconciliation.comparison import LedgerTransaction
from reconciliation.event_amounts import amount_in
from reconciliation.hash_spellings import is_searchable
from reconciliation.mapping import BusinessMapping
from runtime.cancellation import raise_if_cancelled

BATCH_TRANSACTIONS: Final = 5_000
BATCH_BLOCKS: Final = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BlockBatch(Struct, frozen=True):
    """The transactions of the blocks from `first` to `end` - 1, and the hash of the last block."""

    first: BlockNumber
    end: Height
    block_hash: str
    transactions: dict[str, LedgerTransaction]
    unusable_ids: int
    """The number of ids that PostgreSQL cannot hold, so that no row names them."""


class LedgerTransactions:
    """Reads the transactions of one channel. Callers ask only for blocks that are committed."""

    def __init__(
        self, store: LedgerStore, business: BusinessMapping, *, batch_blocks: int = BATCH_BLOCKS
    ) -> None:
        self._store = store
        self._queries = OutcomeQueries(store.database)
        self._business, self._batch_blocks = business, batch_blocks
        self._amount_paths = {amount.event: amount.path for amount in business.amounts}

    async def start_block(self) -> BlockNumber | None:
        """Return the number of the lowest stored block; None before the first block."""
        number = await lowest_block_number(self._store.database)
        raise_if_cancelled()
        return number

    async def block_hash(self, number: BlockNumber) -> str | None:
        """Return the hash of a stored block in hexadecimal digits."""
        block = await self._store.block(number)
        raise_if_cancelled()
        return None if block is None else block.hash.hex()

    async def batch(self, first: BlockNumber, height: Height) -> BlockBatch | None:
        """Return the batch of blocks below `height` that begins with block `first`.

        Return None if block `first` is not stored.
        """
        blocks = await self._blocks(first, height)
        if not blocks:
            return None
        end = Height(blocks[-1]["_id"] + 1)
        documents = await self._queries.outcomes_of_blocks(first, end)
        raise_if_cancelled()
        events = await self._queries.events_of_blocks(first, end, self._amount_paths)
        raise_if_cancelled()
        amounts = self._amounts(events)
        times = _times_by_number(blocks)
        transactions, unusable_ids = {}, 0
        for document in documents:
            tx_id = document["txId"]
            if not isinstance(tx_id, str):
                continue
            if is_searchable(tx_id):
                transactions[tx_id] = self._transaction(document, times, amounts)
            else:
                unusable_ids += 1
        return BlockBatch(first, end, blocks[-1]["blockHash"], transactions, unusable_ids)

    async def next_block(self, first: BlockNumber, height: Height) -> BlockNumber | None:
        """Return the number of the first stored block from `first` on and below `height`."""
        blocks = await self._queries.blocks(first, height, 1)
        raise_if_cancelled()
        return BlockNumber(blocks[0]["_id"]) if blocks else None

    async def can_look_up(self) -> bool:
        """Return whether the ledger has the index that `lookup` needs; a daemon may build it."""
        can_search = await self._queries.can_search_ids()
        raise_if_cancelled()
        return can_search

    async def lookup(self, tx_ids: Iterable[str], height: Height) -> dict[str, LedgerTransaction]:
        """Return the transactions with these ids in the blocks below `height`.

        Every id must be searchable.
        """
        ids = list(tx_ids)
        if not ids:
            return {}
        documents = await self._queries.outcomes_of_ids(ids, height)
        raise_if_cancelled()
        positions = [document["_id"] for document in documents]
        events = await self._queries.events_at(positions, self._amount_paths)
        raise_if_cancelled()
        amounts = self._amounts(events)
        numbers = {document["blockNumber"] for document in documents}
        blocks = await self._queries.block_times(numbers)
        raise_if_cancelled()
        times = _times_by_number(blocks)
        return {
            document["txId"]: self._transaction(document, times, amounts) for document in documents
        }

    async def _blocks(self, first: BlockNumber, height: Height) -> list[Document]:
        """Return contiguous blocks from `first`: at least one, or as many as fit a batch."""
        stored = await self._queries.blocks(first, height, self._batch_blocks)
        raise_if_cancelled()
        blocks: list[Document] = []
        transactions = 0
        for block in stored:
            transactions += block["transactionCount"]
            is_next = block["_id"] == first + len(blocks)
            if not is_next or (blocks and transactions > BATCH_TRANSACTIONS):
                break
            blocks.append(block)
        return blocks

    def _amounts(self, events: Iterable[Document]) -> dict[Int64, Decimal]:
        """Return the amounts that events state, by the position of their transaction."""
        amounts: dict[Int64, Decimal] = {}
        for event in events:
            path = self._amount_paths[event["eventName"]].split(".")
            amount = amount_in(event.get("payload"), path)
            if amount is not None:
                amounts[event["_id"]] = amount
        return amounts

    def _transaction(
        self,
        document: Document,
        times: Mapping[int, int | None],
        amounts: Mapping[Int64, Decimal],
    ) -> LedgerTransaction:
        valid = document["validationCode"] == VALID
        return LedgerTransaction(
            tx_id=document["txId"],
            status=document["status"],
            valid=valid,
            block=document["blockNumber"],
            block_time_ms=times.get(document["blockNumber"]),
            amount=amounts.get(document["_id"]),
            needs_row=valid and self._is_business(document),
        )

    def _is_business(self, document: Document) -> bool:
        functions = self._business.functions
        return (
            self._business.missing_rows
            and document["chaincodeId"] in self._business.chaincodes
            and (not functions or document["function"] in functions)
        )


def _times_by_number(blocks: Iterable[Document]) -> dict[int, int | None]:
    """Return the time of each block in milliseconds since 1970, by the block's number."""
    return {block["_id"]: _milliseconds(block["ts"]) for block in blocks}


def _milliseconds(time: datetime | None) -> int | None:
    if time is None:
        return None
    return (time.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
