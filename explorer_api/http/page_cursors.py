"""Cursors: where a page ended, bound to the question asked and to the height at which the paging began.

A later page sees the ledger as the first one did, so that none repeats or skips what arrives in between.
"""

import base64
import re
from hashlib import sha256
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from explorer_api.http.problems import invalid_cursor

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_Natural = Annotated[int, Meta(ge=0, le=2**63 - 2)]  # the next one is a 64-bit integer too


class PageCursor(Struct, frozen=True, forbid_unknown_fields=True):
    """`after` is the `_id` of the last document shown; `height` the number of blocks when the paging began."""

    question: str
    height: _Natural
    after: _Natural


_decode = msgspec.json.Decoder(PageCursor).decode


def query_digest(*parts: object) -> str:
    """A short digest of everything that a cursor is bound to."""
    return sha256(msgspec.json.encode(parts, enc_hook=int)).hexdigest()[:16]


def write_cursor(cursor: PageCursor) -> str:
    """The cursor as text that fits a URL."""
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def decode_cursor(text: str) -> PageCursor:
    """The cursor, whatever it belongs to. Raises `ProblemError` for what is none."""
    try:
        if not _BASE64URL.fullmatch(text):
            raise ValueError
        cursor = _decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError:
        raise invalid_cursor("is not one that this API wrote") from None
    if write_cursor(cursor) != text:
        raise invalid_cursor("is not one that this API wrote")
    return cursor


def read_cursor(text: str, asked: str) -> PageCursor:
    """Raises `ProblemError` unless the cursor belongs to the question `asked`."""
    cursor = decode_cursor(text)
    if cursor.question != asked:
        raise invalid_cursor("belongs to another route, channel, filter or order")
    return cursor
