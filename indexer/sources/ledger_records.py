"""Reads the blocks in one of a peer's own ledger files (`blockfile_NNNNNN`), one at a time.

The form is that of Fabric's `common/ledger/blkstorage`. A file is a sequence of records, each the
length of its content and the content:

    number ‖ data hash ‖ previous hash ‖ count ‖ envelope… ‖ count ‖ metadata…

Numbers, counts and lengths are varints; hashes, envelopes and metadata have their length before
them. The peer appends to the file while it runs, so the last record may be incomplete.
"""

from collections.abc import Iterator
from typing import IO, Final

from msgspec import Struct

from ledger.position import MAX_BLOCK_NUMBER, MAX_TRANSACTIONS
from ledger.state_changes import varint
from protos import common_pb2 as common

MAX_RECORD_BYTES: Final = 256 << 20
"""The largest content of a record; no peer delivers a block of more than 100 MB."""

_MAX_LENGTH_BYTES: Final = 5
_MAX_VARINT_BITS: Final = 64
_MAX_METADATA: Final = 100
"""The largest number of metadata entries; Fabric writes five."""

_HASH_SIZES: Final = (0, 32)
"""The genesis block has no previous hash."""

_HEADER_TAG, _DATA_TAG, _METADATA_TAG = b"\x0a", b"\x12", b"\x1a"
"""The tags of the fields of `common.Block`."""

_ENTRY_TAG: Final = b"\x0a"
"""The tag of the only field of `common.BlockData` and `common.BlockMetadata`."""


class BlockRecord(Struct, frozen=True):
    """A block in a ledger file: a serialized `common.Block`, in the form in which peers deliver it.

    `offset` and `end` are the positions of the record in the file, in bytes.
    """

    number: int
    offset: int
    end: int
    block: bytes


class BrokenRecordError(Exception):
    """A record that no peer writes; the message says why. `block` is None if it is not known."""

    def __init__(self, offset: int, block: int | None, reason: str) -> None:
        super().__init__(reason)
        self.offset, self.block = offset, block


class TornRecordError(BrokenRecordError):
    """The file ends within a record that is right as far as it goes."""


class _BeyondEndError(Exception):
    """The content has no byte before `end`, where a part of it must be."""

    def __init__(self, end: int) -> None:
        super().__init__(end)
        self.end = end


def read_records(file: IO[bytes], expected: int | None) -> Iterator[BlockRecord]:
    """Yield the blocks of a ledger file, which is open at its beginning.

    `expected` is the number of the first block, None if it is not known. Only one record is in
    memory at a time. Raises `TornRecordError` if the file ends within a record, and
    `BrokenRecordError` for a record that cannot be read or does not have the next number.
    """
    offset = 0
    while (record := _read_record(file, offset, expected)) is not None:
        yield record
        offset, expected = record.end, record.number + 1


def _read_record(file: IO[bytes], offset: int, expected: int | None) -> BlockRecord | None:
    """Return the record at the file's position, None at the end of the file."""
    prefix = _read_length(file, offset, expected)
    if prefix is None:
        return None
    length, prefix_size = prefix
    content = memoryview(file.read(length))
    try:
        number, block, size = _parse(content, expected)
    except _BeyondEndError as error:
        known = expected if expected is not None else _number_in(content)
        if error.end <= length:
            reason = f"the file ends after {len(content)} of the record's {length} bytes"
            raise TornRecordError(offset, known, reason) from None
        reason = f"the parts of the block need more than the record's {length} bytes"
        raise BrokenRecordError(offset, known, reason) from None
    except ValueError as error:
        known = expected if expected is not None else _number_in(content)
        raise BrokenRecordError(offset, known, str(error)) from None
    if size != length:
        reason = f"the block ends after {size} of the record's {length} bytes"
        raise BrokenRecordError(offset, number, reason)
    return BlockRecord(number, offset, offset + prefix_size + length, block)


def _read_length(file: IO[bytes], offset: int, expected: int | None) -> tuple[int, int] | None:
    """Return the length of the next record and the size of this number; None at the file's end."""
    prefix = b""
    while len(prefix) < _MAX_LENGTH_BYTES:
        byte = file.read(1)
        if not byte and not prefix:
            return None
        if not byte:
            reason = "the file ends within the length of a record"
            raise TornRecordError(offset, expected, reason)
        prefix += byte
        if byte[0] < 0x80:
            break
    try:
        length, size = _varint(memoryview(prefix), 0)
    except (_BeyondEndError, ValueError):
        length, size = MAX_RECORD_BYTES + 1, 0
    if length > MAX_RECORD_BYTES:
        reason = f"{prefix.hex()} is no length of up to {MAX_RECORD_BYTES} bytes"
        raise BrokenRecordError(offset, expected, reason)
    return length, size


def _parse(content: memoryview, expected: int | None) -> tuple[int, bytes, int]:
    """Return the block's number, the serialized block, and the size of its parts in the record.

    Raises ValueError for a part that no block has, and `_BeyondEndError` if the content ends
    before the block.
    """
    number, at = _varint(content, 0)
    if number > MAX_BLOCK_NUMBER or (expected is not None and number != expected):
        raise ValueError(f"the record is that of block {number}")
    data_hash, at = _hash(content, at)
    previous_hash, at = _hash(content, at)
    data, at = _entries(content, at, "envelopes", MAX_TRANSACTIONS)
    metadata, at = _entries(content, at, "metadata entries", _MAX_METADATA)
    header = common.BlockHeader(
        number=number, previous_hash=previous_hash, data_hash=data_hash
    ).SerializeToString()
    fields = (_HEADER_TAG, header), (_DATA_TAG, data), (_METADATA_TAG, metadata)
    parts = [part for tag, value in fields for part in (tag, varint(len(value)), value)]
    return number, b"".join(parts), at


def _entries(content: memoryview, at: int, what: str, at_most: int) -> tuple[bytearray, int]:
    """Return a message with the counted entries at an index as field 1, and the index behind."""
    count, at = _varint(content, at)
    if count > at_most:
        raise ValueError(f"{count} {what} are declared, and a block has at most {at_most}")
    message = bytearray()
    for _ in range(count):
        begin = at
        size, at = _varint(content, at)
        at += size
        if at > len(content):
            raise _BeyondEndError(at)
        message += _ENTRY_TAG
        message += content[begin:at]
    return message, at


def _hash(content: memoryview, at: int) -> tuple[bytes, int]:
    """Return the hash at an index, and the index behind it."""
    size, at = _varint(content, at)
    if size not in _HASH_SIZES:
        raise ValueError(f"the header has a hash of {size} bytes")
    if at + size > len(content):
        raise _BeyondEndError(at + size)
    return bytes(content[at : at + size]), at + size


def _number_in(content: memoryview) -> int | None:
    """Return the block's number, None if the content does not begin with a number."""
    try:
        return _varint(content, 0)[0]
    except (_BeyondEndError, ValueError):
        return None


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    """Return the number at an index, and the index behind it.

    Raises ValueError for a number of more than 64 bits, and for one that is not written in the
    shortest form, as Fabric writes it.
    """
    value = shift = 0
    while shift < _MAX_VARINT_BITS:
        if at >= len(content):
            raise _BeyondEndError(at + 1)
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if (byte == 0 and shift) or value.bit_length() > _MAX_VARINT_BITS:
                break
            return value, at
        shift += 7
    raise ValueError(f"the bytes before {at} of the record are no number")
