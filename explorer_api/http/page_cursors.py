"""Page cursors: they hold where a page ended, for which query, and at which height.

All pages show the ledger at the height at which the paging began: blocks that arrive meanwhile
neither repeat nor skip items.
"""

import base64
import re
from hashlib import sha256
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from explorer_api.http.problems import invalid_cursor

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_Natural = Annotated[int, Meta(ge=0, le=2**63 - 2)]  # its successor is a 64-bit integer too


class PageCursor(Struct, frozen=True, forbid_unknown_fields=True):
    """A decoded page cursor.

    `digest` is the digest of the query, `height` the height of the ledger when the paging began,
    and `after` the `_id` of the last document on the page.
    """

    digest: str = field(name="question")  # the name in cursors that clients already have
    height: _Natural
    after: _Natural


class FingerprintCursor(Struct, frozen=True, forbid_unknown_fields=True):
    """A decoded cursor of a list of certificates: `after` is the fingerprint of the last one."""

    digest: str = field(name="question")
    after: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]


C = TypeVar("C", PageCursor, FingerprintCursor)


def query_digest(*parts: object) -> str:
    """Return a short digest of the parts of a query: a cursor is only valid for an equal query."""
    return sha256(msgspec.json.encode(parts, enc_hook=int)).hexdigest()[:16]


def write_cursor(cursor: PageCursor | FingerprintCursor) -> str:
    """Return the cursor as text for a URL."""
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def decode_cursor(text: str) -> PageCursor:
    """Return the cursor of any query. Raises `ProblemError` if the text is not a cursor."""
    return _decode(text, PageCursor)


def read_cursor(text: str, digest: str) -> PageCursor:
    """Return the cursor. Raises `ProblemError` if it is not for the query with that digest."""
    return _of_query(_decode(text, PageCursor), digest)


def read_fingerprint_cursor(text: str, digest: str) -> str:
    """Return the fingerprint in the cursor of a list of certificates; see `read_cursor`."""
    return _of_query(_decode(text, FingerprintCursor), digest).after


def _decode(text: str, form: type[C]) -> C:
    try:
        if not _BASE64URL.fullmatch(text):
            raise ValueError
        content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        cursor = msgspec.json.decode(content, type=form)
    except ValueError:
        raise invalid_cursor("was not written by this API") from None
    if write_cursor(cursor) != text:
        raise invalid_cursor("was not written by this API")
    return cursor


def _of_query(cursor: C, digest: str) -> C:
    if cursor.digest != digest:
        raise invalid_cursor("belongs to another route, channel, filter or order")
    return cursor
