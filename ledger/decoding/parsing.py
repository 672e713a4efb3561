"""Parsing of nested messages that may be anything a client could sign."""

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

MAX_ELEMENTS = 250_000
"""Of the lists in one envelope, together. Each takes a few bytes on the wire and hundreds here."""


class DecodingErrors(list[str]):
    """Paths of what could not be decoded in one envelope, in the order in which it was met."""

    _room = MAX_ELEMENTS

    def add(self, *path: str | int) -> None:
        """Notes a path, given in parts."""
        self.append(".".join(map(str, path)))

    def reserve(self, count: int, *path: str | int) -> bool:
        """Whether so many more elements may be decoded; if not, their path is noted, with their number."""
        self._room -= count
        if count and self._room < 0:
            self.add(*path, f"({count} elements)")
        return self._room >= 0


M = TypeVar("M", bound=Message)


def parse(kind: type[M], data: bytes, errors: DecodingErrors, *path: str | int) -> M | None:
    """Parses `data`, or notes its path, the parts joined by full stops, in `errors` and returns None."""
    try:
        return kind.FromString(data)
    except DecodeError:
        errors.add(*path)
        return None
