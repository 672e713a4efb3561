"""Writes a channel's ledger to its MongoDB database, in an order that is safe against crashes.

The transactions of a block are written first, then its events, then the block document. Block
documents are written in ascending order. The block document is the commit marker: if any process is
killed at any time, the documents of every stored block are complete. The checkpoint is read from
the documents themselves.

Before a block document is written, the documents at the block's positions are counted: a document
too many was left there by another chain, and readers would show it (`ledger.mongodb.leftovers`).

Documents are only inserted. If a document is stored already, it is compared with the document that
the chain gives. Equal documents mean that the block was delivered twice; other documents are an
error.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, TypeAlias

from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo import ASCENDING, AsyncMongoClient, ReadPreference
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from ledger.documents.encoding import EncodedBlock
from ledger.documents.format import READABLE_FORMATS, Document
from ledger.documents.joined import JoinedDocuments, join, messages
from ledger.errors import StoreFormatError
from ledger.mongodb import leftovers
from ledger.mongodb.block_range import highest_block, stored_range
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
from ledger.mongodb.ledger_keys import block_numbers
from ledger.mongodb.paging import RAW
from ledger.mongodb.stored_blocks import Checkpoint, StoredBlock, read_stored_block
from ledger.position import pack_position

_QUERY_BYTES: Final = 4 << 20
_SMALL_BYTES: Final = 1 << 20
_ACKNOWLEDGED: Final = WriteConcern(1)
"""The primary has the documents; it has not waited for the other members."""
_BY_TX_ID: Final = [("txId", ASCENDING)]

Primaries: TypeAlias = set[ObjectId | None]
"""The ids of the elections that made servers primaries; None for a server without elections."""


class LedgerStore:
    """Reads and writes one channel's database.

    All methods are idempotent, so that a caller can repeat a call after any failure.
    """

    def __init__(self, client: AsyncMongoClient[Any], database: str) -> None:
        self._waits_each_time = False
        """Whether the server does not tell elections, so that each step waits for the majority."""
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
            {"_id": block_numbers(start, end)}, hint="_id_"
        )

    async def block(self, number: int) -> StoredBlock | None:
        """Return the stored block with this number, or None if it is not stored."""
        return (await self.stored_blocks([number])).get(number)

    async def stored_blocks(self, numbers: Sequence[int]) -> dict[int, StoredBlock]:
        """Return the stored blocks with these numbers, by number."""
        cursor = self.database[BLOCKS].find(
            {"_id": {"$in": numbers}},
            {"blockHash": 1, "validationCodes": 1, "commitHash": 1, "digest": 1},
        )
        return {document["_id"]: read_stored_block(document) async for document in cursor}

    async def has_commit_hash(self, number: int) -> bool:
        """Return whether a block is stored and has a commit hash."""
        block = await self.database[BLOCKS].find_one({"_id": number}, {"commitHash": 1})
        return block is not None and bool(block.get("commitHash"))

    async def last_config(self, number: int) -> int | None:
        """Return the number of the CONFIG block in force after a stored block, if it names one."""
        block = await self.database[BLOCKS].find_one({"_id": number}, {"lastConfig": 1})
        config = block["lastConfig"] if block is not None else None
        return config if isinstance(config, int) and 0 <= config <= number else None

    async def check_format(self) -> None:
        """Raise `StoreFormatError` unless this program knows the format of the highest block."""
        highest = await highest_block(self.database, {"format": 1})
        if highest is not None and highest.get("format") not in READABLE_FORMATS:
            raise StoreFormatError(highest["_id"], highest.get("format"), READABLE_FORMATS)

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

    async def insert_documents(self, blocks: Sequence[EncodedBlock]) -> None:
        """Insert the transactions of these blocks, then their events, the first part of a batch.

        The majority has all of them when this returns. It is waited for only once, with the events:
        a server applies writes in the order of its primary, so the majority has the transactions
        too, if the same primary took both. After an election in between, the transactions are
        inserted again. Raises `StoreConflictError` when a stored document differs.
        """
        waits = self._waits_each_time or not any(block.events for block in blocks)
        primaries = await self.insert_transactions(blocks, wait=waits)
        primaries |= await self.insert_events(blocks)
        if not waits and (None in primaries or len(primaries) > 1):
            self._waits_each_time = None in primaries
            await self._insert(TRANSACTIONS, [block.transactions for block in blocks])

    async def insert_transactions(
        self, blocks: Sequence[EncodedBlock], *, wait: bool = True
    ) -> Primaries:
        """Insert the transactions of these blocks; `wait` until the majority has them.

        The first transaction of each block is inserted before the others. If two programs write
        forks into one database, one of them meets the other's first transaction, which differs
        unless both blocks begin alike, and stops before it writes anything else of its blocks. A
        single small block needs only one command, which stops at the first transaction by itself.
        Return the primaries that took the transactions.
        """
        concern = self.database.write_concern if wait else _ACKNOWLEDGED
        if len(blocks) == 1 and 0 < len(blocks[0].transactions.raw) <= _SMALL_BYTES:
            reply = await insert_joined(
                self.database, TRANSACTIONS, [blocks[0].transactions], concern, ordered=True
            )
            if not reply.duplicates:
                return {reply.primary}
        split = [block.transactions.first_and_rest() for block in blocks if block.transactions]
        first, rest = [each for each, _ in split], [each for _, each in split if each]
        if not rest:
            return await self._insert(TRANSACTIONS, first, concern)
        primaries = await self._insert(TRANSACTIONS, first, _ACKNOWLEDGED)
        primaries |= await self._insert(TRANSACTIONS, rest, concern)
        if wait and (None in primaries or len(primaries) > 1):
            await self._insert(TRANSACTIONS, first, concern)
        return primaries

    async def insert_events(self, blocks: Sequence[EncodedBlock]) -> Primaries:
        """Insert the events of these blocks, whose transactions are stored.

        Return the primaries that took them.
        """
        return await self._insert(EVENTS, [block.events for block in blocks])

    async def insert_blocks(self, blocks: Sequence[EncodedBlock]) -> None:
        """Insert the block documents, the last step, which commits the blocks.

        All lower blocks must be committed. The documents are inserted in ascending order, so that
        no gap can arise.
        """
        await self._insert(BLOCKS, [join(block.block.raw for block in blocks)], ordered=True)

    async def check_committed(self, blocks: Sequence[EncodedBlock]) -> None:
        """Raise `StoreConflictError` if other blocks are committed at the numbers of these."""
        await leftovers.check_committed(self.database, blocks)

    async def check_surplus(self, blocks: Sequence[EncodedBlock]) -> None:
        """Raise `SurplusDocumentsError` if more is stored at the positions of these blocks.

        All their transactions and events must be inserted.
        """
        await leftovers.check_surplus(self.database, blocks)

    async def _insert(
        self,
        name: str,
        documents: Sequence[JoinedDocuments],
        concern: WriteConcern | None = None,
        *,
        ordered: bool = False,
    ) -> Primaries:
        """Insert the documents that are not stored, and compare the others with the stored ones.

        An ordered insertion stops at a document that is stored already, and continues after it.
        Return the primaries that took the documents.
        """
        concern = concern or self.database.write_concern
        primaries: Primaries = set()
        for message in messages(documents, MAX_COMMAND_BYTES, MAX_COMMAND_DOCUMENTS):
            remaining = message
            while remaining:
                reply = await insert_joined(
                    self.database, name, remaining, concern, ordered=ordered
                )
                primaries.add(reply.primary)
                if not reply.duplicates:
                    break
                sent = list(chain.from_iterable(remaining))
                await self._compare(name, [sent[index] for index in reply.duplicates])
                after = sent[reply.duplicates[-1] + 1 :] if ordered else []
                remaining = [join(document.raw for document in after)] if after else []
        return primaries

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
