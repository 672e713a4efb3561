"""A minimal reader and writer of protocol buffers, independent of the code under test."""

Value = int | bytes
Field = tuple[int, Value]
"""The number and the value of a field.

An int is a varint, bytes are length-delimited. Fabric's messages use no other wire types.
"""

_VARINT, _LENGTH_DELIMITED = 0, 2


def fields(data: bytes) -> list[Field]:
    """Return the fields of a message in order.

    Raises `ValueError` when `data` is no message or uses another wire type.
    """
    decoded: list[Field] = []
    at = 0
    while at < len(data):
        tag, at = _varint_at(data, at)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("field number 0")
        if wire_type == _VARINT:
            integer, at = _varint_at(data, at)
            decoded.append((number, integer))
        elif wire_type == _LENGTH_DELIMITED:
            length, at = _varint_at(data, at)
            if at + length > len(data):
                raise ValueError("truncated")
            decoded.append((number, data[at : at + length]))
            at += length
        else:
            raise ValueError(f"wire type {wire_type}")
    return decoded


def serialize(message: list[Field]) -> bytes:
    """Return the message with these fields."""
    return b"".join(field(number, value) for number, value in message)


def field(number: int, value: Value) -> bytes:
    """Return a field of a message."""
    if isinstance(value, int):
        return varint(number << 3 | _VARINT) + varint(value)
    return varint(number << 3 | _LENGTH_DELIMITED) + varint(len(value)) + value


def varint(number: int) -> bytes:
    """Return an unsigned integer with seven bits in each byte."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*encoded, number))


def _varint_at(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("truncated or too long")
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


class Message:
    """The fields of a message by number; a field that is not repeated has the last value."""

    def __init__(self, data: bytes) -> None:
        self._fields = fields(data)

    def each(self, number: int) -> list[bytes]:
        """Return all values of a repeated field of bytes, text or messages."""
        return [
            value
            for field_number, value in self._fields
            if field_number == number and isinstance(value, bytes)
        ]

    def has(self, number: int) -> bool:
        return any(field_number == number for field_number, _ in self._fields)

    def data(self, number: int) -> bytes:
        return (self.each(number) or [b""])[-1]

    def text(self, number: int) -> str:
        return self.data(number).decode()

    def integer(self, number: int) -> int:
        integers = [
            value
            for field_number, value in self._fields
            if field_number == number and isinstance(value, int)
        ]
        return (integers or [0])[-1]

    def message(self, number: int) -> "Message":
        return Message(self.data(number))
