"""Archives of raw blocks in both places, for tests."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from ledger.archive.folder_archive import FolderArchive, FolderRawBlocks
from ledger.archive.frames import BlockCompressor
from ledger.decoding.block_identities import read_identity
from ledger.position import MAX_BLOCK_NUMBER
from ledger.raw_blocks import CompressedBlock, RawBlocks
from protos.common_pb2 import TRANSACTIONS_FILTER, Block

CHANNEL = "kindledger"
SMALL_SEGMENT = 40_000
"""A size of files with which a short ledger has several."""


def compressed(blocks: Iterable[bytes]) -> list[CompressedBlock]:
    """Return the blocks as archives take them."""
    compressor = BlockCompressor()
    return [
        CompressedBlock(read_identity(data, "test").number, compressor.compress(data))
        for data in blocks
    ]


@asynccontextmanager
async def folder_archive(
    path: Path, segment_bytes: int = SMALL_SEGMENT, channel: str = CHANNEL
) -> AsyncIterator[FolderArchive]:
    """Yield the archive in a folder, which is open while the context lasts."""
    archive = FolderArchive(path, channel, segment_bytes)
    await archive.open()
    try:
        yield archive
    finally:
        await archive.close()


async def write_archive(path: Path, blocks: Sequence[bytes], together: int = 7) -> None:
    """Write an archive of several files, some blocks together in each call."""
    async with folder_archive(path) as archive:
        for start in range(0, len(blocks), together):
            await archive.append(compressed(blocks[start : start + together]))


def segments(folder: Path) -> list[Path]:
    """Return the files with blocks, in order."""
    return sorted(folder.glob("*.blocks"))


async def kept(archive: RawBlocks) -> dict[int, bytes | str]:
    """Return what is kept: the bytes of each block, or what is wrong with it."""
    found: dict[int, bytes | str] = {}
    async for block in archive.kept_blocks(0, MAX_BLOCK_NUMBER):
        found[block.number] = block.damage or block.block_bytes()
    return found


async def read_again(path: Path, channel: str = CHANNEL) -> dict[int, bytes | str]:
    """Return what a process that has just started finds in a folder."""
    return await kept(FolderRawBlocks(path, channel))


def with_other_codes(data: bytes) -> bytes:
    """Return the block with another validation code of its first transaction."""
    block = Block.FromString(data)
    codes = block.metadata.metadata[TRANSACTIONS_FILTER]
    block.metadata.metadata[TRANSACTIONS_FILTER] = bytes([codes[0] ^ 11]) + codes[1:]
    return block.SerializeToString()


def with_other_signatures(data: bytes) -> bytes:
    """Return the block as another peer may have it, with the signatures of another quorum."""
    block = Block.FromString(data)
    block.metadata.metadata[0] = b""
    return block.SerializeToString()
