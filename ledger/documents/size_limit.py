"""Keeps documents below MongoDB's size limit, and says what had to be left out.

While a document exceeds 15 MiB its largest value becomes `{omitted: true, sha256, size}`; if no value is left to
omit, its largest list does, as a whole. Which one is a function of the document alone. A parsed JSON payload stays as
it is: `ledger.documents.payloads.MAX_JSON_BYTES` keeps it far below the limit.
"""

from collections.abc import Iterator
from typing import Any

import bson

from ledger.documents.format import Document
from ledger.documents.omissions import MIN_OMITTED_BYTES, omission

MAX_DOCUMENT_BYTES = 15 * 1024 * 1024
_KEPT = frozenset({".txId", ".validationCodes"})
"""Both are bounded, and the store looks them up: an omission in their place would make a wrong answer."""

_Place = tuple[
    int, str, Document | list[Any], str | int
]  # bytes in BSON, path, container, key in it


def fit_to_size_limit(document: Document) -> Document:
    """The document itself, or one whose largest parts are omitted until it fits.

    `sha256` and `size` are of the value's bytes (UTF-8 for text); for a list, of its BSON.
    """
    excess = len(bson.encode(document)) - MAX_DOCUMENT_BYTES
    for places in (_values, _lists):
        if excess > 0:
            excess = _omit(
                sorted(places(document), key=lambda place: (-place[0], place[1])), excess
            )
    return document


def _omit(places: list[_Place], excess: int) -> int:
    for size, _, container, key in places:
        if excess <= 0:
            break
        replacement = _omission(container[key])  # type: ignore[index]
        container[key] = replacement  # type: ignore[index]
        excess -= size - _field_size(replacement)
    return excess


def _omission(value: Any) -> Document:
    if isinstance(value, str):
        data = value.encode()
    else:
        data = value if isinstance(value, bytes) else bson.encode({"value": value})
    return omission(data)


def _field_size(value: Any) -> int:
    return len(bson.encode({"": value}))


def _values(document: Document) -> Iterator[_Place]:
    for path, container, key, value in _walk(document, "", into_lists=True):
        if isinstance(value, str | bytes) and len(value) >= MIN_OMITTED_BYTES and path not in _KEPT:
            yield _field_size(value), path, container, key


def _lists(document: Document) -> Iterator[_Place]:
    """Outermost lists only: they are larger than those inside, and take them along."""
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
            continue  # whole, or an array's omission would pass for the payload itself; it is bounded
        place = f"{path}.{key}"
        yield place, container, key, value
        if isinstance(value, dict) or (into_lists and isinstance(value, list)):
            yield from _walk(value, place, into_lists=into_lists)
