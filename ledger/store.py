"""The ledger in MongoDB: one database a channel, and the crash protocol that keeps it whole.

Write order is the crash protocol: a block's transactions first, then its events, then the block document, and block
documents in ascending order. The block document is the commit marker. So whatever is killed wherever, every block
document stands on complete data, and the checkpoint is read from the documents themselves.

Documents are only inserted. One that is there already is compared with the one that belongs there: equal means
delivered twice, anything else is an error.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import bson
import pymongo
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from msgspec import Struct
from pymongo import ASCENDING, DESCENDING, AsyncMongoClient, IndexModel, ReadPreference
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError, OperationFailure
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from ledger.documents import Document, position
from ledger.encoding import EncodedBlock
from ledger.errors import StoreConflictError
from ledger.model import VALID
from ledger.tasks import mend_waits

mend_waits()

BLOCKS: Final = "blocks"
TRANSACTIONS: Final = "transactions_ledger"
EVENTS: Final = "chaincode_events"
SYNC_STATE: Final = "sync_state"

TRANSACTION_FILTERS: Final = ((), ("chaincodeId",), ("chaincodeId", "function"), ("creator.mspId",), ("type",))
"""Fields by which transactions are listed; the validation code and the position follow in each index."""

KEY_HISTORY: Final = {
    None: (("rwsets.writes.key", ASCENDING), ("rwsets.namespace", ASCENDING), ("_id", ASCENDING)),
    True: (("rwsets.namespace", ASCENDING), ("_id", ASCENDING)),
}
"""The indexes that find who wrote a key, by `manyWrites`: an entry for each write of a VALID transaction, and for each
namespace of those few that wrote so much that their entries could be too many for MongoDB's cache.
"""


def _ascending(*fields: str) -> IndexModel:
    return IndexModel([(field, ASCENDING) for field in fields])


INDEXES: Final[dict[str, tuple[IndexModel, ...]]] = {
    BLOCKS: (
        IndexModel([("number", ASCENDING)], unique=True),
        _ascending("blockHash"),
        _ascending("ts", "number"),
    ),
    TRANSACTIONS: (
        IndexModel([("txId", ASCENDING)], unique=True),
        _ascending("blockNumber"),
        IndexModel(  # few documents have it: those that repeat an id, or have none
            [("claimedTxId", ASCENDING), ("_id", ASCENDING)],
            partialFilterExpression={"claimedTxId": {"$exists": True}},
        ),
        *(_ascending(*fields, "validationCode", "_id") for fields in TRANSACTION_FILTERS),
        _ascending("ts", "_id"),
    ),
    EVENTS: (
        _ascending("txId"),
        IndexModel([("eventName", ASCENDING), ("blockNumber", DESCENDING)]),
        _ascending("eventName", "_id"),
        _ascending("chaincodeId", "_id"),
        _ascending("chaincodeId", "eventName", "_id"),
    ),
}
"""The indexes that every database has."""


def payload_path(field: str) -> str:
    """Where events have that field of their JSON payloads; full stops join nested ones."""
    return f"payload.{field}"


class IndexOptions(Struct, frozen=True):
    """What is indexed besides: fields of event payloads, and the keys that transactions write."""

    payload_fields: tuple[str, ...] = ("campaignId",)
    key_history: bool = True

    def models(self) -> dict[str, list[IndexModel]]:
        """All indexes, by collection."""
        models = {name: list(indexes) for name, indexes in INDEXES.items()}
        if self.key_history:
            for many, keys in KEY_HISTORY.items():
                valid = {"validationCode": VALID, "manyWrites": many}
                models[TRANSACTIONS].append(IndexModel(keys, partialFilterExpression=valid))
        for path in map(payload_path, self.payload_fields):
            present = {path: {"$exists": True}}
            for fields in ((path, "_id"), (path, "eventName", "_id")):
                models[EVENTS].append(
                    IndexModel([(field, ASCENDING) for field in fields], partialFilterExpression=present)
                )
        return models


async def ready_indexes(database: AsyncDatabase[Document], name: str) -> dict[str, Document]:
    """The specifications of a collection's indexes by their names, without those that are still being built."""
    try:
        reply = await database.command("listIndexes", name, includeBuildUUIDs=True)
    except OperationFailure as error:
        if error.code != _NO_SUCH_COLLECTION:
            raise
        return {}
    return {spec["name"]: spec for spec in reply["cursor"]["firstBatch"] if "buildUUID" not in spec}


_NO_SUCH_COLLECTION = 26
_BUILD_SECONDS = 24 * 3600.0
_DUPLICATE_KEY = 11000
_QUERY_BYTES = 4 << 20
_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)

RESERVED_DATABASES: Final = frozenset({"admin", "config", "local"})
MAX_DATABASE_NAME_BYTES: Final = 63


def database_name(channel: str) -> str | None:
    """The database of a channel: its name with `.` as `_`; None where MongoDB takes no such name."""
    name = channel.replace(".", "_")
    return None if name in RESERVED_DATABASES or len(name.encode()) > MAX_DATABASE_NAME_BYTES else name


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

        `building` is told of a collection whose documents must be read for that, and the indexes' names: it can take
        minutes, in which MongoDB goes on with it even if this client is gone.
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
        blocks = self.database[BLOCKS]
        lowest = await blocks.find_one({}, {"_id": 1}, sort=[("_id", ASCENDING)])
        highest = await blocks.find_one({}, {"_id": 1}, sort=[("_id", DESCENDING)])
        if lowest is None or highest is None:
            return None
        start = lowest["_id"]
        head = await self.block(await self._last_contiguous(start, highest["_id"]))
        return Checkpoint(start, head) if head is not None else None

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
        return await self.database[BLOCKS].count_documents({"_id": {"$gte": start, "$lte": end}}, hint="_id_")

    async def block(self, number: int) -> StoredBlock | None:
        """What identifies the stored block of that number."""
        found = await self.stored_blocks([number])
        return found.get(number)

    async def stored_blocks(self, numbers: Sequence[int]) -> dict[int, StoredBlock]:
        """What identifies the stored blocks of these numbers, by number."""
        cursor = self.database[BLOCKS].find({"_id": {"$in": numbers}}, {"blockHash": 1, "validationCodes": 1})
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
                if document["_id"] < position(below, 0):
                    owned.add(document["txId"])
        return owned

    async def insert_transactions(self, blocks: Sequence[EncodedBlock]) -> None:
        """First step of a batch. Raises `StoreConflictError` where something else is stored."""
        await self._insert(TRANSACTIONS, [document for block in blocks for document in block.transactions])

    async def insert_events(self, blocks: Sequence[EncodedBlock]) -> None:
        """Second step, once the transactions of these blocks are stored."""
        await self._insert(EVENTS, [document for block in blocks for document in block.events])

    async def insert_blocks(self, blocks: Sequence[EncodedBlock]) -> None:
        """Last step, the commit: only when every lower block is committed. Ascending, so that none is missing."""
        await self._insert(BLOCKS, [block.block for block in blocks], ordered=True)

    async def _insert(self, name: str, documents: Sequence[RawBSONDocument], *, ordered: bool = False) -> None:
        """Inserts what is not there yet and compares what is."""
        while documents:
            try:
                await self.database[name].insert_many(documents, ordered=ordered)
            except BulkWriteError as error:
                failures = error.details["writeErrors"]
                if error.details.get("writeConcernErrors") or any(f["code"] != _DUPLICATE_KEY for f in failures):
                    raise
                present = [documents[failure["index"]] for failure in failures]
                await self._compare(name, present)
                documents = documents[failures[-1]["index"] + 1 :] if ordered else ()
            else:
                return

    async def _compare(self, name: str, documents: Sequence[RawBSONDocument]) -> None:
        """Raises `StoreConflictError` unless each document is stored as it is.

        Read with concern `local`: another daemon's insert that made ours a duplicate need not be majority-committed
        yet. The block document that follows is, and with it all that came before.
        """
        collection: AsyncCollection[RawBSONDocument] = self.database[name].with_options(
            codec_options=_RAW, read_concern=ReadConcern("local")
        )
        keys = [document["_id"] for document in documents]
        stored = {document["_id"]: document async for document in collection.find({"_id": {"$in": keys}})}
        for document in documents:
            compare_documents(name, document, stored.get(document["_id"]))


def compare_documents(name: str, expected: RawBSONDocument, stored: RawBSONDocument | None) -> None:
    """Raises `StoreConflictError` unless `stored` is what the chain says.

    A document that another version of this program wrote is compared by position, id, code and envelope hash only.
    Who signed a block is not compared: of a SmartBFT block each peer keeps another quorum of signatures.
    """
    if stored is None:
        raise StoreConflictError(
            name, expected["_id"], "txId", f"{expected.get('txId')!r} at this position", "the same id at another one"
        )
    if stored.raw == expected.raw:
        return
    want, have = bson.decode(expected.raw), bson.decode(stored.raw)
    fields: Iterable[str] = sorted((want.keys() | have.keys()) - {"signers"})
    if want["format"] != have.get("format"):
        fields = ("_id", "txId", "validationCode", "validationCodes", "envelopeHash", "blockHash")
    for field in fields:
        if want.get(field) != have.get(field):
            raise StoreConflictError(name, want["_id"], field, want.get(field), have.get(field))


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
