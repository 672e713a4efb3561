"""Reads the files of an archive of raw blocks: `000001.blocks`, `000002.blocks` and so on.

Files are only appended to, and only the last one. A file that is complete has an index beside it,
`000001.index`. An index that is missing, or is not as it was written, is replaced by a scan of the
file. Of several records of one block the last one counts.

Another process may append at the same time: what is new is found by `refresh`.
"""

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ledger.archive.records import (
    ARCHIVE_FORMAT,
    HEADER_BYTES,
    MAX_DESCRIPTION_BYTES,
    RecordKind,
    SegmentDescription,
    payload_damage,
    read_description,
    read_header,
)
from ledger.archive.segment_index import SUMMARY_BYTES, SegmentIndex, read_index, read_summary
from ledger.archive.segment_scan import scan
from ledger.errors import ForeignArchiveError
from ledger.raw_blocks import KeptBlock, KeptRange

_NAME: Final = re.compile(r"([0-9]{6,})\.blocks", re.ASCII)
_CACHED_INDEXES: Final = 16
"""The number of indexes of complete files in memory; one takes up to a few megabytes."""


class Segment:
    """A file of the archive. The last one grows, and has its whole index in memory."""

    def __init__(self, path: Path, number: int) -> None:
        self.path, self.number = path, number
        self.first: int | None = None
        self.last: int | None = None
        self.removed_from: int | None = None
        self.begin = 0
        """The offset of the first record of a block; 0 if the description is damaged."""
        self.end = 0
        """The offset after the last record that was found."""
        self.growing: SegmentIndex | None = None

    @property
    def index_path(self) -> Path:
        """The path of the index of the complete file."""
        return self.path.with_suffix(".index")

    def note(self, index: SegmentIndex) -> None:
        """Take over the range of the blocks from the index."""
        self.first, self.last, self.removed_from = index.first, index.last, index.removed_from

    def scan(self, key: bytes) -> SegmentIndex:
        """Return the index of the file; a growing one is read from where the last scan ended."""
        index = self.growing
        with opened(self.path) as descriptor:
            size = os.fstat(descriptor).st_size
            if index is None or not self.begin <= self.end <= size:
                index, self.end = SegmentIndex(), self.begin
            for offset, header in scan(descriptor, self.end, size, key):
                self.end = offset + header.record_size
                if header.kind is RecordKind.BLOCK:
                    index.add(header.number, offset)
                elif header.kind is RecordKind.REMOVAL:
                    index.remove_from(header.number)
        self.note(index)
        return index


class SegmentFolder:
    """Finds and reads blocks in the files of one folder. Threads may share it."""

    def __init__(self, path: Path, channel: str) -> None:
        self.path, self._channel = path, channel
        self.lock = threading.RLock()
        self.key: bytes | None = None
        """The key of the archive; None while the folder has no file."""
        self.segments: list[Segment] = []
        """The files, in ascending order."""
        self.highest = -1
        """No block above this one is kept."""
        self._indexes: OrderedDict[int, SegmentIndex] = OrderedDict()

    def refresh(self) -> None:
        """Find new files, and new records in the last one.

        Raises `ForeignArchiveError` for a file of another archive or channel, and `OSError`.
        """
        with self.lock:
            paths = self._paths()
            known = len(self.segments)
            if [each.number for each in self.segments] != [number for number, _ in paths[:known]]:
                self.forget()
                known = 0
            added = [Segment(path, number) for number, path in paths[known:]]
            self._read_descriptions(added)
            self.segments += added
            for segment in self.segments[max(known - 1, 0) :]:
                self._read(segment)
            self.highest = max((each.last or 0 for each in self.segments), default=-1)

    def forget(self) -> None:
        """Forget all files; the next `refresh` reads them again."""
        self.segments, self._indexes = [], OrderedDict()
        self.key, self.highest = None, -1

    def locate(self, number: int) -> tuple[Segment, int] | None:
        """Return the file and the offset of the record of a block, None if it is not kept."""
        if number > self.highest:
            return None
        for segment in reversed(self.segments):
            if segment.first is not None and segment.last is not None:
                found = segment.first <= number <= segment.last
                offset = self.index_of(segment).find(number) if found else None
                if offset is not None:
                    return segment, offset
            if segment.removed_from is not None and segment.removed_from <= number:
                return None
        return None

    def read(self, number: int, *, refresh: bool = True) -> KeptBlock | None:
        """Return what is kept of a block, None if nothing is. Raises `OSError`.

        With `refresh` a block that is not known is looked for in what was added meanwhile. If a
        file does not have a block where it was, all files are looked at again: they may have been
        replaced.
        """
        with self.lock:
            if refresh and self.locate(number) is None:
                self.refresh()
            located = self.locate(number)
            kept = self._read_record(*located, number) if located is not None else None
            if kept is None or kept.damage is None:
                return kept
            self.forget()
            self.refresh()
            located = self.locate(number)
            return self._read_record(*located, number) if located is not None else None

    def kept_range(self) -> KeptRange | None:
        """Return the range of the kept blocks, None if none is kept. Raises `OSError`."""
        with self.lock:
            self.refresh()
            lowest: list[int] = []
            highest: list[int] = []
            limit: int | None = None
            for segment in reversed(self.segments):
                index = self.index_of(segment) if limit is not None else None
                last = segment.last if index is None or limit is None else index.last_below(limit)
                if segment.first is not None and last is not None and segment.first <= last:
                    lowest.append(segment.first)
                    highest.append(last)
                removed = [each for each in (limit, segment.removed_from) if each is not None]
                limit = min(removed, default=None)
            if not lowest:
                return None
            return KeptRange(min(lowest), max(highest), self._size())

    def index_of(self, segment: Segment) -> SegmentIndex:
        """Return the index of a file."""
        if segment.growing is not None:
            return segment.growing
        if segment.number in self._indexes:
            self._indexes.move_to_end(segment.number)
            return self._indexes[segment.number]
        index = self._load(segment)
        self._indexes[segment.number] = index
        if len(self._indexes) > _CACHED_INDEXES:
            self._indexes.popitem(last=False)
        return index

    def _load(self, segment: Segment) -> SegmentIndex:
        key = self.key or b""
        try:
            index = read_index(segment.index_path.read_bytes(), segment.number, key)
        except FileNotFoundError:
            index = None
        if index is None:
            index = segment.scan(key)
            self._write_index(segment, index)
        segment.note(index)
        return index

    def _write_index(self, segment: Segment, index: SegmentIndex) -> None:
        """Replace an index that was missing or wrong; only who writes to the archive can."""

    def _read(self, segment: Segment) -> None:
        """Read the summary of a complete file, or the new records of the last one."""
        key = self.key or b""
        is_last = segment is self.segments[-1]
        summary = None
        try:
            with segment.index_path.open("rb") as file:
                summary = read_summary(file.read(SUMMARY_BYTES), segment.number, key)
        except FileNotFoundError:
            pass
        if summary is not None:
            segment.growing = None
            has_blocks = summary.count > 0
            segment.first = summary.first if has_blocks else None
            segment.last = summary.last if has_blocks else None
            segment.removed_from = summary.removed_from
        elif is_last:
            segment.growing = segment.scan(key)
        else:
            segment.growing = None
            self._indexes.pop(segment.number, None)
            self.index_of(segment)

    def _paths(self) -> list[tuple[int, Path]]:
        try:
            paths = list(self.path.iterdir())
        except FileNotFoundError:
            return []
        matches = [(_NAME.fullmatch(path.name), path) for path in paths]
        return sorted((int(match[1]), path) for match, path in matches if match is not None)

    def _read_descriptions(self, segments: Sequence[Segment]) -> None:
        """Check that all files belong to one archive of the channel; learn its key.

        A file whose description is damaged is accepted if another one has the key: its records are
        known by the key.
        """
        damaged: list[Segment] = []
        for segment in segments:
            with opened(segment.path) as descriptor:
                found = read_description(os.pread(descriptor, MAX_DESCRIPTION_BYTES, 0))
            if found is None:
                damaged.append(segment)
                continue
            description, segment.begin = found
            why = self._why_foreign(segment, description)
            if why is not None:
                raise ForeignArchiveError(str(segment.path), why)
            self.key = bytes.fromhex(description.key)
        if damaged and self.key is None:
            what = "does not begin with the description of an archive: damaged, or another file"
            raise ForeignArchiveError(str(damaged[0].path), what)

    def _why_foreign(self, segment: Segment, description: SegmentDescription) -> str | None:
        if description.format != ARCHIVE_FORMAT:
            return f"format {description.format}, but this program knows format {ARCHIVE_FORMAT}"
        if description.channel != self._channel:
            return f"blocks of channel {description.channel!r}, not of {self._channel!r}"
        if self.key not in (None, bytes.fromhex(description.key)):
            return "a file of another archive of this channel"
        if segment.number != description.segment:
            return f"written as file {description.segment} of the archive, and renamed"
        return None

    def _read_record(self, segment: Segment, offset: int, number: int) -> KeptBlock:
        place = f"{segment.path} at byte {offset:,}"
        try:
            with opened(segment.path) as descriptor:
                rest = os.fstat(descriptor).st_size - offset
                if rest < HEADER_BYTES:
                    return KeptBlock(number, place, damage="truncated: the file ends before it")
                header = read_header(os.pread(descriptor, HEADER_BYTES, offset), self.key or b"")
                if header is None or (header.kind, header.number) != (RecordKind.BLOCK, number):
                    return KeptBlock(number, place, damage="altered: no record of the block")
                size = min(header.size, rest - HEADER_BYTES)
                frame = _pread_all(descriptor, size, offset + HEADER_BYTES)
        except FileNotFoundError:
            return KeptBlock(number, place, damage="the file does not exist any more")
        return KeptBlock(number, place, frame, payload_damage(header, frame))

    def _size(self) -> int:
        return sum(segment.path.stat().st_size for segment in self.segments)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open a file for reading while the context lasts; yield its descriptor."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _pread_all(descriptor: int, size: int, offset: int) -> bytes:
    """Return `size` bytes from `offset` on; fewer at the end of the file."""
    parts: list[bytes] = []
    while size > 0:
        part = os.pread(descriptor, size, offset)
        if not part:
            break
        parts.append(part)
        size, offset = size - len(part), offset + len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
