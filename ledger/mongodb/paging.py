"""Ordered lists of documents, read in pages: what the queries of `ledger.mongodb.reader` share."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import bson
from bson.codec_options import CodecOptions
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from msgspec import Struct
from pymongo import ASCENDING, DESCENDING
from pymongo.asynchronous.cursor import AsyncCursor
from pymongo.asynchronous.database import AsyncDatabase

from ledger.documents.format import Document
from ledger.documents.omissions import MIN_OMITTED_BYTES, omission
from ledger.position import MAX_INDEX, BlockNumber, pack_position

MAX_PAGE_BYTES: Final = 8 << 20
"""A page ends early when its documents exceed this: a single event can have megabytes of payload."""

DECODED: Final[CodecOptions[Document]] = CodecOptions(tz_aware=True)
RAW: Final[CodecOptions[RawBSONDocument]] = CodecOptions(document_class=RawBSONDocument)

Keys = list[tuple[str, int]]
"""An index, by its fields and their directions."""

_BEGINNING = DatetimeMS(-62_135_596_800_000)  # of year 1: stored times are not before it

BY_ID: Final[Keys] = [("_id", ASCENDING)]


class Window(Struct, frozen=True):
    """Which part of an ordered list: at most `limit` documents beyond the one whose `_id` is `after`."""

    limit: int
    descending: bool
    after: int | None = None

    @property
    def direction(self) -> int:
        """As MongoDB has it."""
        return DESCENDING if self.descending else ASCENDING


class Page(Struct, frozen=True):
    """Documents in order; `more` says whether others follow."""

    documents: list[Document]
    more: bool


class Queries:
    """Queries over one channel's database."""

    def __init__(self, database: AsyncDatabase[Document]) -> None:
        self._database = database

    def _find(
        self,
        name: str,
        query: Document,
        window: Window,
        projection: Document | None = None,
        hint: Keys = BY_ID,
        *,
        sort: Sequence[str] = ("_id",),
        limit: int | None = None,
    ) -> AsyncCursor[RawBSONDocument]:
        """One document more than the limit, to learn whether there are more; all in one answer of the server."""
        count = (window.limit if limit is None else limit) + 1
        collection = self._database[name].with_options(codec_options=RAW)
        cursor = collection.find(query, projection, limit=count, batch_size=count, hint=hint)
        return cursor.sort([(field, window.direction) for field in sort])

    async def _by_time(
        self,
        name: str,
        key: str,
        times: tuple[DatetimeMS | None, DatetimeMS | None],
        highest: int,
        window: Window,
        *,
        after_ts: datetime | None,
        projection: Document,
    ) -> Page:
        """Documents with `ts` in [since, until) and `key` up to `highest`, by `ts`, then `key`, which have an index.

        `key` equals `_id`; `after_ts` is the `ts` of the document `window.after`. What has the same
        `ts` as that one is read first, by a query of its own: the bounds of each query are then
        bounds of the index.
        """
        hint = [("ts", ASCENDING), (key, ASCENDING)]
        since, until = times
        bounds: Document = {"$gte": since if since is not None else _BEGINNING}
        if until is not None:
            bounds["$lt"] = until
        found: list[Document] = []
        if window.after is not None:
            query = {"ts": after_ts, key: ids(0, highest, window)}
            page = await read_page(
                self._find(name, query, window, projection, hint, sort=("ts", key)), window.limit
            )
            if page.more:
                return page
            found = page.documents
            bounds = bounds | {"$lt" if window.descending else "$gt": after_ts}
        limit = window.limit - len(found)
        query = {"ts": bounds, key: {"$lte": highest}}
        cursor = self._find(name, query, window, projection, hint, sort=("ts", key), limit=limit)
        rest = await read_page(cursor, limit)
        return Page(found + rest.documents, rest.more)


def equal_to(text: str) -> Document:
    """What a stored text must be to equal `text`."""
    return equal_to_any([text])


def equal_to_any(texts: Sequence[str]) -> Document:
    """What a stored text must be to equal one of `texts`; a long one may have been omitted, see `ledger.documents.size_limit`."""
    return {"$in": [form for text in texts for form in _stored_forms(text)]}


def _stored_forms(text: str) -> list[Any]:
    data = text.encode()
    if len(data) < MIN_OMITTED_BYTES:
        return [text]
    return [text, omission(data)]


def ids(low: int, high: int, window: Window) -> Document:
    """The range from `low` to `high`, less what was shown already."""
    if window.after is not None and window.descending:
        high = min(high, window.after - 1)
    elif window.after is not None:
        low = max(low, window.after + 1)
    return {"$gte": low, "$lte": high}


def positions(first: int, last: BlockNumber, window: Window) -> Document:
    """The positions in blocks `first` to `last`, less what was shown already."""
    return ids(pack_position(first, 0), pack_position(last, MAX_INDEX), window)


async def read_page(cursor: AsyncCursor[RawBSONDocument], limit: int) -> Page:
    """At most `limit` documents, fewer if they are large, of a cursor that has one more where there are more."""
    documents: list[Document] = []
    size = 0
    async with cursor:
        async for raw in cursor:
            if len(documents) == limit or size > MAX_PAGE_BYTES:
                return Page(documents, more=True)
            documents.append(bson.decode(raw.raw, DECODED))
            size += len(raw.raw)
    return Page(documents, more=False)


def merged(pages: Sequence[Page], window: Window) -> Page:
    """One page of several in the same order. What follows the end of one that was cut short is left for the next."""
    ends = [page.documents[-1]["_id"] for page in pages if page.more]
    documents = sorted(
        (document for page in pages for document in page.documents),
        key=lambda document: document["_id"],
        reverse=window.descending,
    )
    if ends:
        end = max(ends) if window.descending else min(ends)
        documents = [
            d for d in documents if (d["_id"] >= end if window.descending else d["_id"] <= end)
        ]
    shown = documents[: window.limit]
    return Page(shown, more=bool(ends) or len(documents) > len(shown))
