"""Keeps documents below MongoDB's size limit by omitting their largest values.

While a document exceeds 15 MiB, its largest value is replaced by `{omitted: true, sha256, size}`.
If no value is left to omit, its largest list is omitted as a whole. The result depends on the
document alone. A parsed JSON payload is not changed: `ledger.documents.payloads.MAX_JSON_BYTES`
keeps it far below the limit.
"""

from collections.abc import Iterator
from typing import Any

import bson

from ledger.documents.format import Document
from ledger.documents.omissions import MIN_OMITTED_BYTES, omission

MAX_DOCUMENT_BYTES = 15 * 1024 * 1024
MAX_SIGNERS_BYTES = 512 * 1024
"""The most bytes of a block's signers, which are added to the block's other fields."""

_NEVER_OMITTED = frozenset({".txId", ".validationCodes"})
"""The paths of values that the store looks up; the length of both is limited."""

_Part = tuple[int, str, Document | list[Any], str | int]
"""A part of a document: its size in BSON, its path, its container, its key in the container."""


def fit_to_size_limit(document: Document, limit: int = MAX_DOCUMENT_BYTES) -> Document:
    """Omit the largest parts of the document until it is within the limit, and return it.

    `sha256` and `size` of an omission are those of the value's bytes (UTF-8 for text), or of the
    BSON for a list.
    """
    excess = len(bson.encode(document)) - limit
    for parts_of in (_values, _lists):
        if excess > 0:
            excess = _omit(sorted(parts_of(document), key=lambda part: (-part[0], part[1])), excess)
    return document


def _omit(parts: list[_Part], excess: int) -> int:
    for size, _, container, key in parts:
        if excess <= 0:
            break
        replacement = _omission_of(container[key])  # type: ignore[index]
        container[key] = replacement  # type: ignore[index]
        excess -= size - _field_size(replacement)
    return excess


def _omission_of(value: Any) -> Document:
    if isinstance(value, str):
        data = value.encode()
    else:
        data = value if isinstance(value, bytes) else bson.encode({"value": value})
    return omission(data)


def _field_size(value: Any) -> int:
    return len(bson.encode({"": value}))


def _values(document: Document) -> Iterator[_Part]:
    for path, container, key, value in _walk(document, "", into_lists=True):
        if (
            isinstance(value, str | bytes)
            and len(value) >= MIN_OMITTED_BYTES
            and path not in _NEVER_OMITTED
        ):
            yield _field_size(value), path, container, key


def _lists(document: Document) -> Iterator[_Part]:
    """Yield the outermost lists; inner lists are smaller, and are omitted with the outer list."""
    for path, container, key, value in _walk(document, "", into_lists=False):
        if isinstance(value, list) and (size := _field_size(value)) >= MIN_OMITTED_BYTES:
            yield size, path, container, key


def _walk(
    container: Any, path: str, *, into_lists: bool
) -> Iterator[tuple[str, Document | list[Any], str | int, Any]]:
    parsed = isinstance(container, dict) and container.get("payloadEncoding") == "json"
    items = container.items() if isinstance(container, dict) else enumerate(container)
    for key, value in items:
        if parsed and key == "payload":
            continue  # an omission would be read as the payload itself; its size is limited
        part_path = f"{path}.{key}"
        yield part_path, container, key, value
        if isinstance(value, dict) or (into_lists and isinstance(value, list)):
            yield from _walk(value, part_path, into_lists=into_lists)
