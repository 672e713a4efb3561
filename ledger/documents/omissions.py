"""The object that replaces a value which is too large to be stored in a document."""

from hashlib import sha256
from typing import Final

from ledger.documents.format import Document

MIN_OMITTED_BYTES: Final = 1024
"""A shorter value is never omitted: the object would save too little."""


def omission(data: bytes) -> Document:
    """Return the object that stands for an omitted value whose bytes are `data`.

    The bytes of a text are its UTF-8 encoding.
    """
    return {"omitted": True, "sha256": sha256(data).hexdigest(), "size": len(data)}
