"""Finds the records in a file of an archive."""

import os
from collections.abc import Iterator
from typing import Final

from ledger.archive.records import HEADER_BYTES, MAGIC, RecordHeader, read_header

_SEARCH_BYTES: Final = 1 << 20


def scan(descriptor: int, start: int, size: int, key: bytes) -> Iterator[tuple[int, RecordHeader]]:
    """Yield the offset and the header of each record between the offsets `start` and `size`.

    Payloads are not read. Where no record begins, because the bytes were damaged, the next record
    is searched for. A record that reaches beyond `size` is left out: it is being written, or was.
    """
    offset: int | None = start
    while offset is not None:
        header = _header_at(descriptor, offset, size, key)
        if header is None:
            offset = _next_record(descriptor, offset + 1, size, key)
        else:
            yield offset, header
            offset += header.record_size


def _header_at(descriptor: int, offset: int, size: int, key: bytes) -> RecordHeader | None:
    header = read_header(os.pread(descriptor, HEADER_BYTES, offset), key)
    if header is None or offset + header.record_size > size:
        return None
    return header


def _next_record(descriptor: int, start: int, size: int, key: bytes) -> int | None:
    """Return the offset of the first record from `start` on, or None."""
    while start + HEADER_BYTES <= size:
        chunk = os.pread(descriptor, min(_SEARCH_BYTES, size - start), start)
        found = chunk.find(MAGIC)
        while found >= 0:
            if _header_at(descriptor, start + found, size, key) is not None:
                return start + found
            found = chunk.find(MAGIC, found + 1)
        start += max(len(chunk) - len(MAGIC) + 1, 1)
    return None
