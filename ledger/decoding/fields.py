"""Finds the fields of a serialized message without a parse of their content.

A block can have many megabytes, and a parse copies all of them.
"""

from collections.abc import Iterator
from itertools import islice

_LENGTH_DELIMITED = 2


def length_delimited_fields(message: memoryview) -> dict[int, memoryview] | None:
    """Return the fields of a message by number, if all are length-delimited and none is repeated.

    Return None for any other message, and for bytes that are no message.
    """
    fields: dict[int, memoryview] = {}
    try:
        for number, value in _length_delimited(message):
            if number in fields:
                return None
            fields[number] = value
    except ValueError:
        return None
    return fields


def repeated_values(
    message: memoryview, number: int, at_most: int | None = None
) -> list[bytes] | None:
    """Return the values of a length-delimited field, if the message has no other field.

    Fields after the first `at_most` ones are not read, so that a message of very many small ones
    takes no memory. Return None for any other message, and for bytes that are no message.
    """
    values: list[bytes] = []
    try:
        for found, value in islice(_length_delimited(message), at_most):
            if found != number:
                return None
            values.append(bytes(value))
    except ValueError:
        return None
    return values


def _length_delimited(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the number and the value of each field.

    Raises ValueError at a field that is not length-delimited or has no end.
    """
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        size, at = _varint(message, at)
        if tag & 7 != _LENGTH_DELIMITED or not 0 <= size <= len(message) - at:
            raise ValueError("no length-delimited field")
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return the number at an index, and the index behind it; -1 for a number over 5 bytes."""
    value = 0
    for index, byte in enumerate(data[at : at + 5]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    return -1, at
