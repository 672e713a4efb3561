"""Blocks from folders and archives of `*.block` files, one serialized `common.Block` each."""

import asyncio
import lzma
import tarfile
import tempfile
import zlib
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path

from indexer.block_source import DeliveredBlock, parse_delivered
from ledger.decoding.blocks import check_block
from ledger.decoding.transactions import decode_claimed_ids
from ledger.errors import LedgerError
from ledger.model import VALID

_SUFFIX = ".block"
_READ_AHEAD_BYTES = 4 << 20


class CorruptArchiveError(LedgerError):
    """An archive that cannot be read to its end."""

    def __init__(self, path: Path, error: Exception) -> None:
        super().__init__(
            f"{path}: not a whole archive of *.block files: {error}. The blocks that were read before are stored; get "
            "the archive again and repeat the import, it goes on from there."
        )


class UnreadableFileError(LedgerError):
    """A block file that the system does not let us read."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"{path}: cannot be read: {error.strerror}. The blocks that were read before are stored; make it readable "
            "and repeat the import, it goes on from there."
        )


class FileSource:
    """Delivers every block below the given paths: folders, tar archives (any compression) and single files.

    Whatever the order of the files, the blocks that are wanted come in ascending order: one that comes too early waits
    on disk. If one is missing the next higher follows, and the pipeline says that there is a gap.
    """

    finite = True

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self.name = ", ".join(str(path) for path in paths)
        self.size = sum(path.stat().st_size for top in paths for path in _files(top))
        self.read_bytes = 0
        """How far reading has come, of `size` bytes (compressed ones, of archives)."""

    def channel(self) -> str | None:
        """The channel that the blocks belong to, from the first that names one; None if none does.

        Raises `LedgerError` as reading the blocks does.
        """
        for origin, _, data in self._contents():
            frame = check_block(parse_delivered(data, origin).block)
            for index, code in enumerate(frame.codes):
                claim = decode_claimed_ids(frame.envelopes[index])
                if code == VALID and claim.channel_id:
                    self.read_bytes = 0
                    return claim.channel_id
        return None

    async def newest(self) -> None:
        """Files do not tell before they are read."""

    async def blocks(self, start: int, tip: int | None) -> AsyncGenerator[DeliveredBlock, None]:  # noqa: ARG002 - files know no tip
        """Every block of the files; those from `start` on in ascending order."""
        with tempfile.TemporaryDirectory(prefix="kindledger-") as folder:
            ordered = self._ordered(start, Path(folder))
            while True:
                chunk, failure = await asyncio.to_thread(_take, ordered, _READ_AHEAD_BYTES)
                for delivered in chunk:
                    yield delivered
                if failure is not None:
                    raise failure
                if not chunk:
                    return

    def _ordered(self, wanted: int, folder: Path) -> Iterator[DeliveredBlock]:
        early: dict[int, list[Path]] = defaultdict(list)
        for origin, path, data in self._contents():
            delivered = parse_delivered(data, origin)
            number = delivered.block.header.number
            if number > wanted:
                early[number].append(path or _spool(folder, data))
                continue
            yield delivered
            wanted += number == wanted
            while wanted in early:
                yield from map(_load, early.pop(wanted))
                wanted += 1
        for number in sorted(early):
            yield from map(_load, early[number])

    def _contents(self) -> Iterator[tuple[str, Path | None, bytes]]:
        for top in self._paths:
            for path in _files(top):
                if path.suffix == _SUFFIX:
                    data = _read(path)
                    self.read_bytes += len(data)
                    yield str(path), path, data
                else:
                    yield from self._archived(path)

    def _archived(self, path: Path) -> Iterator[tuple[str, None, bytes]]:
        before = self.read_bytes
        try:
            with path.open("rb") as file, tarfile.open(fileobj=file, mode="r|*") as archive:
                for member in archive:
                    content = archive.extractfile(member) if member.name.endswith(_SUFFIX) else None
                    self.read_bytes = before + file.tell()
                    if content is not None:
                        yield f"{path}:{member.name}", None, content.read()
        except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, OSError) as error:
            raise CorruptArchiveError(path, error) from error


def _files(top: Path) -> list[Path]:
    """Block files and archives below a folder in natural order, or the file itself."""
    if not top.is_dir():
        return [top]
    found = [
        path
        for path in top.rglob("*")
        if path.is_file() and (path.suffix == _SUFFIX or ".tar" in path.suffixes)
    ]
    return sorted(
        found,
        key=lambda path: (path.parent, int(path.stem) if path.stem.isdecimal() else -1, path.name),
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableFileError(path, error) from error


def _spool(folder: Path, data: bytes) -> Path:
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        file.write(data)
    return Path(file.name)


def _load(path: Path) -> DeliveredBlock:
    return parse_delivered(_read(path), str(path))


def _take(
    blocks: Iterator[DeliveredBlock], limit: int
) -> tuple[list[DeliveredBlock], LedgerError | None]:
    """The next blocks, until they have `limit` bytes or reading fails; none at the end."""
    taken: list[DeliveredBlock] = []
    size = 0
    try:
        for delivered in blocks:
            taken.append(delivered)
            size += delivered.size
            if size >= limit:
                break
    except LedgerError as error:
        return taken, error
    return taken, None
