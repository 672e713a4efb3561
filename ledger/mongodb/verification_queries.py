"""Reads a channel's stored documents for verification: block by block, in order."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from hashlib import sha256
from typing import Any, Final, Generic, TypeVar

from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument
from msgspec import Struct
from pymongo import ASCENDING
from pymongo.asynchronous.database import AsyncDatabase

from ledger.documents.digests import NO_DIGEST, stored_digests
from ledger.documents.encoding import EncodedBlock
from ledger.documents.format import Document
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.ledger_keys import INTEGER, block_numbers, foreign_keys_of
from ledger.mongodb.paging import RAW
from ledger.position import BlockNumber, last_position, pack_position, unpack_position

ANY_CONTENT: Final[CodecOptions[RawBSONDocument]] = CodecOptions(
    document_class=RawBSONDocument,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    unicode_decode_error_handler="replace",
)
"""Decodes any date and any text: someone with the right to write may have changed a document."""

_CHECKED_FIELDS: Final = ("_id", "blockNumber", "txId", "status", "validationCode")
_MAX_FOREIGN: Final = 100
T = TypeVar("T")


class StoredDocuments(Struct, frozen=True):
    """The documents of one block in one collection, in the order of their positions.

    A document has only the fields that are checked one by one. `digest` is the SHA-256 over all
    bytes of all documents, in hex.
    """

    collection: str
    documents: list[Document]
    digest: str


class StoredBlockDocuments(Struct, frozen=True):
    """All documents at one block's positions; `block` is None if the block is not stored."""

    number: BlockNumber
    block: RawBSONDocument | None
    transactions: StoredDocuments
    events: StoredDocuments


class ComparableDocuments(Struct, frozen=True):
    """The documents of one block in one collection: as the chain gives them, and as stored.

    Stored documents are keyed by their `_id`.
    """

    collection: str
    expected: Sequence[RawBSONDocument]
    stored: dict[int, RawBSONDocument]


async def stored_documents_by_block(
    database: AsyncDatabase[Document], last: BlockNumber, first: BlockNumber | None = None
) -> AsyncGenerator[StoredBlockDocuments, None]:
    """Yield the stored documents of each block up to block `last`, in ascending order.

    Begin at block `first`, or at the lowest document. Blocks without a document are left out.
    Documents above `last` are not read: the daemon may be writing them.
    """
    async with (
        aclosing(_blocks(database, first, last)) as blocks,
        aclosing(_of_blocks(database, TRANSACTIONS, first, last)) as transactions,
        aclosing(_of_blocks(database, EVENTS, first, last)) as events,
    ):
        streams = _Stream(blocks), _Stream(transactions), _Stream(events)
        for stream in streams:
            await stream.advance()
        while numbers := [stream.number for stream in streams if stream.number is not None]:
            number = min(numbers)
            yield StoredBlockDocuments(
                number=BlockNumber(number),
                block=await streams[0].take(number),
                transactions=await streams[1].take(number) or _no_documents(TRANSACTIONS),
                events=await streams[2].take(number) or _no_documents(EVENTS),
            )


async def stored_block(database: AsyncDatabase[Document], number: int) -> RawBSONDocument | None:
    """Return the stored document of a block, or None if it is not stored."""
    return await database[BLOCKS].with_options(codec_options=ANY_CONTENT).find_one({"_id": number})


async def is_continued(database: AsyncDatabase[Document], number: int) -> bool:
    """Return whether the block after a stored block is stored and names its hash."""
    block = await stored_block(database, number)
    following = await stored_block(database, number + 1)
    if block is None or following is None:
        return False
    return following.get("previousHash") == block.get("blockHash")


async def digests_begin(database: AsyncDatabase[Document]) -> BlockNumber:
    """Return the number of the block at which the digests begin, 0 if at the start block.

    They begin at a higher block only if an older program stored the blocks below it. Its digest
    then depends on no other digest.
    """
    blocks = database[BLOCKS].with_options(codec_options=ANY_CONTENT)
    ascending = [("_id", ASCENDING)]
    number = {"_id": block_numbers()}
    lowest = await blocks.find_one(number, sort=ascending)
    first = await blocks.find_one({**number, "digest": {"$exists": True}}, sort=ascending)
    if lowest is None or first is None or lowest["_id"] == first["_id"]:
        return BlockNumber(0)
    digest, _ = stored_digests(first, NO_DIGEST)
    return BlockNumber(first["_id"] if digest.hex() == first["digest"] else 0)


async def foreign_keys(database: AsyncDatabase[Document]) -> list[tuple[str, Any]]:
    """Return the `_id`s that are no block's number and no position, each with its collection.

    There are at most 100 of each collection and condition of `foreign_keys_of`.
    """
    return [
        (name, document["_id"])
        for name in (BLOCKS, TRANSACTIONS, EVENTS)
        for condition in foreign_keys_of(name)
        async for document in database[name].find(
            {"_id": condition}, {"_id": 1}, limit=_MAX_FOREIGN, hint="_id_"
        )
    ]


async def comparable_documents(
    database: AsyncDatabase[Document], block: EncodedBlock
) -> AsyncIterator[ComparableDocuments]:
    """Yield for each collection the documents of `block` and the stored documents."""
    number = block.number
    positions = {"$gte": pack_position(number, 0), "$lt": pack_position(number + 1, 0)}
    for name, expected, keys in (
        (BLOCKS, [block.block], number),
        (TRANSACTIONS, block.transactions, positions),
        (EVENTS, block.events, positions),
    ):
        cursor = database[name].with_options(codec_options=RAW).find({"_id": keys})
        yield ComparableDocuments(
            name, expected, {document["_id"]: document async for document in cursor}
        )


class _Stream(Generic[T]):
    """Values of blocks in ascending order, of which the next one is known."""

    def __init__(self, values: AsyncIterator[tuple[int, T]]) -> None:
        self._values = values
        self._next: tuple[int, T] | None = None

    @property
    def number(self) -> int | None:
        """The number of the block of the next value; None at the end."""
        return self._next[0] if self._next is not None else None

    async def advance(self) -> None:
        """Read the next value."""
        self._next = await anext(self._values, None)

    async def take(self, number: int) -> T | None:
        """Return the value of a block, and read the next one; None if the block has no value."""
        if self._next is None or self._next[0] != number:
            return None
        value = self._next[1]
        await self.advance()
        return value


async def _blocks(
    database: AsyncDatabase[Document], first: BlockNumber | None, last: BlockNumber
) -> AsyncGenerator[tuple[int, RawBSONDocument], None]:
    lowest = {} if first is None else {"$gte": first}
    async for document in _documents(database, BLOCKS, {**lowest, "$lte": last}):
        yield document["_id"], document


async def _of_blocks(
    database: AsyncDatabase[Document], name: str, first: BlockNumber | None, last: BlockNumber
) -> AsyncGenerator[tuple[int, StoredDocuments], None]:
    lowest = {} if first is None else {"$gte": pack_position(first, 0)}
    current: int | None = None
    facts: list[Document] = []
    digest = sha256()
    async for document in _documents(database, name, {**lowest, "$lte": last_position(last)}):
        number, _ = unpack_position(document["_id"])
        if current is not None and number != current:
            yield current, StoredDocuments(name, facts, digest.hexdigest())
            facts, digest = [], sha256()
        current = number
        facts.append({field: document.get(field) for field in _CHECKED_FIELDS})
        digest.update(document.raw)
    if current is not None:
        yield current, StoredDocuments(name, facts, digest.hexdigest())


def _documents(
    database: AsyncDatabase[Document], name: str, keys: Document
) -> AsyncIterator[RawBSONDocument]:
    """Return the documents whose `_id` is an integer from 0 on in this range, in order."""
    query = {"_id": {"$gte": 0, **keys, **INTEGER}}
    collection = database[name].with_options(codec_options=ANY_CONTENT)
    return aiter(collection.find(query, sort=[("_id", ASCENDING)]))


def _no_documents(name: str) -> StoredDocuments:
    return StoredDocuments(name, [], sha256().hexdigest())
