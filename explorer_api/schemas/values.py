"""What a client or a chaincode chose - bytes, texts, JSON - in a form that JSON and JavaScript can hold."""

import base64
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from ledger.documents.format import Document

T = TypeVar("T")

Encoding = Literal["text", "base64", "json", "omitted"]
"""`omitted`: too large for the store, an `Omitted` stands for it."""

MAX_SAFE_INTEGER = 2**53
"""Beyond this JavaScript's numbers are not exact: integers inside a payload become strings."""

_decode_json = msgspec.json.Decoder().decode


class Omitted(Struct, frozen=True, rename="camel"):
    """Stands for a value or list that was too large for the store: SHA-256 and bytes of the original."""

    sha256: str
    size: int


Text = str | Omitted
"""A text that the store may have had to omit."""


class Value(Struct, frozen=True):
    """Bytes that someone chose: as text if they are UTF-8, else in base64."""

    value: Text | None
    encoding: Encoding | None


def _omitted(stored: Document) -> Omitted:
    return Omitted(stored["sha256"], int(stored["size"]))


def text(stored: str | Document) -> Text:
    """A stored text, or what stands for it."""
    return stored if isinstance(stored, str) else _omitted(stored)


def optional_text(stored: str | Document | None) -> Text | None:
    """A stored text, if there is one."""
    return None if stored is None else text(stored)


def value(stored: str | bytes | Document | None) -> Value:
    """Bytes as `ledger.documents.payloads.text_or_binary` stored them; None where there are none."""
    if stored is None:
        return Value(None, None)
    if isinstance(stored, bytes):
        return Value(base64.b64encode(stored).decode(), "base64")
    return Value(text(stored), "text" if isinstance(stored, str) else "omitted")


def listed(stored: list[Any] | Document | None, represent: Callable[[Any], T]) -> list[T] | Omitted:
    """Each element of a stored list; an empty list where the document has none."""
    if isinstance(stored, dict):
        return _omitted(stored)
    return [represent(element) for element in stored or ()]


def integer(stored: int | Document) -> int:
    """An integer as `ledger.documents.payloads.int_value` stored it."""
    return int(stored["bigInteger"] if isinstance(stored, dict) else stored)


def payload(fields: Document) -> tuple[Any, Encoding]:
    """A payload as `ledger.documents.payloads.payload_fields` stored it, and how it is shown.

    A JSON payload is shown as the chain has it, where the store had to rename its keys or wrap its integers. Parts of
    it that were too large for the store are objects with the fields of `Omitted`, and `omitted: true`.
    """
    stored = fields["payload"]
    if fields["payloadEncoding"] == "json":
        exact = fields.get("payloadBytes")
        if isinstance(exact, dict) and isinstance(stored, dict) and stored.keys() == exact.keys():
            return _omitted(stored), "omitted"
        return _safe(_decode_json(exact) if isinstance(exact, bytes) else stored), "json"
    shown = value(stored)
    assert shown.encoding is not None  # noqa: S101 - there is a payload
    return shown.value, shown.encoding


def _safe(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _safe(child) for key, child in node.items()}
    if isinstance(node, list):
        return [_safe(child) for child in node]
    if isinstance(node, int) and not isinstance(node, bool):
        return int(node) if abs(node) <= MAX_SAFE_INTEGER else str(node)
    return node


def encode_json(answer: Any) -> bytes:
    """An answer as JSON. BSON's int64 is an integer as any other."""
    return msgspec.json.encode(answer, enc_hook=int)
