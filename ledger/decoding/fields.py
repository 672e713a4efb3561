"""Finds the fields of a serialized message without a parse of their content.

A block can have many megabytes, and a parse copies all of them.
"""

_LENGTH_DELIMITED = 2


def length_delimited_fields(message: memoryview) -> dict[int, memoryview] | None:
    """Return the fields of a message by number, if all are length-delimited and none is repeated.

    Return None for any other message, and for bytes that are no message.
    """
    fields: dict[int, memoryview] = {}
    rest = message
    while rest:
        tag, rest = _varint(rest)
        size, rest = _varint(rest)
        number = tag >> 3
        if tag & 7 != _LENGTH_DELIMITED or not 0 <= size <= len(rest) or number in fields:
            return None
        fields[number], rest = rest[:size], rest[size:]
    return fields


def _varint(data: memoryview) -> tuple[int, memoryview]:
    """Return the number at the beginning of `data`, and the rest; -1 for a number over 5 bytes."""
    value = 0
    for index, byte in enumerate(data[:5]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, data[index + 1 :]
    return -1, data
