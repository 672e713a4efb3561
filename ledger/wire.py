"""Parsing of nested messages that may be anything a client could sign."""

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

Errors = list[str]
"""Paths of what did not parse, in the order in which it was met."""

M = TypeVar("M", bound=Message)


def parse(kind: type[M], data: bytes, path: str, errors: Errors) -> M | None:
    """Parses `data`, or notes `path` in `errors` and returns None."""
    try:
        return kind.FromString(data)
    except DecodeError:
        errors.append(path)
        return None
