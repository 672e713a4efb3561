"""The ledger in MongoDB: one database a channel, and the crash protocol that keeps it whole.

Write order is the crash protocol: a block's transactions first, then its events, then the block
document, and block documents in ascending order. The block document is the commit marker. So
whatever is killed wherever, every block document stands on complete data, and the checkpoint is
read from the documents themselves.

Documents are only inserted. One that is there already is compared with the one that belongs there:
equal means delivered twice, anything else is an error.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import pymongo
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from msgspec import Struct
from pymongo import AsyncMongoClient, ReadPreference
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from ledger.documents.encoding import EncodedBlock
from ledger.documents.format import Document
from ledger.mongodb.block_range import stored_range
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.comparison import compare_documents
from ledger.mongodb.indexes import IndexOptions, ready_indexes
from ledger.position import pack_position
from runtime.pymongo_waits import patch_pymongo_waits

patch_pymongo_waits()

_BUILD_SECONDS: Final = 24 * 3600.0
_DUPLICATE_KEY: Final = 11000
_QUERY_BYTES: Final = 4 << 20
_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


class StoredBlock(Struct, frozen=True):
    """What identifies a stored block: its hash covers the envelopes, its codes what the peer made of them."""

    number: int
    hash: bytes
    codes: bytes


class Checkpoint(Struct, frozen=True):
    """Every block from `start` to `head.number` is stored."""

    start: int
    head: StoredBlock


class LedgerStore:
    """Reads and writes one channel's database. Safe to call again after any failure: all effects are idempotent."""

    def __init__(self, client: AsyncMongoClient[Any], database: str) -> None:
        self.database: AsyncDatabase[Document] = client.get_database(
            database,
            write_concern=WriteConcern("majority", j=True),
            read_concern=ReadConcern("majority"),
            read_preference=ReadPreference.PRIMARY,
        )

    async def prepare(
        self,
        options: IndexOptions = IndexOptions(),  # noqa: B008 - frozen
        building: Callable[[str, Sequence[str]], None] = lambda _collection, _indexes: None,
    ) -> None:
        """Creates the collections and indexes that are missing.

        `building` is told of a collection whose documents must be read for that, and the indexes'
        names: it can take minutes, in which MongoDB goes on with it even if this client is gone.
        """
        for name, models in options.models().items():
            collection, ready = self.database[name], await ready_indexes(self.database, name)
            missing = [model for model in models if model.document["name"] not in ready]
            if missing and await collection.find_one({}, {"_id": 1}) is not None:
                building(name, [model.document["name"] for model in missing])
            if missing:
                with pymongo.timeout(_BUILD_SECONDS):
                    await collection.create_indexes(missing)

    async def checkpoint(self) -> Checkpoint | None:
        """The highest block up to which none is missing, read from the documents; None if no block is stored."""
        stored = await stored_range(self.database)
        if stored is None:
            return None
        head = await self.block(await self._last_contiguous(stored.lowest, stored.highest))
        return Checkpoint(stored.lowest, head) if head is not None else None

    async def _last_contiguous(self, start: int, end: int) -> int:
        """The last number from `start` to `end` before a gap, by halving: each half is counted on the index."""
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
        """What identifies the stored block of that number."""
        found = await self.stored_blocks([number])
        return found.get(number)

    async def stored_blocks(self, numbers: Sequence[int]) -> dict[int, StoredBlock]:
        """What identifies the stored blocks of these numbers, by number."""
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
        """Those of `tx_ids` that a stored envelope in a block lower than `below` owns."""
        owned: set[str] = set()
        for chunk in _chunks(tx_ids, _QUERY_BYTES):
            cursor = self.database[TRANSACTIONS].find({"txId": {"$in": chunk}}, {"txId": 1})
            async for document in cursor:
                if document["_id"] < pack_position(below, 0):
                    owned.add(document["txId"])
        return owned

    async def insert_transactions(self, blocks: Sequence[EncodedBlock]) -> None:
        """First step of a batch. Raises `StoreConflictError` where something else is stored."""
        await self._insert(
            TRANSACTIONS, [document for block in blocks for document in block.transactions]
        )

    async def insert_events(self, blocks: Sequence[EncodedBlock]) -> None:
        """Second step, once the transactions of these blocks are stored."""
        await self._insert(EVENTS, [document for block in blocks for document in block.events])

    async def insert_blocks(self, blocks: Sequence[EncodedBlock]) -> None:
        """Last step, the commit: only when every lower block is committed. Ascending, so that none is missing."""
        await self._insert(BLOCKS, [block.block for block in blocks], ordered=True)

    async def _insert(
        self, name: str, documents: Sequence[RawBSONDocument], *, ordered: bool = False
    ) -> None:
        """Inserts what is not there yet and compares what is."""
        while documents:
            try:
                await self.database[name].insert_many(documents, ordered=ordered)
            except BulkWriteError as error:
                failures = error.details["writeErrors"]
                if error.details.get("writeConcernErrors") or any(
                    f["code"] != _DUPLICATE_KEY for f in failures
                ):
                    raise
                present = [documents[failure["index"]] for failure in failures]
                await self._compare(name, present)
                documents = documents[failures[-1]["index"] + 1 :] if ordered else ()
            else:
                return

    async def _compare(self, name: str, documents: Sequence[RawBSONDocument]) -> None:
        """Raises `StoreConflictError` unless each document is stored as it is.

        Read with concern `local`: another daemon's insert that made ours a duplicate need not be
        majority-committed yet. The block document that follows is, and with it all that came
        before.
        """
        collection: AsyncCollection[RawBSONDocument] = self.database[name].with_options(
            codec_options=_RAW, read_concern=ReadConcern("local")
        )
        keys = [document["_id"] for document in documents]
        stored = {
            document["_id"]: document async for document in collection.find({"_id": {"$in": keys}})
        }
        for document in documents:
            compare_documents(name, document, stored.get(document["_id"]))


def _chunks(tx_ids: Iterable[str], limit: int) -> Iterator[list[str]]:
    """Ids in lists whose text stays below `limit` bytes or so."""
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
