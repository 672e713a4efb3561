"""The original bytes of blocks: exactly those that were delivered, or a problem that says why."""

import asyncio
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from pymongo import AsyncMongoClient

from explorer_api.live.raw_blocks import CheckedRawBlocks
from ledger.decoding.block_identities import read_identity
from ledger.decoding.blocks import read_block
from ledger.mongodb.collections import BLOCKS, RAW_BLOCKS
from ledger.mongodb.raw_block_archive import MongoArchive
from ledger.mongodb.store import LedgerStore
from ledger.position import pack_position
from protos import common_pb2 as common
from tests.explorer_api.support import CHANNEL, FRESH, C, append, decoded, running_api
from tests.ledger.archives import compressed, folder_archive, with_other_codes

FIRST = 10
"""The block at which the archives of these tests begin."""


@pytest.mark.parametrize("place", ["mongodb", "folder"])
async def test_a_raw_block_is_served_as_it_was_delivered(
    client: AsyncMongoClient[Any],
    store: LedgerStore,
    recorded: list[bytes],
    tmp_path: Path,
    place: str,
) -> None:
    """By number, by hash and as the latest; also while the archive grows."""
    database = store.database.name
    await append(client, database, [decoded(block) for block in recorded[:20]])
    options = FRESH if place == "mongodb" else replace(FRESH, archive_folder=tmp_path)
    async with running_api(client, {CHANNEL: database}, options) as api:
        await api.problem(f"{C}/blocks/12/raw", 410, "raw-not-retained")
        async with folder_archive(tmp_path / database) as folder:
            archive = folder if place == "folder" else MongoArchive(store.database)
            await archive.append(compressed(recorded[FIRST:20]))
            block_hash = read_block(recorded[15]).hash.hex()
            for reference, number in (("12", 12), (block_hash, 15), ("latest", 19)):
                response = await api.get(f"{C}/blocks/{reference}/raw")
                assert response.body == recorded[number]
                assert response.headers["Content-Type"] == "application/x-protobuf"
                immutable = "immutable" in response.headers["Cache-Control"]
                assert immutable == (reference != "latest")
                etag = response.headers["ETag"]
                assert etag == f'"{sha256(recorded[number]).hexdigest()[:32]}"'
                await api.get(f"{C}/blocks/{reference}/raw", 304, {"If-None-Match": etag})
            await append(client, database, [decoded(block) for block in recorded[20:22]])
            await archive.append(compressed(recorded[20:22]))
            assert (await api.get(f"{C}/blocks/21/raw")).body == recorded[21]
        await api.problem(f"{C}/blocks/{FIRST - 1}/raw", 410, "raw-not-retained")
        await api.problem(f"{C}/blocks/99/raw", 404, "block-not-found")


async def test_a_damaged_raw_block_is_not_served(
    client: AsyncMongoClient[Any], store: LedgerStore, recorded: list[bytes], tmp_path: Path
) -> None:
    """Neither one that was altered, nor another block in its place, nor one of another document."""
    database = store.database.name
    await append(client, database, [decoded(block) for block in recorded[:20]])
    raw_blocks = store.database[RAW_BLOCKS]
    await MongoArchive(store.database).append(
        compressed([*recorded[:8], with_other_codes(recorded[8]), *recorded[9:20]])
    )
    await raw_blocks.update_one({"_id": pack_position(5, 0)}, {"$set": {"data": b"altered"}})
    other = await raw_blocks.find_one({"_id": pack_position(7, 0)}) or {}
    await raw_blocks.replace_one({"_id": pack_position(6, 0)}, other | {"_id": pack_position(6, 0)})
    await store.database[BLOCKS].update_one({"_id": 9}, {"$set": {"blockHash": "0" * 64}})
    async with running_api(client, {CHANNEL: database}) as api:
        for number in (5, 6, 8, 9):
            problem = await api.problem(f"{C}/blocks/{number}/raw", 500, "raw-block-damaged")
            assert f"{database}.{RAW_BLOCKS}" in problem.json["detail"]
        assert (await api.get(f"{C}/blocks/7/raw")).body == recorded[7]
    (tmp_path / database).write_text("no folder")
    options = replace(FRESH, archive_folder=tmp_path)
    async with running_api(client, {CHANNEL: database}, options) as api:
        await api.problem(f"{C}/blocks/7/raw", 503, "archive-unavailable")


class CountingArchive(MongoArchive):
    """Counts how many blocks are being read at a time."""

    reading = most = 0

    async def raw_block(self, number: int) -> bytes | None:
        self.reading += 1
        self.most = max(self.most, self.reading)
        try:
            return await super().raw_block(number)
        finally:
            self.reading -= 1


async def test_large_blocks_are_read_a_few_at_a_time_and_do_not_stop_the_event_loop(
    store: LedgerStore, recorded: list[bytes]
) -> None:
    large = common.Block.FromString(recorded[1])
    large.data.data[:] = [os.urandom(1 << 20) * 48]
    large.header.data_hash = sha256(large.data.data[0]).digest()
    large.metadata.metadata[common.TRANSACTIONS_FILTER] = bytes(1)
    data = large.SerializeToString()
    archive = CountingArchive(store.database)
    await archive.append(compressed([data]))
    blocks, turns = CheckedRawBlocks(), 0
    reading = asyncio.gather(*(blocks.read(archive, read_identity(data, "")) for _ in range(5)))
    while not reading.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert all(each.data == data for each in await reading)
    assert archive.most == 2
    assert turns > 20, "hashing and decompressing 240 MB on the event loop takes few turns"
