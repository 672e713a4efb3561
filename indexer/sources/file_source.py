"""Blocks from folders and archives of `*.block` files, each a serialized `common.Block`."""

import asyncio
import lzma
import tarfile
import tempfile
import zlib
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path
from typing import Final

from indexer.sources.block_source import DeliveredBlock, delivered_block
from ledger.decoding.blocks import read_block
from ledger.decoding.transactions import decode_claimed_ids
from ledger.errors import LedgerError
from ledger.model import VALID

_SUFFIX: Final = ".block"
_READ_AHEAD_BYTES: Final = 4 << 20


class CorruptArchiveError(LedgerError):
    """An archive cannot be read to its end."""

    def __init__(self, path: Path, error: Exception) -> None:
        super().__init__(
            f"{path}: not a whole archive of *.block files: {error}. The blocks that were read "
            "before are stored. Get the archive again and repeat the import; it continues after "
            "these blocks."
        )


class UnreadableFileError(LedgerError):
    """A block file cannot be read."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"{path}: cannot be read: {error.strerror}. The blocks that were read before are "
            "stored. Make the file readable and repeat the import; it continues after these blocks."
        )


class FileSource:
    """Delivers every block in the given paths: folders, tar archives (any compression), files.

    The files may be in any order. The blocks from the start block on are delivered in ascending
    order: a block that is read too early waits on disk. If a block is missing the next higher one
    follows, and the pipeline reports the gap.
    """

    finite = True

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self.name = ", ".join(str(path) for path in paths)
        self.size = sum(path.stat().st_size for top in paths for path in _block_files(top))
        """The total size of the files, in bytes; compressed bytes for archives."""
        self.read_bytes = 0
        """The part of `size` that has been read."""

    def channel(self) -> str | None:
        """Return the channel of the blocks, from the first VALID transaction that names it.

        Return None if no transaction does. Raises `LedgerError` as `blocks` does.
        """
        for origin, _, data in self._contents():
            undecoded = read_block(data, f"bytes from {origin}")
            for envelope, code in zip(undecoded.envelopes, undecoded.codes, strict=True):
                claimed = decode_claimed_ids(envelope)
                if code == VALID and claimed.channel_id:
                    self.read_bytes = 0
                    return claimed.channel_id
        return None

    async def newest(self) -> None:
        """Return None: the highest block is not known before all files are read."""

    async def blocks(
        self,
        start: int,
        tip: int | None,  # noqa: ARG002 - files are read from their beginning in any case
    ) -> AsyncGenerator[DeliveredBlock, None]:
        """Yield every block of the files; those from `start` on in ascending order.

        Raises `LedgerError` for a file or an archive that cannot be read, and for a corrupt block.
        """
        with tempfile.TemporaryDirectory(prefix="kindledger-") as folder:
            ordered = self._ordered(start, Path(folder))
            while True:
                chunk, error = await asyncio.to_thread(_read_chunk, ordered, _READ_AHEAD_BYTES)
                for delivered in chunk:
                    yield delivered
                if error is not None:
                    raise error
                if not chunk:
                    return

    def _ordered(self, next_number: int, folder: Path) -> Iterator[DeliveredBlock]:
        """Yield the blocks from `next_number` on in order; keep early blocks in the folder."""
        early: dict[int, list[Path]] = defaultdict(list)
        for origin, path, data in self._contents():
            delivered = delivered_block(data, origin)
            number = delivered.number
            if number > next_number:
                early[number].append(path or _write_temporary_file(folder, data))
                continue
            yield delivered
            next_number += number == next_number
            while next_number in early:
                yield from map(_read_block_file, early.pop(next_number))
                next_number += 1
        for number in sorted(early):
            yield from map(_read_block_file, early[number])

    def _contents(self) -> Iterator[tuple[str, Path | None, bytes]]:
        """Yield each block's origin for messages, its file if it has one, and its bytes."""
        for top in self._paths:
            for path in _block_files(top):
                if path.suffix == _SUFFIX:
                    data = _read_file(path)
                    self.read_bytes += len(data)
                    yield str(path), path, data
                else:
                    yield from self._archive_contents(path)

    def _archive_contents(self, path: Path) -> Iterator[tuple[str, None, bytes]]:
        read_before = self.read_bytes
        try:
            with path.open("rb") as file, tarfile.open(fileobj=file, mode="r|*") as archive:
                for member in archive:
                    content = archive.extractfile(member) if member.name.endswith(_SUFFIX) else None
                    self.read_bytes = read_before + file.tell()
                    if content is not None:
                        yield f"{path}:{member.name}", None, content.read()
        except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, OSError) as error:
            raise CorruptArchiveError(path, error) from error


def _block_files(top: Path) -> list[Path]:
    """Return the block files and archives in a folder by number or name, or the file itself."""
    if not top.is_dir():
        return [top]
    files = [
        path
        for path in top.rglob("*")
        if path.is_file() and (path.suffix == _SUFFIX or ".tar" in path.suffixes)
    ]
    return sorted(
        files,
        key=lambda path: (path.parent, int(path.stem) if path.stem.isdecimal() else -1, path.name),
    )


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableFileError(path, error) from error


def _write_temporary_file(folder: Path, data: bytes) -> Path:
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        file.write(data)
    return Path(file.name)


def _read_block_file(path: Path) -> DeliveredBlock:
    return delivered_block(_read_file(path), str(path))


def _read_chunk(
    blocks: Iterator[DeliveredBlock], limit: int
) -> tuple[list[DeliveredBlock], LedgerError | None]:
    """Return the next blocks, up to `limit` bytes, and the error that ended reading, if any.

    Without an error, the list is empty only at the end.
    """
    chunk: list[DeliveredBlock] = []
    size = 0
    try:
        for delivered in blocks:
            chunk.append(delivered)
            size += delivered.size
            if size >= limit:
                break
    except LedgerError as error:
        return chunk, error
    return chunk, None
