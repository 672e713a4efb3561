"""The records of which the files of an archive consist.

A record is a header and a payload. The header has the size and the SHA-256 of the payload, and a
check of its own, which is computed with the key of the archive: 16 random bytes. So a record of
another archive is not taken for one of this archive, and neither is anything that a client has put
into an envelope so that it looks like a record.

The first record of a file describes the file; see `SegmentDescription`.
"""

import struct
from enum import IntEnum
from hashlib import sha256
from typing import Final

import msgspec
from msgspec import Struct

MAGIC: Final = b"KLab"
"""The first bytes of every record."""

ARCHIVE_FORMAT: Final = 1
"""The version of the form of the files."""

KEY_BYTES: Final = 16
NO_KEY: Final = b""
"""The key of the first record of a file: the key of the archive is in it."""

_FIELDS: Final = struct.Struct(">4sBQQ32s")
_CHECK_BYTES: Final = 8
HEADER_BYTES: Final = _FIELDS.size + _CHECK_BYTES
MAX_DESCRIPTION_BYTES: Final = 1 << 16


class RecordKind(IntEnum):
    """What a record is about."""

    DESCRIPTION = 0  # of the file
    BLOCK = 1  # the payload is the frame of the block `number`
    REMOVAL = 2  # what stands before is void, as far as it is of the block `number` or a higher one


class RecordHeader(Struct, frozen=True):
    """The header of a record: kind, number, and the size and the SHA-256 of its payload."""

    kind: RecordKind
    number: int
    size: int
    sha256: bytes

    @property
    def record_size(self) -> int:
        """The size of the whole record in bytes."""
        return HEADER_BYTES + self.size


class SegmentDescription(Struct, frozen=True):
    """The payload of the first record of a file.

    `key` is the key of the archive in hex, and `segment` the number of the file.
    """

    format: int
    channel: str
    key: str
    segment: int


def encode_record(kind: RecordKind, number: int, payload: bytes, key: bytes) -> bytes:
    """Return a record."""
    fields = _FIELDS.pack(MAGIC, kind, number, len(payload), sha256(payload).digest())
    return b"".join((fields, _check(fields, key), payload))


def read_header(data: bytes, key: bytes) -> RecordHeader | None:
    """Return the header at the beginning of the bytes; None if there is none of this key."""
    fields = data[: _FIELDS.size]
    if len(data) < HEADER_BYTES or data[_FIELDS.size : HEADER_BYTES] != _check(fields, key):
        return None
    magic, kind, number, size, digest = _FIELDS.unpack(fields)
    if magic != MAGIC or kind not in RecordKind.__members__.values():
        return None
    return RecordHeader(RecordKind(kind), number, size, digest)


def payload_damage(header: RecordHeader, payload: bytes) -> str | None:
    """Return what is wrong with the payload of a record, None if it is right."""
    if len(payload) != header.size:
        return f"truncated: {len(payload):,} of {header.size:,} bytes"
    if sha256(payload).digest() != header.sha256:
        return "altered: the bytes do not have their hash"
    return None


def encode_description(description: SegmentDescription) -> bytes:
    """Return the first record of a file."""
    payload = msgspec.json.encode(description)
    return encode_record(RecordKind.DESCRIPTION, description.segment, payload, NO_KEY)


def read_description(data: bytes) -> tuple[SegmentDescription, int] | None:
    """Return the description in the first record of a file, and the size of the record.

    Return None if it is damaged.
    """
    header = read_header(data, NO_KEY)
    if header is None or header.kind is not RecordKind.DESCRIPTION:
        return None
    payload = data[HEADER_BYTES : header.record_size]
    if payload_damage(header, payload) is not None:
        return None
    try:
        description = msgspec.json.decode(payload, type=SegmentDescription)
        key = bytes.fromhex(description.key)
    except (msgspec.DecodeError, ValueError):
        return None
    return (description, header.record_size) if len(key) == KEY_BYTES else None


def _check(fields: bytes, key: bytes) -> bytes:
    return sha256(key + fields).digest()[:_CHECK_BYTES]
