"""Raw blocks come out of an archive as they went in, in MongoDB and in a folder."""

import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from ledger.archive.folder_archive import FolderRawBlocks
from ledger.archive.frames import BlockCompressor, FrameError, decompress
from ledger.decoding.block_identities import read_identity
from ledger.errors import ArchiveUnavailableError, DamagedRawBlockError, StoreConflictError
from ledger.mongodb.collections import RAW_BLOCKS
from ledger.mongodb.raw_block_archive import MongoArchive
from ledger.mongodb.store import LedgerStore
from ledger.position import pack_position
from ledger.raw_blocks import RawBlockArchive, check_raw_block
from runtime.zstd import zstd
from tests.ledger.archives import (
    compressed,
    folder_archive,
    kept,
    with_other_codes,
    with_other_signatures,
)
from tests.ledger.recorded import NAMES, Name, recorded

RAFT = recorded("raft-2.5").blocks
SMALL_PART = 4_000
"""A size of parts with which many recorded blocks have several."""


@pytest.fixture(params=["mongodb", "folder", "mongodb, in parts"])
async def archive(
    request: pytest.FixtureRequest, store: LedgerStore, tmp_path: Path
) -> AsyncIterator[RawBlockArchive]:
    """An empty archive."""
    async with AsyncExitStack() as stack:
        if request.param == "folder":
            yield await stack.enter_async_context(folder_archive(tmp_path / "archive"))
        elif request.param == "mongodb":
            yield MongoArchive(store.database)
        else:
            yield MongoArchive(store.database, SMALL_PART)


@pytest.mark.parametrize("name", NAMES)
async def test_every_recorded_block_comes_out_byte_for_byte(
    archive: RawBlockArchive, name: Name
) -> None:
    blocks = recorded(name).blocks
    assert await archive.kept_range() is None
    assert await archive.raw_block(0) is None
    for start in range(0, len(blocks), 9):
        await archive.append(compressed(blocks[start : start + 9]))
    assert [await archive.raw_block(number) for number in range(len(blocks))] == list(blocks)
    assert await archive.raw_block(len(blocks)) is None
    assert await kept(archive) == dict(enumerate(blocks))
    numbers = [each.number async for each in archive.kept_blocks(3, 6)]
    assert numbers == [3, 4, 5, 6]
    found = await archive.kept_range()
    assert found is not None
    assert (found.first, found.last) == (0, len(blocks) - 1)
    smallest = sum(len(block.frame) for block in compressed(blocks))
    assert found.bytes is not None
    assert smallest < found.bytes < smallest * 1.5


async def test_a_block_that_is_kept_stays_as_it_is(archive: RawBlockArchive) -> None:
    """Another peer may have other signatures of it. Another block is refused."""
    await archive.append(compressed(RAFT[:12]))
    await archive.append(compressed([*map(with_other_signatures, RAFT[5:12]), *RAFT[12:20]]))
    assert await kept(archive) == dict(enumerate(RAFT[:20]))
    with pytest.raises(StoreConflictError, match="validation code of transaction 0"):
        await archive.append(compressed([with_other_codes(RAFT[8])]))
    assert await archive.raw_block(8) == RAFT[8]


async def test_blocks_are_replaced_and_removed(archive: RawBlockArchive) -> None:
    await archive.append(compressed(RAFT[4:20]))
    other = with_other_codes(RAFT[8])
    await archive.replace(compressed([RAFT[2], other]))
    assert await archive.raw_block(8) == other
    assert await archive.raw_block(3) is None
    await archive.remove_from(10)
    assert list(await kept(archive)) == [2, *range(4, 10)]
    found = await archive.kept_range()
    assert found is not None
    assert (found.first, found.last) == (2, 9)
    await archive.append(compressed(RAFT[10:12]))
    assert list(await kept(archive)) == [2, *range(4, 12)]


async def test_a_repeated_removal_leaves_nothing(archive: RawBlockArchive) -> None:
    await archive.append(compressed(RAFT[:3]))
    for _ in range(2):
        await archive.remove_from(0)
        assert await archive.kept_range() is None


async def test_altered_parts_in_mongodb_are_damage(store: LedgerStore) -> None:
    """They are never taken for a block, and a reader of other blocks is not affected."""
    archive = MongoArchive(store.database, SMALL_PART)
    frames = compressed(RAFT)
    await archive.append(frames)
    raw_blocks = store.database[RAW_BLOCKS]
    large = max(frames, key=lambda block: len(block.frame)).number
    second = pack_position(large, 1)
    before = await raw_blocks.find_one({"_id": second})
    assert before is not None
    changes: list[dict[str, Any]] = [
        {"data": before["data"][:-1] + b"?"},
        {"data": "text"},
        {"parts": [2]},
        {"sha256": {"a": 1}},
    ]
    for change in changes:
        await raw_blocks.update_one({"_id": second}, {"$set": change})
        with pytest.raises(DamagedRawBlockError, match=f"raw block {large}: .*raw_blocks"):
            await archive.raw_block(large)
        assert [n for n, what in (await kept(archive)).items() if what != RAFT[n]] == [large]
        with pytest.raises(StoreConflictError):
            await archive.append(compressed([with_other_signatures(RAFT[large])]))
        await raw_blocks.replace_one({"_id": second}, before)
    await raw_blocks.delete_one({"_id": second})
    with pytest.raises(DamagedRawBlockError, match="part of it is missing"):
        await archive.raw_block(large)
    await archive.append(compressed([RAFT[large]]))
    assert await archive.raw_block(large) == RAFT[large], "the same block completes it"


async def test_a_full_volume_is_no_loss(tmp_path: Path) -> None:
    """Nothing is appended, the error names the file, and the call can be repeated."""
    async with folder_archive(tmp_path, 1 << 20) as archive:
        await archive.append(compressed(RAFT[:10]))
        size = (tmp_path / "000001.blocks").stat().st_size
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10_000, before[1]))
        try:
            with pytest.raises(ArchiveUnavailableError, match="cannot be used"):
                await archive.append(compressed(RAFT[10:60]))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert (tmp_path / "000001.blocks").stat().st_size == size
        assert await kept(archive) == dict(enumerate(RAFT[:10]))
        await archive.append(compressed(RAFT[10:60]))
        assert await kept(archive) == dict(enumerate(RAFT[:60]))


async def test_a_folder_that_cannot_be_read_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("a file where the folder of the archive should be")
    with pytest.raises(ArchiveUnavailableError, match="Not a directory"):
        await FolderRawBlocks(tmp_path / "archive", "kindledger").raw_block(0)


def test_a_raw_block_is_compared_with_the_stored_one() -> None:
    data = RAFT[7]
    identity = read_identity(data, "test")
    assert check_raw_block(data, identity, "here").number == 7
    assert check_raw_block(with_other_signatures(data), identity, "here").hash.hex()
    for other in (with_other_codes(data), RAFT[8]):
        with pytest.raises(DamagedRawBlockError, match="here: another block") as caught:
            check_raw_block(other, identity, "here")
        assert caught.value.is_other_block
    envelope = data.index(b"\x0a", 100)
    for broken in (data[:-5], b"", data[:envelope] + b"\x0b" + data[envelope + 1 :]):
        with pytest.raises(DamagedRawBlockError):
            check_raw_block(broken, identity, "here")


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"not a frame",
        zstd.compress(RAFT[0])[:-3],
        zstd.compress(RAFT[0]) + b"more",
        zstd.compress(RAFT[0]) + zstd.compress(RAFT[1]),
        zstd.compress(bytes(1 << 20), options={zstd.CompressionParameter.content_size_flag: 0}),
        # A header that states 2^40 bytes, and a block of one repeated byte.
        bytes.fromhex("28b52ffde0") + (1 << 40).to_bytes(8, "little") + bytes.fromhex("03000041"),
    ],
    ids=["empty", "text", "cut off", "bytes after it", "two", "without size", "a huge size"],
)
def test_only_one_whole_frame_of_bounded_size_is_decompressed(frame: bytes) -> None:
    with pytest.raises(FrameError):
        decompress(frame)


def test_a_frame_is_a_tenth_of_a_block_of_transactions() -> None:
    data = max(RAFT, key=len)
    frame = BlockCompressor().compress(memoryview(data))
    assert decompress(frame) == data
    assert len(frame) * 5 < len(data)
