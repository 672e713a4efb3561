"""Appends to the files of an archive of raw blocks; one process at a time does."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from ledger.archive.records import (
    ARCHIVE_FORMAT,
    KEY_BYTES,
    RecordKind,
    SegmentDescription,
    encode_description,
    encode_record,
)
from ledger.archive.segment_folder import Segment, SegmentFolder
from ledger.archive.segment_index import SegmentIndex
from ledger.errors import ArchiveInUseError
from ledger.raw_blocks import CompressedBlock
from runtime.durable_files import make_folder, write_at, write_durably
from runtime.file_lock import FileLockedError, lock_file

SEGMENT_BYTES: Final = 256 << 20
"""A file that has so many bytes is complete, and the next one begins."""


class SegmentWriter(SegmentFolder):
    """Reads and appends. `open` must be called first. Threads may share it."""

    def __init__(self, path: Path, channel: str, segment_bytes: int = SEGMENT_BYTES) -> None:
        super().__init__(path, channel)
        self._segment_bytes = segment_bytes
        self._lock_descriptor: int | None = None

    def open(self) -> int:
        """Lock the folder, which is created if needed, and look through its files.

        The rest of a record that was being written when the process or the system crashed is cut
        off; no block with it is committed. Return the number of its bytes. Raises
        `ArchiveInUseError`, `ForeignArchiveError`, and `OSError`.
        """
        make_folder(self.path)
        try:
            self._lock_descriptor = lock_file(self.path / "lock")
        except FileLockedError as error:
            raise ArchiveInUseError(
                f"{self.path}: process {error.owner} writes to this archive of raw blocks, and "
                "only one process may. Stop it, or give each its own archive.folder."
            ) from error
        try:
            self.refresh()
            return self._cut_off_torn_record()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Unlock the folder, when the present call has ended."""
        with self.lock:
            if self._lock_descriptor is not None:
                os.close(self._lock_descriptor)
                self._lock_descriptor = None

    def append(self, blocks: Sequence[CompressedBlock]) -> None:
        """Append blocks; they are durable when this returns.

        Raises `OSError`; then nothing was appended, and the call can be repeated.
        """
        self._append([(RecordKind.BLOCK, each.number, each.frame) for each in blocks])

    def append_removal(self, number: int) -> None:
        """Declare void what stands in the files of the block with this number and higher ones."""
        self._append([(RecordKind.REMOVAL, number, b"")])

    def _append(self, records: Sequence[tuple[RecordKind, int, bytes]]) -> None:
        with self.lock:
            segment = self._growing_segment()
            index, key = segment.growing, self.key
            if index is None or key is None:
                raise AssertionError("the last file of an open archive grows")
            encoded = [encode_record(kind, number, data, key) for kind, number, data in records]
            _append_durably(segment.path, b"".join(encoded), segment.end)
            for (kind, number, _), record in zip(records, encoded, strict=True):
                if kind is RecordKind.BLOCK:
                    index.add(number, segment.end)
                else:
                    index.remove_from(number)
                segment.end += len(record)
            segment.note(index)
            self.highest = max([self.highest, *(number for _, number, _ in records)])
            if segment.end >= self._segment_bytes:
                self._complete(segment, index)

    def _growing_segment(self) -> Segment:
        """Return the last file, or a new one if the last one is complete."""
        if self.segments and self.segments[-1].growing is not None:
            return self.segments[-1]
        number = self.segments[-1].number + 1 if self.segments else 1
        key = self.key or os.urandom(KEY_BYTES)
        description = SegmentDescription(ARCHIVE_FORMAT, self._channel, key.hex(), number)
        path = self.path / f"{number:06}.blocks"
        write_durably(path, encode_description(description))
        self.refresh()
        return self.segments[-1]

    def _cut_off_torn_record(self) -> int:
        """Cut off what follows the last record; complete a last file that is damaged."""
        last = self.segments[-1] if self.segments else None
        if last is None or last.growing is None:
            return 0
        if last.end == 0:
            self._complete(last, last.growing)
            return 0
        torn = last.path.stat().st_size - last.end
        if torn:
            os.truncate(last.path, last.end)
        return torn

    def _complete(self, segment: Segment, index: SegmentIndex) -> None:
        self._write_index(segment, index)
        segment.growing = None

    def _write_index(self, segment: Segment, index: SegmentIndex) -> None:
        if self._lock_descriptor is not None and self.key is not None:
            write_durably(segment.index_path, index.encode(segment.number, self.key))


def _append_durably(path: Path, data: bytes, offset: int) -> None:
    """Write at the end of a file, which is at `offset`; leave it as it was if this fails."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        write_at(descriptor, data, offset)
        os.fdatasync(descriptor)
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, offset)
        raise
    finally:
        os.close(descriptor)
