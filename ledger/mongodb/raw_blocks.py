"""Reads the archive of raw blocks in a collection of the channel's database.

A block is one document, or several parts if it is larger than a document may be. The `_id` is made
of the number of the block and of the part, as positions are.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from hashlib import sha256
from typing import Any, Final

from bson.raw_bson import RawBSONDocument
from pymongo import ASCENDING, DESCENDING
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern

from ledger.documents.format import Document
from ledger.mongodb.collections import RAW_BLOCKS
from ledger.mongodb.verification_queries import ANY_CONTENT
from ledger.position import MAX_BLOCK_NUMBER, last_position, pack_position, unpack_position
from ledger.raw_blocks import KeptBlock, KeptRange

SMALL_BYTES: Final = 1 << 16
"""The size of frames up to which they are decompressed without a thread."""
_SIZE_UNKNOWN: Final = frozenset({13, 26})
"""MongoDB's codes for a missing right, and for a collection that does not exist."""
_STORAGE: Final[dict[str, Any]] = {"storageStats": {}}


class MongoRawBlocks:
    """Reads the archive of one channel in its database.

    Besides the errors of the interface it raises `PyMongoError`.
    """

    def __init__(self, database: AsyncDatabase[Document]) -> None:
        """Use a database whose read and write concerns are `majority`."""
        self._database = database
        self.name = f"{database.name}.{RAW_BLOCKS}"

    async def raw_block(self, number: int) -> bytes | None:
        """Return the serialized block with this number, or None if it is not kept."""
        kept = await self._read(number)
        if kept is None:
            return None
        if len(kept.frame) <= SMALL_BYTES:
            return kept.block_bytes()
        return await asyncio.to_thread(kept.block_bytes)

    async def kept_range(self) -> KeptRange | None:
        """Return the range of the kept blocks, or None if none is kept.

        The size is None if the user must not read the statistics of the collection.
        """
        lowest, highest = [
            await self._database[RAW_BLOCKS].find_one(
                {"_id": part_keys(0)}, {"_id": 1}, sort=[("_id", direction)]
            )
            for direction in (ASCENDING, DESCENDING)
        ]
        if lowest is None or highest is None:
            return None
        first, last = (unpack_position(int(each["_id"]))[0] for each in (lowest, highest))
        return KeptRange(first, last, await self._size())

    async def kept_blocks(self, first: int, last: int) -> AsyncGenerator[KeptBlock, None]:
        """Yield what is kept of the blocks from `first` to `last`, in ascending order."""
        keys = part_keys(first, last)
        parts: list[RawBSONDocument] = []
        async for part in self._collection().find({"_id": keys}, sort=[("_id", ASCENDING)]):
            if parts and part_number(part) != part_number(parts[0]):
                yield self._joined(parts)
                parts = []
            parts.append(part)
        if parts:
            yield self._joined(parts)

    async def _read(self, number: int, concern: ReadConcern | None = None) -> KeptBlock | None:
        keys = part_keys(number, number)
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

    def _joined(self, parts: Sequence[RawBSONDocument]) -> KeptBlock:
        """Return the block of these stored parts, which are in order."""
        number = part_number(parts[0])
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


def part_number(part: RawBSONDocument) -> int:
    """Return the number of the block to which a document belongs."""
    return unpack_position(int(part["_id"]))[0]


def part_keys(first: int, last: int = MAX_BLOCK_NUMBER) -> Document:
    """Return the condition on `_id` for the parts of the blocks from `first` to `last`."""
    keys = {"$gte": pack_position(first, 0), "$lte": last_position(last)}
    return {**keys, "$type": ["int", "long"]}
