"""Blocks from files: `*.block` files, tar archives, and a peer's own ledger files.

A `*.block` file is one serialized `common.Block`, a ledger file (`blockfile_NNNNNN`) has many.
"""

import asyncio
import lzma
import tarfile
import tempfile
import zlib
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Final

from msgspec import Struct

from indexer.sources.block_source import DeliveredBlock, delivered_block
from indexer.sources.ledger_files import LedgerFiles, SeveralLedgersError, ledger_file_number
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
            f"{path}: not a whole archive of block files: {error}. The blocks that were read "
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


class _Content(Struct, frozen=True):
    """A serialized block: where it is for messages, and the file that has nothing but this block.

    `is_ascending` says that nothing is read afterwards that has a lower block.
    """

    origin: str
    data: bytes
    path: Path | None = None
    is_ascending: bool = False


class FileSource:
    """Delivers every block in the given paths: folders, files, tar archives (any compression).

    The files may be in any order. The blocks from the start block on are delivered in ascending
    order: a block that is read too early waits on disk. If a block is missing the next higher one
    follows, and the pipeline reports the gap. Ledger files are read last, those of a folder in the
    order of their numbers. Raises `SeveralLedgersError` for ledger files of several channels.
    """

    finite, seeks = True, False

    def __init__(self, paths: Sequence[Path]) -> None:
        self.name = ", ".join(str(path) for path in paths)
        found = [path for top in paths for path in _block_files(top)]
        self._files = [path for path in found if not _is_ledger_file(path.name)]
        self._ledgers = _ledger_folders(found)
        paths = [*self._files, *(path for files in self._ledgers for path in files.values())]
        self._sizes = {path: path.stat().st_size for path in paths}
        self.size = sum(self._sizes[path] for path in paths)
        """The total size of the files, in bytes; compressed bytes for archives."""
        self.read_bytes = 0
        """The part of `size` that has been read."""
        self.notices: list[str] = []
        """What the user must know after the blocks were read, though it is no error."""

    def channel(self) -> str | None:
        """Return the channel of the blocks, from the first VALID transaction that names it.

        Return None if no transaction does. Raises `LedgerError` as `blocks` does.
        """
        for content in self._contents():
            undecoded = read_block(content.data, f"bytes from {content.origin}")
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
        for content in self._contents():
            delivered = delivered_block(content.data, content.origin)
            number = delivered.number
            if number > next_number and not content.is_ascending:
                early[number].append(content.path or _write_temporary_file(folder, content.data))
                continue
            if number > next_number:
                for lower in sorted(each for each in early if each < number):
                    yield from map(_read_block_file, early.pop(lower))
            yield delivered
            next_number = max(next_number, number + 1)
            while next_number in early:
                yield from map(_read_block_file, early.pop(next_number))
                next_number += 1
        for number in sorted(early):
            yield from map(_read_block_file, early[number])

    def _contents(self) -> Iterator[_Content]:
        """Yield each block of the files."""
        self.read_bytes, self.notices = 0, []
        for path in self._files:
            if path.suffix == _SUFFIX:
                data = _read_file(path)
                self.read_bytes += len(data)
                yield _Content(str(path), data, path)
            else:
                yield from self._archive_contents(path)
        for files in self._ledgers:
            yield from self._ledger_contents(files, is_last=files is self._ledgers[-1])

    def _archive_contents(self, path: Path) -> Iterator[_Content]:
        read_before = self.read_bytes
        ledgers: dict[PurePosixPath, LedgerFiles] = {}
        try:
            with path.open("rb") as file, tarfile.open(fileobj=file, mode="r|*") as archive:
                for member in archive:
                    wanted = _is_ledger_file(member.name) or member.name.endswith(_SUFFIX)
                    content = archive.extractfile(member) if wanted else None
                    self.read_bytes = read_before + file.tell()
                    if content is None:
                        continue
                    for each in _member_contents(path, member.name, content, ledgers):
                        self.read_bytes = read_before + file.tell()
                        yield each
        except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, OSError) as error:
            raise CorruptArchiveError(path, error) from error
        self.notices += [each.notice for each in ledgers.values() if each.notice is not None]

    def _ledger_contents(self, files: dict[int, Path], *, is_last: bool) -> Iterator[_Content]:
        """Yield the blocks of the ledger files of one folder, by number."""
        ledger = LedgerFiles(last=max(files))
        for number, path in files.items():
            read_before = self.read_bytes
            try:
                with path.open("rb") as file:
                    for record in ledger.read(str(path), number, file):
                        # The peer may have appended to the file since its size was read.
                        self.read_bytes = read_before + min(record.end, self._sizes[path])
                        origin = f"{path} at byte {record.offset}"
                        yield _Content(origin, record.block, is_ascending=is_last)
            except OSError as error:
                raise UnreadableFileError(path, error) from error
            self.read_bytes = read_before + self._sizes[path]
        if ledger.notice is not None:
            self.notices.append(ledger.notice)


def _member_contents(
    archive: Path, name: str, file: IO[bytes], ledgers: dict[PurePosixPath, LedgerFiles]
) -> Iterator[_Content]:
    """Yield the blocks in a member of an archive.

    `ledgers` are the folders of ledger files that the archive had up to here.
    """
    origin = f"{archive}:{name}"
    path = PurePosixPath(name)
    number = ledger_file_number(path.name)
    if number is None:
        yield _Content(origin, file.read())
        return
    ledger = ledgers.setdefault(path.parent, LedgerFiles())
    if len(ledgers) > 1:
        raise SeveralLedgersError(str(archive), map(str, ledgers))
    for record in ledger.read(origin, number, file):
        yield _Content(f"{origin} at byte {record.offset}", record.block)


def _block_files(top: Path) -> list[Path]:
    """Return the block files and archives in a folder by number or name, or the file itself.

    Raises `SeveralLedgersError` if several folders in it have ledger files.
    """
    if not top.is_dir():
        return [top]
    files = [path for path in top.rglob("*") if _may_have_blocks(path) and path.is_file()]
    ledgers = {path.parent for path in files if _is_ledger_file(path.name)}
    if len(ledgers) > 1:
        raise SeveralLedgersError(str(top), map(str, ledgers))
    return sorted(
        files,
        key=lambda path: (path.parent, int(path.stem) if path.stem.isdecimal() else -1, path.name),
    )


def _may_have_blocks(path: Path) -> bool:
    return path.suffix == _SUFFIX or ".tar" in path.suffixes or _is_ledger_file(path.name)


def _is_ledger_file(path: str) -> bool:
    return ledger_file_number(PurePosixPath(path).name) is not None


def _ledger_folders(paths: Sequence[Path]) -> list[dict[int, Path]]:
    """Return the ledger files among the paths by number, for each folder."""
    folders: dict[Path, dict[int, Path]] = defaultdict(dict)
    for path in paths:
        number = ledger_file_number(path.name)
        if number is not None:
            folders[path.parent][number] = path
    return [dict(sorted(files.items())) for files in folders.values()]


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
