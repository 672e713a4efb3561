"""Parses nested messages, in which a client may have put any bytes, and collects the errors."""

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

MAX_ELEMENTS = 250_000
"""The most elements of lists that are decoded in one envelope, over all its lists.

An element has a few bytes on the wire, and takes hundreds of bytes when it is decoded.
"""

_MIN_ELEMENT_BYTES = 2  # its tag and its length


class DecodingErrors(list[str]):
    """The paths of the parts of one envelope that could not be decoded, in order of decoding.

    `must_reserve` says whether the elements of a list must be reserved before they are decoded. An
    envelope of a small `size` in bytes cannot have more than `MAX_ELEMENTS`; no size means any.
    """

    _remaining = MAX_ELEMENTS

    def __init__(self, size: int | None = None) -> None:
        self.must_reserve = size is None or size > MAX_ELEMENTS * _MIN_ELEMENT_BYTES

    def add(self, *path: str | int) -> None:
        """Add the path whose parts are given."""
        self.append(".".join(map(str, path)))

    def reserve(self, count: int, *path: str | int) -> bool:
        """Return whether `count` more elements may be decoded.

        If not, add the path of the elements together with their number.
        """
        self._remaining -= count
        if count and self._remaining < 0:
            self.add(*path, f"({count} elements)")
        return self._remaining >= 0


M = TypeVar("M", bound=Message)


def parse(kind: type[M], data: bytes, errors: DecodingErrors, *path: str | int) -> M | None:
    """Return the message of this kind in `data`; add `path` to `errors` if there is none."""
    try:
        return kind.FromString(data)
    except DecodeError:
        errors.add(*path)
        return None


def parse_or_empty(kind: type[M], data: bytes, errors: DecodingErrors, *path: str | int) -> M:
    """Return the message of this kind in `data`; if there is none, add `path` to `errors`.

    Then the message is empty: it has no parts that could cause further errors.
    """
    try:
        return kind.FromString(data)
    except DecodeError:
        errors.add(*path)
        return kind()
