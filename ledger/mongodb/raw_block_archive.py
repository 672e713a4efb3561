"""Writes the archive of raw blocks in a collection of the channel's database.

Documents are only inserted; only `kindledger repair` replaces and removes them.
"""

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from itertools import chain
from typing import Final

import bson
from bson.raw_bson import RawBSONDocument
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.read_concern import ReadConcern

from ledger.documents.format import Document
from ledger.documents.joined import JoinedDocuments, join, messages
from ledger.errors import DamagedRawBlockError, StoreConflictError
from ledger.mongodb.collections import RAW_BLOCKS
from ledger.mongodb.insert_command import MAX_COMMAND_BYTES, MAX_COMMAND_DOCUMENTS, insert_joined
from ledger.mongodb.raw_blocks import SMALL_BYTES, MongoRawBlocks, part_keys, part_number
from ledger.position import pack_position
from ledger.raw_blocks import CompressedBlock, KeptBlock, check_same_block

PART_BYTES: Final = 15 << 20
"""The size of the largest part of a block; the limit of a document is 16 MiB."""

_LOCAL: Final = ReadConcern("local")


class MongoArchive(MongoRawBlocks):
    """Reads and writes the archive of one channel in its database. Each call can be repeated."""

    def __init__(self, database: AsyncDatabase[Document], part_bytes: int = PART_BYTES) -> None:
        super().__init__(database)
        self._part_bytes = part_bytes

    async def append(self, blocks: Sequence[CompressedBlock]) -> None:
        """Keep blocks that are not committed yet; see `RawBlockArchive`.

        What is damaged stays as well: the user of the daemon cannot change it.
        """
        by_number = {block.number: block for block in blocks}
        small = [block for block in blocks if len(block.frame) <= self._part_bytes]
        encoded = [join(chain.from_iterable(map(self._parts, small)))]
        for message in messages(encoded, MAX_COMMAND_BYTES, MAX_COMMAND_DOCUMENTS):
            duplicates = await self._insert(message)
            if duplicates:
                sent = [part_number(each) for each in chain.from_iterable(message)]
                for index in duplicates:
                    await self._compare(by_number[sent[index]])
        for block in blocks:
            if len(block.frame) > self._part_bytes:
                await self._append_parts(block)

    async def replace(self, blocks: Sequence[CompressedBlock]) -> None:
        """Keep these blocks instead of what is kept of their numbers, if anything is."""
        for block in blocks:
            keys = part_keys(block.number, block.number)
            await self._database[RAW_BLOCKS].delete_many({"_id": keys})
        await self.append(blocks)

    async def remove_from(self, number: int) -> None:
        """Remove the block with this number and all higher ones."""
        await self._database[RAW_BLOCKS].delete_many({"_id": part_keys(number)})

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
            if len(block.frame) <= SMALL_BYTES:
                check_same_block(kept, block)
            else:
                await asyncio.to_thread(check_same_block, kept, block)
        except DamagedRawBlockError as error:
            raise StoreConflictError(
                RAW_BLOCKS, block.number, "data", "the delivered block", error.what
            ) from error

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
