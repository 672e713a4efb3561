"""An archive of raw blocks in a folder, whose files are read and written in threads."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from ledger.archive.segment_folder import SegmentFolder
from ledger.archive.segment_writer import SEGMENT_BYTES, SegmentWriter
from ledger.errors import ArchiveUnavailableError, DamagedRawBlockError
from ledger.raw_blocks import CompressedBlock, KeptBlock, KeptRange, check_same_block

_READ_BYTES: Final = 4 << 20
"""The size of the frames that are read together."""
T = TypeVar("T")


class FolderRawBlocks:
    """Reads the archive of one channel in a folder, also while another process appends to it."""

    def __init__(self, path: Path, channel: str) -> None:
        self._files = SegmentFolder(path, channel)
        self.name = str(path)

    async def raw_block(self, number: int) -> bytes | None:
        """Return the serialized block with this number, or None if it is not kept."""
        kept = await self._in_thread(lambda: self._files.read(number))
        return await asyncio.to_thread(kept.block_bytes) if kept is not None else None

    async def kept_range(self) -> KeptRange | None:
        """Return the range of the kept blocks, or None if none is kept."""
        return await self._in_thread(self._files.kept_range)

    async def kept_blocks(self, first: int, last: int) -> AsyncGenerator[KeptBlock, None]:
        """Yield what is kept of the blocks from `first` to `last`, in ascending order."""
        kept = await self.kept_range()
        if kept is None:
            return
        number, last = max(first, kept.first), min(last, kept.last)
        while number <= last:
            read = partial(_read_chunk, self._files, number, last)
            chunk, number = await self._in_thread(read)
            for each in chunk:
                yield each

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ArchiveUnavailableError(
                f"{error.filename or self.name}: {reason}. The archive of raw blocks cannot be "
                "used; check archive.folder, its volume and the rights of this user."
            ) from error


class FolderArchive(FolderRawBlocks):
    """Reads and writes the archive of one channel in a folder; `open` must be called first."""

    def __init__(self, path: Path, channel: str, segment_bytes: int = SEGMENT_BYTES) -> None:
        super().__init__(path, channel)
        self._files = self._writer = SegmentWriter(path, channel, segment_bytes)

    async def open(self) -> int:
        """Lock the archive; see `SegmentWriter.open`. Return the size of a torn record."""
        return await self._in_thread(self._writer.open)

    async def close(self) -> None:
        """Unlock the archive, when the present call has ended."""
        await asyncio.to_thread(self._writer.close)

    async def append(self, blocks: Sequence[CompressedBlock]) -> None:
        """Keep blocks that are not committed yet; see `RawBlockArchive`."""
        await self._in_thread(lambda: self._append(blocks))

    async def replace(self, blocks: Sequence[CompressedBlock]) -> None:
        """Keep these blocks instead of what is kept of their numbers, if anything is."""
        await self._in_thread(lambda: self._writer.append(blocks))

    async def remove_from(self, number: int) -> None:
        """Remove the block with this number and all higher ones."""
        await self._in_thread(lambda: self._writer.append_removal(number))

    def _append(self, blocks: Sequence[CompressedBlock]) -> None:
        """Append the blocks that are not kept, or are damaged: no committed block is among them."""
        with self._writer.lock:
            new = [block for block in blocks if not self._keeps(block)]
            if new:
                self._writer.append(new)

    def _keeps(self, block: CompressedBlock) -> bool:
        if self._writer.locate(block.number) is None:
            return False
        kept = self._writer.read(block.number)
        try:
            return kept is not None and check_same_block(kept, block)
        except DamagedRawBlockError:
            return False


def _read_chunk(files: SegmentFolder, number: int, last: int) -> tuple[list[KeptBlock], int]:
    """Return the next kept blocks, and the number of the block after them."""
    chunk: list[KeptBlock] = []
    size = 0
    while number <= last and size < _READ_BYTES:
        kept = files.read(number, refresh=False)
        if kept is not None:
            chunk.append(kept)
            size += len(kept.frame) + 1000
        number += 1
    return chunk, number
