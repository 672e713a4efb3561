"""Where the blocks of one file of an archive lie, in memory and as a file beside it."""

import struct
import sys
from array import array
from bisect import bisect_left
from hashlib import sha256
from typing import Final

from msgspec import Struct

_MAGIC: Final = b"KLai\x01"
_SUMMARY: Final = struct.Struct(">5sQQQQQ32s")
_CHECK_BYTES: Final = 32
SUMMARY_BYTES: Final = _SUMMARY.size + _CHECK_BYTES
_NONE: Final = (1 << 64) - 1


class SegmentSummary(Struct, frozen=True):
    """What an index says in short: its file's number, and the range of `count` blocks.

    `removed_from` is the lowest block that the file declares void in itself and in the files before
    it, None if there is none. `entries_hash` is the SHA-256 of the entries.
    """

    segment: int
    count: int
    first: int
    last: int
    removed_from: int | None
    entries_hash: bytes


class SegmentIndex:
    """The positions of blocks in one file, by number. The last record of a number counts."""

    def __init__(self, numbers: bytes = b"", offsets: bytes = b"") -> None:
        """Begin with these numbers, which are sorted, and offsets, as `encode` writes them."""
        self._numbers, self._offsets = _array_of(numbers), _array_of(offsets)
        self.removed_from: int | None = None
        """The lowest block that the file declares void, in itself and in the files before it."""

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def first(self) -> int | None:
        """The lowest block, None if there is none."""
        return self._numbers[0] if self._numbers else None

    @property
    def last(self) -> int | None:
        """The highest block, None if there is none."""
        return self._numbers[-1] if self._numbers else None

    def add(self, number: int, offset: int) -> None:
        """Add the record of a block, which stands after all records before."""
        place = len(self._numbers)
        if place and number <= self._numbers[-1]:
            place = bisect_left(self._numbers, number)
            if self._numbers[place] == number:
                self._offsets[place] = offset
                return
        self._numbers.insert(place, number)
        self._offsets.insert(place, offset)

    def remove_from(self, number: int) -> None:
        """Remove the blocks from `number` on."""
        place = bisect_left(self._numbers, number)
        del self._numbers[place:], self._offsets[place:]
        if self.removed_from is None or number < self.removed_from:
            self.removed_from = number

    def find(self, number: int) -> int | None:
        """Return the offset of the record of a block, None if the file has none."""
        place = bisect_left(self._numbers, number)
        if place == len(self._numbers) or self._numbers[place] != number:
            return None
        return self._offsets[place]

    def last_below(self, number: int) -> int | None:
        """Return the highest block below `number`, None if there is none."""
        place = bisect_left(self._numbers, number)
        return self._numbers[place - 1] if place else None

    def encode(self, segment: int, key: bytes) -> bytes:
        """Return the index of the file number `segment` as bytes, for a file of its own."""
        entries = _bytes_of(self._numbers) + _bytes_of(self._offsets)
        summary = _SUMMARY.pack(
            _MAGIC,
            segment,
            len(self),
            self.first or 0,
            self.last or 0,
            _NONE if self.removed_from is None else self.removed_from,
            sha256(entries).digest(),
        )
        return summary + _check(summary, key) + entries


def read_summary(data: bytes, segment: int, key: bytes) -> SegmentSummary | None:
    """Return the summary at the beginning of an index; None if it is not that of this file."""
    packed = data[: _SUMMARY.size]
    if len(data) < SUMMARY_BYTES or data[_SUMMARY.size : SUMMARY_BYTES] != _check(packed, key):
        return None
    magic, number, count, first, last, removed_from, entries_hash = _SUMMARY.unpack(packed)
    if magic != _MAGIC or number != segment:
        return None
    removed = None if removed_from == _NONE else removed_from
    return SegmentSummary(number, count, first, last, removed, entries_hash)


def read_index(data: bytes, segment: int, key: bytes) -> SegmentIndex | None:
    """Return the index in these bytes; None if they are not as they were written."""
    summary = read_summary(data, segment, key)
    entries = data[SUMMARY_BYTES:]
    if summary is None or sha256(entries).digest() != summary.entries_hash:
        return None
    half = len(entries) // 2
    index = SegmentIndex(entries[:half], entries[half:])
    index.removed_from = summary.removed_from
    return index


def _check(summary: bytes, key: bytes) -> bytes:
    return sha256(key + summary).digest()


def _array_of(data: bytes) -> "array[int]":
    numbers = array("Q", data)
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def _bytes_of(numbers: "array[int]") -> bytes:
    copy = numbers[:]
    if sys.byteorder == "little":
        copy.byteswap()
    return copy.tobytes()
