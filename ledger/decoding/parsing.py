"""Parses nested messages, in which a client may have put any bytes, and collects the errors."""

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

MAX_ELEMENTS = 250_000
"""The most elements of lists that are decoded in one envelope, over all its lists.

An element has a few bytes on the wire, and takes hundreds of bytes when it is decoded.
"""


class DecodingErrors(list[str]):
    """The paths of the parts of one envelope that could not be decoded, in order of decoding."""

    _remaining = MAX_ELEMENTS

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
