"""Protocol buffers by hand: for the few messages that `protos` does not define, and for broken ones."""

VARINT = 0
LENGTH_DELIMITED = 2

UNPARSABLE = b"\x0a\x7fcut short"
"""Field 1 announces 127 bytes and holds 9: no parser of protocol buffers accepts it."""


def varint(number: int) -> bytes:
    """The base-128 form of `number`; a negative one takes ten bytes, as int32 and int64 do."""
    rest = number & 0xFFFF_FFFF_FFFF_FFFF
    encoded = bytearray()
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field: a string, bytes or an embedded message."""
    return varint(number << 3 | LENGTH_DELIMITED) + varint(len(content)) + content


def integer(number: int, value: int) -> bytes:
    """A varint field."""
    return varint(number << 3 | VARINT) + varint(value)
