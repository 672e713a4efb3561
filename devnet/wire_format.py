"""Encodes protocol buffers by hand: messages that `protos` does not define, and broken messages."""

VARINT = 0
LENGTH_DELIMITED = 2

UNPARSABLE = b"\x0a\x7fcut short"
"""Bytes that no protobuf parser accepts: field 1 declares 127 bytes and holds 9."""


def varint(number: int) -> bytes:
    """Return the base-128 form of `number`: ten bytes if negative, as for int32 and int64."""
    remaining = number & 0xFFFF_FFFF_FFFF_FFFF
    encoded = bytearray()
    while remaining > 0x7F:
        encoded.append(remaining & 0x7F | 0x80)
        remaining >>= 7
    encoded.append(remaining)
    return bytes(encoded)


def field(number: int, content: bytes) -> bytes:
    """Return a length-delimited field: a string, bytes or an embedded message."""
    return varint(number << 3 | LENGTH_DELIMITED) + varint(len(content)) + content


def integer(number: int, value: int) -> bytes:
    """Return a varint field."""
    return varint(number << 3 | VARINT) + varint(value)
