"""Writes a channel's ledger to its MongoDB database, in an order that is safe against crashes.

The transactions of a block are written first, then its events, then the block document. Block
documents are written in ascending order. The block document is the commit marker: if any process is
killed at any time, the documents of every stored block are complete. The checkpoint is read from
the documents themselves.

Documents are only inserted. If a document is stored already, it is compared with the document that
the chain gives. Equal documents mean that the block was delivered twice; other documents are an
error.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument
from msgspec import Struct
from pymongo import ASCENDING, AsyncMongoClient, ReadPreference
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from ledger.documents.encoding import EncodedBlock
from ledger.documents.format import Document
from ledger.documents.joined import JoinedDocuments, join, messages
from ledger.mongodb.block_range import stored_range
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.comparison import compare_documents
from ledger.mongodb.index_builds import (
    BuildStep,
    IndexModels,
    build_indexes,
    build_steps,
    create_collections,
    missing_indexes,
)
from ledger.mongodb.indexes import IndexOptions
from ledger.mongodb.insert_command import (
    MAX_COMMAND_BYTES,
    MAX_COMMAND_DOCUMENTS,
    insert_joined,
)
from ledger.mongodb.paging import RAW
from ledger.position import BlockNumber, pack_position

_QUERY_BYTES: Final = 4 << 20
_BY_TX_ID: Final = [("txId", ASCENDING)]
_NO_TRANSACTIONS: Final = frozenset({20, 263})
"""Codes of a server without a replica set: IllegalOperation, OperationNotSupportedInTransaction."""
_INTERRUPTED: Final = frozenset({24, 112, 246, 251})
"""Codes of a transaction that another one, or a build of indexes, stopped.

They are LockTimeout, WriteConflict, SnapshotUnavailable and NoSuchTransaction.
"""


class _AlreadyStoredError(Exception):
    """A document that a transaction inserts is stored already."""


class StoredBlock(Struct, frozen=True):
    """The number, the hash and the validation codes of a stored block, which identify it.

    The hash depends on the envelopes; the codes are the peer's verdicts on them.
    """

    number: int
    hash: bytes
    codes: bytes


class Checkpoint(Struct, frozen=True):
    """A range of stored blocks without a gap: from `start` to `head.number`."""

    start: BlockNumber
    head: StoredBlock


class LedgerStore:
    """Reads and writes one channel's database.

    All methods are idempotent, so that a caller can repeat a call after any failure.
    """

    def __init__(self, client: AsyncMongoClient[Any], database: str) -> None:
        self._client, self._supports_transactions = client, True
        self.database: AsyncDatabase[Document] = client.get_database(
            database,
            write_concern=WriteConcern("majority", j=True),
            read_concern=ReadConcern("majority"),
            read_preference=ReadPreference.PRIMARY,
        )

    async def prepare(
        self,
        options: IndexOptions = IndexOptions(),  # noqa: B008 - frozen
    ) -> None:
        """Create the missing collections and indexes. Raises `StoreConflictError`."""
        await self.build_indexes(await self.missing_indexes(options))

    async def create_collections(self) -> None:
        """Create the missing collections, with their index of `_id` only."""
        await create_collections(self.database)

    async def missing_indexes(self, options: IndexOptions) -> IndexModels:
        """Return the indexes that the database lacks; MongoDB may be building them already."""
        return await missing_indexes(self.database, options)

    async def build_indexes(self, indexes: IndexModels) -> None:
        """Build the indexes, and create their collections if needed.

        Raises `StoreConflictError` when two documents have the same value in a unique index.
        """
        await build_indexes(self.database, indexes)

    async def build_steps(self) -> list[BuildStep] | None:
        """Return what MongoDB does now to build indexes; None if the user must not see it."""
        return await build_steps(self.database)

    async def checkpoint(self) -> Checkpoint | None:
        """Return the range of blocks without a gap from the lowest stored block on.

        Return None if no block is stored.
        """
        stored = await stored_range(self.database)
        if stored is None:
            return None
        head = await self.block(await self._last_contiguous(stored.lowest, stored.highest))
        return Checkpoint(stored.lowest, head) if head is not None else None

    async def _last_contiguous(self, start: int, end: int) -> int:
        """Return the last block number from `start` to `end` before a gap.

        It is a binary search: the blocks of a half are counted on the index.
        """
        if await self._count_blocks(start, end) == end - start + 1:
            return end
        complete, incomplete = start, end
        while incomplete - complete > 1:
            middle = (complete + incomplete) // 2
            if await self._count_blocks(complete + 1, middle) == middle - complete:
                complete = middle
            else:
                incomplete = middle
        return complete

    async def _count_blocks(self, start: int, end: int) -> int:
        return await self.database[BLOCKS].count_documents(
            {"_id": {"$gte": start, "$lte": end}}, hint="_id_"
        )

    async def block(self, number: int) -> StoredBlock | None:
        """Return the stored block with this number, or None if it is not stored."""
        return (await self.stored_blocks([number])).get(number)

    async def stored_blocks(self, numbers: Sequence[int]) -> dict[int, StoredBlock]:
        """Return the stored blocks with these numbers, by number."""
        cursor = self.database[BLOCKS].find(
            {"_id": {"$in": numbers}}, {"blockHash": 1, "validationCodes": 1}
        )
        return {
            document["_id"]: StoredBlock(
                document["_id"], bytes.fromhex(document["blockHash"]), document["validationCodes"]
            )
            async for document in cursor
        }

    async def owned_ids(self, tx_ids: Iterable[str], below: int) -> set[str]:
        """Return those of `tx_ids` that a stored envelope in a block below `below` owns.

        The index of transaction ids must exist: without it MongoDB refuses the query.
        """
        owned: set[str] = set()
        for chunk in _chunks(tx_ids, _QUERY_BYTES):
            cursor = self.database[TRANSACTIONS].find(
                {"txId": {"$in": chunk}}, {"txId": 1}, hint=_BY_TX_ID
            )
            async for document in cursor:
                if document["_id"] < pack_position(below, 0):
                    owned.add(document["txId"])
        return owned

    async def owned_ids_at(self, positions: Sequence[Int64]) -> set[str]:
        """Return the ids that the stored envelopes at these positions own."""
        cursor = self.database[TRANSACTIONS].find({"_id": {"$in": positions}}, {"txId": 1})
        return {d["txId"] async for d in cursor if isinstance(d["txId"], str)}

    async def insert_transactions(self, blocks: Sequence[EncodedBlock]) -> None:
        """Insert the transactions of these blocks, the first step of a batch.

        Raises `StoreConflictError` when a stored document differs.
        """
        await self._insert(TRANSACTIONS, [block.transactions for block in blocks])

    async def insert_events(self, blocks: Sequence[EncodedBlock]) -> None:
        """Insert the events of these blocks, the second step: their transactions are stored."""
        await self._insert(EVENTS, [block.events for block in blocks])

    async def insert_blocks(self, blocks: Sequence[EncodedBlock]) -> None:
        """Insert the block documents, the last step, which commits the blocks.

        All lower blocks must be committed. The documents are inserted in ascending order, so that
        no gap can arise.
        """
        await self._insert(BLOCKS, [join(block.block.raw for block in blocks)], ordered=True)

    async def insert_together(self, blocks: Sequence[EncodedBlock]) -> bool:
        """Insert all documents of these blocks at once, in a transaction of MongoDB.

        It waits once for the majority, where the three steps wait three times. All lower blocks
        must be committed. Return False if nothing was inserted: a document is stored already,
        another process inserts the same documents, a build of indexes begins or ends, or MongoDB
        does not support transactions.
        """
        if not self._supports_transactions:
            return False
        steps = {
            TRANSACTIONS: [block.transactions for block in blocks],
            EVENTS: [block.events for block in blocks],
            BLOCKS: [join(block.block.raw for block in blocks)],
        }
        try:
            async with (
                self._client.start_session() as session,
                await session.start_transaction(write_concern=self.database.write_concern),
            ):
                for name, documents in steps.items():
                    for message in messages(documents, MAX_COMMAND_BYTES, MAX_COMMAND_DOCUMENTS):
                        await self._insert_new(name, message, session)
        except _AlreadyStoredError:
            return False
        except OperationFailure as error:
            if error.code in _NO_TRANSACTIONS:
                self._supports_transactions = False
            elif error.code not in _INTERRUPTED:
                raise
            return False
        return True

    async def _insert_new(
        self, name: str, documents: Sequence[JoinedDocuments], session: AsyncClientSession
    ) -> None:
        """Insert documents in a transaction. Raises `_AlreadyStoredError` for a stored document."""
        if await insert_joined(self.database, name, documents, ordered=True, session=session):
            raise _AlreadyStoredError

    async def _insert(
        self, name: str, documents: Sequence[JoinedDocuments], *, ordered: bool = False
    ) -> None:
        """Insert the documents that are not stored, and compare the others with the stored ones.

        An ordered insertion stops at a document that is stored already, and continues after it.
        """
        for message in messages(documents, MAX_COMMAND_BYTES, MAX_COMMAND_DOCUMENTS):
            while stored := await insert_joined(self.database, name, message, ordered=ordered):
                sent = list(chain.from_iterable(message))
                await self._compare(name, [sent[index] for index in stored])
                remaining = sent[stored[-1] + 1 :]
                if not ordered or not remaining:
                    break
                message = [join(document.raw for document in remaining)]  # noqa: PLW2901

    async def _compare(self, name: str, documents: Sequence[RawBSONDocument]) -> None:
        """Raise `StoreConflictError` unless each document equals the stored document.

        The read concern is `local`: another daemon may have inserted the documents, and the
        majority may not have them yet. The block document that follows is written to the majority,
        and with it all earlier documents.
        """
        collection: AsyncCollection[RawBSONDocument] = self.database[name].with_options(
            codec_options=RAW, read_concern=ReadConcern("local")
        )
        keys = [document["_id"] for document in documents]
        stored = {
            document["_id"]: document async for document in collection.find({"_id": {"$in": keys}})
        }
        for document in documents:
            compare_documents(name, document, stored.get(document["_id"]))


def _chunks(tx_ids: Iterable[str], limit: int) -> Iterator[list[str]]:
    """Yield the ids in lists of at most about `limit` bytes each."""
    chunk: list[str] = []
    size = 0
    for tx_id in tx_ids:
        if chunk and size + len(tx_id) * 4 > limit:
            yield chunk
            chunk, size = [], 0
        chunk.append(tx_id)
        size += len(tx_id) * 4 + 16
    if chunk:
        yield chunk
