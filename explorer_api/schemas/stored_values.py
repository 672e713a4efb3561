"""Converts stored values to values that JSON and JavaScript can represent.

The store replaces a value that is too large with an omission object; `Omitted` represents it.
"""

import base64
from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar

import msgspec
from msgspec import Struct

from ledger.documents.format import Document

T = TypeVar("T")

Encoding = Literal["text", "base64", "json", "omitted"]
"""`omitted` means that the value was too large for the store: it is an `Omitted` object."""

MAX_SAFE_INTEGER: Final = 2**53
"""The integer up to which JavaScript's numbers are exact; larger integers become strings."""

_decode_json = msgspec.json.Decoder().decode


class Omitted(Struct, frozen=True, rename="camel"):
    """Replaces a value or a list that was too large for the store.

    `sha256` is the SHA-256 of the original bytes, and `size` is their number.
    """

    sha256: str
    size: int


Text = str | Omitted
"""A text, or the object that replaces it."""


class Value(Struct, frozen=True):
    """Bytes from the ledger: a text if they are valid UTF-8, else base64."""

    value: Text | None
    encoding: Encoding | None


def read_text(stored: str | Document) -> Text:
    """Return a stored text."""
    return stored if isinstance(stored, str) else _read_omission(stored)


def read_optional_text(stored: str | Document | None) -> Text | None:
    """Return a stored text, None if there is none."""
    return None if stored is None else read_text(stored)


def read_value(stored: str | bytes | Document | None) -> Value:
    """Return bytes that `ledger.documents.payloads.text_or_binary` stored."""
    if stored is None:
        return Value(None, None)
    if isinstance(stored, bytes):
        return Value(base64.b64encode(stored).decode(), "base64")
    return Value(read_text(stored), "text" if isinstance(stored, str) else "omitted")


def read_list(
    stored: list[Any] | Document | None, read_element: Callable[[Any], T]
) -> list[T] | Omitted:
    """Return each element of a stored list; an empty list if the document has no list."""
    if isinstance(stored, dict):
        return _read_omission(stored)
    return [read_element(element) for element in stored or ()]


def read_integer(stored: int | Document) -> int:
    """Return an integer that `ledger.documents.payloads.int_value` stored."""
    return int(stored["bigInteger"] if isinstance(stored, dict) else stored)


def read_payload(fields: Document) -> tuple[Any, Encoding]:
    """Return a payload that `ledger.documents.payloads.payload_fields` stored, and its encoding.

    A JSON payload has the keys and integers of the chain, also where the store had to change them.
    Parts of it that were too large for the store are objects with the fields of `Omitted` and
    `omitted: true`.
    """
    stored = fields["payload"]
    if fields["payloadEncoding"] == "json":
        exact = fields.get("payloadBytes")
        if isinstance(exact, dict) and isinstance(stored, dict) and stored.keys() == exact.keys():
            return _read_omission(stored), "omitted"
        return _with_safe_integers(_decode_json(exact) if isinstance(exact, bytes) else stored), (
            "json"
        )
    payload = read_value(stored)
    assert payload.encoding is not None  # noqa: S101 - the caller has a payload
    return payload.value, payload.encoding


def _read_omission(stored: Document) -> Omitted:
    return Omitted(stored["sha256"], int(stored["size"]))


def _with_safe_integers(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _with_safe_integers(child) for key, child in node.items()}
    if isinstance(node, list):
        return [_with_safe_integers(child) for child in node]
    if isinstance(node, int) and not isinstance(node, bool):
        return int(node) if abs(node) <= MAX_SAFE_INTEGER else str(node)
    return node
