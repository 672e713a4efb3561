"""The archive of raw blocks in a collection of the channel's database.

A block is one document, or several parts if it is larger than a document may be. The `_id` is made
of the number of the block and of the part, as positions are. Documents are only inserted; only
`kindledger repair` replaces and removes them.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from hashlib import sha256
from itertools import chain
from typing import Any, Final

import bson
from bson.raw_bson import RawBSONDocument
from pymongo import ASCENDING, DESCENDING
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern

from ledger.documents.format import Document
from ledger.documents.joined import JoinedDocuments, join, messages
from ledger.errors import DamagedRawBlockError, StoreConflictError
from ledger.mongodb.collections import RAW_BLOCKS
from ledger.mongodb.insert_command import MAX_COMMAND_BYTES, MAX_COMMAND_DOCUMENTS, insert_joined
from ledger.mongodb.verification_queries import ANY_CONTENT
from ledger.position import MAX_BLOCK_NUMBER, last_position, pack_position, unpack_position
from ledger.raw_blocks import CompressedBlock, KeptBlock, KeptRange, check_same_block

PART_BYTES: Final = 15 << 20
"""The size of the largest part of a block; the limit of a document is 16 MiB."""

_SMALL_BYTES: Final = 1 << 16
"""The size of frames up to which they are decompressed without a thread."""
_SIZE_UNKNOWN: Final = frozenset({13, 26})
"""MongoDB's codes for a missing right, and for a collection that does not exist."""
_LOCAL: Final = ReadConcern("local")
_STORAGE: Final[dict[str, Any]] = {"storageStats": {}}


class MongoRawBlocks:
    """Reads and writes the archive of one channel in its database. Each call can be repeated.

    Besides the errors of the interface it raises `PyMongoError`.
    """

    def __init__(self, database: AsyncDatabase[Document], part_bytes: int = PART_BYTES) -> None:
        """Use a database whose read and write concerns are `majority`."""
        self._database, self._part_bytes = database, part_bytes
        self.name = f"{database.name}.{RAW_BLOCKS}"

    async def raw_block(self, number: int) -> bytes | None:
        """Return the serialized block with this number, or None if it is not kept."""
        kept = await self._read(number)
        if kept is None:
            return None
        if len(kept.frame) <= _SMALL_BYTES:
            return kept.block_bytes()
        return await asyncio.to_thread(kept.block_bytes)

    async def kept_range(self) -> KeptRange | None:
        """Return the range of the kept blocks, or None if none is kept.

        The size is None if the user must not read the statistics of the collection.
        """
        lowest, highest = [
            await self._database[RAW_BLOCKS].find_one(
                {"_id": _keys(0)}, {"_id": 1}, sort=[("_id", direction)]
            )
            for direction in (ASCENDING, DESCENDING)
        ]
        if lowest is None or highest is None:
            return None
        first, last = (unpack_position(int(each["_id"]))[0] for each in (lowest, highest))
        return KeptRange(first, last, await self._size())

    async def kept_blocks(self, first: int, last: int) -> AsyncGenerator[KeptBlock, None]:
        """Yield what is kept of the blocks from `first` to `last`, in ascending order."""
        keys = _keys(first, last)
        parts: list[RawBSONDocument] = []
        async for part in self._collection().find({"_id": keys}, sort=[("_id", ASCENDING)]):
            if parts and _number(part) != _number(parts[0]):
                yield self._joined(parts)
                parts = []
            parts.append(part)
        if parts:
            yield self._joined(parts)

    async def append(self, blocks: Sequence[CompressedBlock]) -> None:
        """Keep blocks that are not committed yet; see `RawBlockArchive`.

        What is damaged stays as well: the user of the daemon cannot change it.
        """
        by_number = {block.number: block for block in blocks}
        small = [block for block in blocks if len(block.frame) <= self._part_bytes]
        encoded = [join(chain.from_iterable(map(self._parts, small)))]
        for message in messages(encoded, MAX_COMMAND_BYTES, MAX_COMMAND_DOCUMENTS):
            sent = [_number(each) for each in chain.from_iterable(message)]
            for index in await self._insert(message):
                await self._compare(by_number[sent[index]])
        for block in blocks:
            if len(block.frame) > self._part_bytes:
                await self._append_parts(block)

    async def replace(self, blocks: Sequence[CompressedBlock]) -> None:
        """Keep these blocks instead of what is kept of their numbers, if anything is."""
        for block in blocks:
            keys = _keys(block.number, block.number)
            await self._database[RAW_BLOCKS].delete_many({"_id": keys})
        await self.append(blocks)

    async def remove_from(self, number: int) -> None:
        """Remove the block with this number and all higher ones."""
        await self._database[RAW_BLOCKS].delete_many({"_id": _keys(number)})

    async def _append_parts(self, block: CompressedBlock) -> None:
        """Insert the parts of a block, unless the block is kept already."""
        for part in self._parts(block):
            if not await self._insert([join([part])]):
                continue
            key = RawBSONDocument(part)["_id"]
            stored = await self._collection(_LOCAL).find_one({"_id": key}, {"sha256": 1})
            if stored is None or stored.get("sha256") != sha256(block.frame).digest():
                await self._compare(block)
                return

    async def _insert(self, documents: Sequence[JoinedDocuments]) -> list[int]:
        """Insert documents; return the indexes of those whose `_id` is stored already."""
        concern = self._database.write_concern
        reply = await insert_joined(self._database, RAW_BLOCKS, documents, concern, ordered=False)
        return reply.duplicates

    async def _compare(self, block: CompressedBlock) -> None:
        """Raise `StoreConflictError` unless the kept block is the same block."""
        kept = await self._read(block.number, _LOCAL)
        kept = kept or KeptBlock(block.number, self._place(block.number), damage="it vanished")
        try:
            if len(block.frame) <= _SMALL_BYTES:
                check_same_block(kept, block)
            else:
                await asyncio.to_thread(check_same_block, kept, block)
        except DamagedRawBlockError as error:
            raise StoreConflictError(
                RAW_BLOCKS, block.number, "data", "the delivered block", error.what
            ) from error

    async def _read(self, number: int, concern: ReadConcern | None = None) -> KeptBlock | None:
        keys = _keys(number, number)
        cursor = self._collection(concern).find({"_id": keys}, sort=[("_id", ASCENDING)])
        parts = [part async for part in cursor]
        return self._joined(parts) if parts else None

    async def _size(self) -> int | None:
        try:
            cursor = await self._database[RAW_BLOCKS].aggregate([{"$collStats": _STORAGE}])
            return sum([int(each["storageStats"]["size"]) async for each in cursor])
        except OperationFailure as error:
            if error.code not in _SIZE_UNKNOWN:
                raise
            return None

    def _parts(self, block: CompressedBlock) -> list[bytes]:
        """Return the encoded documents of a block."""
        frame, size = block.frame, self._part_bytes
        pieces = [frame[start : start + size] for start in range(0, len(frame), size)]
        digest = sha256(frame).digest()
        return [
            bson.encode(
                {
                    "_id": pack_position(block.number, index),
                    "parts": len(pieces),
                    "sha256": digest,
                    "data": piece,
                }
            )
            for index, piece in enumerate(pieces)
        ]

    def _joined(self, parts: Sequence[RawBSONDocument]) -> KeptBlock:
        """Return the block of these stored parts, which are in order."""
        number = _number(parts[0])
        place = self._place(number)
        indexes = [unpack_position(int(part["_id"]))[1] for part in parts]
        data = [part.get("data") for part in parts]
        pieces = [piece for piece in data if isinstance(piece, bytes)]
        whole = indexes == list(range(len(parts))) and len(pieces) == len(parts)
        if not whole or any(part.get("parts") != len(parts) for part in parts):
            return KeptBlock(number, place, damage="a part of it is missing or altered")
        frame = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        digest = sha256(frame).digest()
        wrong = any(part.get("sha256") != digest for part in parts)
        damage = "altered: the bytes do not have their hash" if wrong else None
        return KeptBlock(number, place, frame, damage)

    def _place(self, number: int) -> str:
        return f"{self.name} from _id {pack_position(number, 0)} on"

    def _collection(self, concern: ReadConcern | None = None) -> AsyncCollection[RawBSONDocument]:
        return self._database[RAW_BLOCKS].with_options(
            codec_options=ANY_CONTENT, read_concern=concern
        )


def _number(part: RawBSONDocument) -> int:
    return unpack_position(int(part["_id"]))[0]


def _keys(first: int, last: int = MAX_BLOCK_NUMBER) -> Document:
    """Return the condition on `_id` for the parts of the blocks from `first` to `last`."""
    keys = {"$gte": pack_position(first, 0), "$lte": last_position(last)}
    return {**keys, "$type": ["int", "long"]}
