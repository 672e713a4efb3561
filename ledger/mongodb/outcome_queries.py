"""Reads the outcomes of transactions and fields of their events, for reconciliation."""

from collections.abc import Iterable, Mapping
from typing import Final

from bson.int64 import Int64
from pymongo import ASCENDING
from pymongo.asynchronous.database import AsyncDatabase

from ledger.documents.format import Document
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.index_builds import has_owner_index
from ledger.mongodb.indexes import payload_path
from ledger.mongodb.ledger_keys import block_numbers
from ledger.position import BlockNumber, Height, pack_position

_OUTCOME: Final = dict.fromkeys(
    ("txId", "status", "validationCode", "blockNumber", "chaincodeId", "function"), 1
)
_BLOCK: Final = dict.fromkeys(("transactionCount", "ts", "blockHash"), 1)
_TIME: Final = {"ts": 1}
_BY_ID: Final = "_id_"
_BY_TX_ID: Final = "txId_1"


class OutcomeQueries:
    """Reads one channel's database. A caller must name only blocks below a committed height."""

    def __init__(self, database: AsyncDatabase[Document]) -> None:
        self._database = database

    async def can_search_ids(self) -> bool:
        """Return whether the index of transaction ids exists, which `outcomes_of_ids` needs."""
        return await has_owner_index(self._database)

    async def blocks(self, first: BlockNumber, height: Height, limit: int) -> list[Document]:
        """Return at most `limit` blocks from `first` on and below `height`, by number.

        Each has `_id`, `transactionCount`, `ts` and `blockHash`.
        """
        query = {"_id": block_numbers(first, height - 1)}
        cursor = self._database[BLOCKS].find(query, _BLOCK).sort("_id", ASCENDING).limit(limit)
        return await cursor.to_list()

    async def block_times(self, numbers: Iterable[BlockNumber]) -> list[Document]:
        """Return `_id` and `ts` of the blocks with these numbers."""
        return await self._database[BLOCKS].find({"_id": {"$in": list(numbers)}}, _TIME).to_list()

    async def outcomes_of_blocks(self, first: BlockNumber, height: Height) -> list[Document]:
        """Return the outcomes of the transactions of the blocks from `first` on and below `height`.

        Each has `_id`, `txId`, `status`, `validationCode`, `blockNumber`, `chaincodeId` and
        `function`.
        """
        return await self._outcomes({"_id": _positions(first, height)}, _BY_ID)

    async def outcomes_of_ids(self, tx_ids: list[str], height: Height) -> list[Document]:
        """Return the outcomes of the transactions below `height` that own one of these ids.

        The fields are those of `outcomes_of_blocks`. The index of transaction ids must exist.
        """
        limit = pack_position(height, 0)
        outcomes = await self._outcomes({"txId": {"$in": tx_ids}}, _BY_TX_ID)
        return [outcome for outcome in outcomes if outcome["_id"] < limit]

    async def events_of_blocks(
        self, first: BlockNumber, height: Height, paths: Mapping[str, str]
    ) -> list[Document]:
        """Return the events of the blocks from `first` on and below `height`.

        `paths` has the names of the events, and for each name the path of a field in the payload.
        Each event has `_id`, `eventName` and the fields of the payload that `paths` names.
        """
        return await self._events({"_id": _positions(first, height)}, paths)

    async def events_at(
        self, positions: Iterable[Int64], paths: Mapping[str, str]
    ) -> list[Document]:
        """Return the events at these positions; names and fields as in `events_of_blocks`."""
        return await self._events({"_id": {"$in": list(positions)}}, paths)

    async def _outcomes(self, query: Document, index: str) -> list[Document]:
        return await self._database[TRANSACTIONS].find(query, _OUTCOME, hint=index).to_list()

    async def _events(self, query: Document, paths: Mapping[str, str]) -> list[Document]:
        if not paths:
            return []
        query = query | {"eventName": {"$in": list(paths)}}
        fields = {"eventName": 1} | {payload_path(path): 1 for path in paths.values()}
        return await self._database[EVENTS].find(query, fields, hint=_BY_ID).to_list()


def _positions(first: BlockNumber, height: Height) -> Document:
    return {"$gte": pack_position(first, 0), "$lt": pack_position(height, 0)}
