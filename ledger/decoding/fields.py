"""Finds the fields of a serialized message without a parse of their content.

A block can have many megabytes, and a parse copies all of them.
"""

_LENGTH_DELIMITED = 2


def length_delimited_fields(message: memoryview) -> dict[int, memoryview] | None:
    """Return the fields of a message by number, if all are length-delimited and none is repeated.

    Return None for any other message, and for bytes that are no message.
    """
    fields: dict[int, memoryview] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        size, at = _varint(message, at)
        number = tag >> 3
        if tag & 7 != _LENGTH_DELIMITED or not 0 <= size <= len(message) - at or number in fields:
            return None
        fields[number] = message[at : at + size]
        at += size
    return fields


def repeated_values(message: memoryview, number: int) -> list[bytes] | None:
    """Return the values of a length-delimited field, if the message has no other field.

    `number` is at most 15. Return None for any other message, and for bytes that are no message.
    """
    tag = number << 3 | _LENGTH_DELIMITED
    values: list[bytes] = []
    at = 0
    while at < len(message):
        if message[at] != tag:
            return None
        size, at = _varint(message, at + 1)
        if not 0 <= size <= len(message) - at:
            return None
        values.append(bytes(message[at : at + size]))
        at += size
    return values


def first_values(message: memoryview, number: int, count: int) -> list[bytes] | None:
    """Return at most `count` values of a length-delimited field, as `repeated_values` does.

    The other values are not read, so that a message of very many small ones takes no memory.
    """
    tag = number << 3 | _LENGTH_DELIMITED
    values: list[bytes] = []
    at = 0
    while at < len(message) and len(values) < count:
        if message[at] != tag:
            return None
        size, at = _varint(message, at + 1)
        if not 0 <= size <= len(message) - at:
            return None
        values.append(bytes(message[at : at + size]))
        at += size
    return values


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return the number at an index, and the index behind it; -1 for a number over 5 bytes."""
    value = 0
    for index, byte in enumerate(data[at : at + 5]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    return -1, at
