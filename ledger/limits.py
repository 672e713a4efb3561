"""Keeps documents below MongoDB's size limit, and says what had to be left out.

While a document exceeds 15 MiB its largest value becomes `{omitted: true, sha256, size}`; if no value is left to
omit, its largest list does, as a whole. Which one is a function of the document alone.
"""

from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import bson

MAX_DOCUMENT_BYTES = 15 * 1024 * 1024
_WORTHWHILE_BYTES = 1024

Document = dict[str, Any]
_Place = tuple[int, str, Document | list[Any], str | int]  # size, path, container, key in it


def fit(document: Document) -> Document:
    """The document itself, or one whose largest parts are omitted until it fits.

    `sha256` and `size` are of the value's bytes (UTF-8 for text); for a list, of its BSON.
    """
    excess = _size(document) - MAX_DOCUMENT_BYTES
    for places in (_values, _lists):
        if excess <= 0:
            break
        excess = _omit(document, places, excess)
    return document


def _omit(document: Document, places: Callable[[Document], Iterator[_Place]], excess: int) -> int:
    for _, _, container, key in sorted(places(document), key=lambda place: (-place[0], place[1])):
        if excess <= 0:
            return excess
        _replace(container, key)
        excess = _size(document) - MAX_DOCUMENT_BYTES
    return excess


def _replace(container: Any, key: str | int) -> None:
    value = container[key]
    if isinstance(value, list):
        data = bson.encode({"list": value})
    else:
        data = value.encode() if isinstance(value, str) else value
    container[key] = {"omitted": True, "sha256": sha256(data).hexdigest(), "size": len(data)}


def _size(document: Document) -> int:
    return len(bson.encode(document))


def _values(document: Document) -> Iterator[_Place]:
    for path, container, key in _walk(document, ""):
        value = container[key]  # type: ignore[index]
        if isinstance(value, str | bytes) and len(value) >= _WORTHWHILE_BYTES:
            yield len(value.encode() if isinstance(value, str) else value), path, container, key


def _lists(document: Document) -> Iterator[_Place]:
    for path, container, key in _walk(document, ""):
        value = container[key]  # type: ignore[index]
        if isinstance(value, list) and value:
            yield len(bson.encode({"list": value})), path, container, key


def _walk(container: Any, path: str) -> Iterator[tuple[str, Document | list[Any], str | int]]:
    items = container.items() if isinstance(container, dict) else enumerate(container)
    for key, value in items:
        place = f"{path}.{key}"
        yield place, container, key
        if isinstance(value, dict | list):
            yield from _walk(value, place)
