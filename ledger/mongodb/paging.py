"""Pages of ordered lists of documents, which the queries of `ledger.mongodb.reader` share."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from struct import Struct as BinaryFormat
from typing import Any, Final, cast

import bson
from bson.codec_options import CodecOptions
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from msgspec import Struct
from pymongo import ASCENDING, DESCENDING
from pymongo.asynchronous.cursor import AsyncRawBatchCursor
from pymongo.asynchronous.database import AsyncDatabase

from ledger.documents.format import Document
from ledger.documents.omissions import MIN_OMITTED_BYTES, omission
from ledger.mongodb.ledger_keys import INTEGER
from ledger.mongodb.required_indexes import RequiredIndexes
from ledger.position import BlockNumber, last_position, pack_position

MAX_PAGE_BYTES: Final = 8 << 20
"""The size above which a page ends early; the payload of a single event can have megabytes."""

DECODED: Final[CodecOptions[Document]] = CodecOptions(tz_aware=True)
RAW: Final[CodecOptions[RawBSONDocument]] = CodecOptions(document_class=RawBSONDocument)

Keys = list[tuple[str, int]]
"""An index: its fields and their directions."""

BY_ID: Final[Keys] = [("_id", ASCENDING)]

_DOCUMENT_SIZE: Final = BinaryFormat("<i")
"""The beginning of every BSON document."""

EARLIEST: Final = DatetimeMS(-62_135_596_800_000)
"""The beginning of year 1; no stored time is earlier."""


class Window(Struct, frozen=True):
    """A part of an ordered list: at most `limit` documents after the one whose `_id` is `after`."""

    limit: int
    descending: bool
    after: int | None = None

    @property
    def direction(self) -> int:
        """The direction of the order in MongoDB's terms."""
        return DESCENDING if self.descending else ASCENDING


class Page(Struct, frozen=True):
    """Documents in order; `more` says whether other documents follow."""

    documents: list[Document]
    more: bool


class ChannelQueries:
    """The base class of queries over one channel's database."""

    def __init__(
        self, database: AsyncDatabase[Document], max_page_bytes: int = MAX_PAGE_BYTES
    ) -> None:
        self._database = database
        self.required_indexes = RequiredIndexes(database)
        self._max_page_bytes = max_page_bytes

    async def _page(
        self,
        name: str,
        query: Document,
        window: Window,
        projection: Document | None = None,
        hint: Keys = BY_ID,
        *,
        sort: Sequence[str] = ("_id",),
        limit: int | None = None,
    ) -> Page:
        """Return the documents of a collection that match the query, in the order of `sort`.

        `limit` is the number of documents; the default is that of the window. A page has fewer
        documents if they are large. MongoDB is asked for one document more, to find out whether
        more documents follow, and sends all documents in one reply.
        """
        count = window.limit if limit is None else limit
        cursor = self._database[name].find_raw_batches(
            query, projection, limit=count + 1, batch_size=count + 1, hint=hint
        )
        return await self._read_page(
            cursor.sort([(field, window.direction) for field in sort]), count
        )

    async def _read_page(self, cursor: AsyncRawBatchCursor[Document], limit: int) -> Page:
        """Return a page of the documents; a whole batch of them is decoded at once."""
        documents: list[Document] = []
        count, size = 0, 0
        async with cursor:
            async for raw_batch in cursor:
                batch, end = cast("bytes", raw_batch), 0
                for document_size in _document_sizes(batch):
                    if count == limit or size > self._max_page_bytes:
                        return Page(documents + bson.decode_all(batch[:end], DECODED), more=True)
                    count += 1
                    size += document_size
                    end += document_size
                documents += bson.decode_all(batch, DECODED)
        return Page(documents, more=False)

    async def _page_by_time(
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
        """Return documents by `ts`, then by `key`, a field that equals `_id`.

        `ts` is at least the first and less than the second of `times`, and `key` at most `highest`.
        `after_ts` is the `ts` of the document `window.after`.
        """
        since, until = times
        bounds: Document = {"$gte": since if since is not None else EARLIEST}
        if until is not None:
            bounds["$lt"] = until
        return await self._page_by(
            name,
            {"ts": bounds, key: {"$gte": 0, "$lte": highest, **INTEGER}},
            ("ts", key),
            window,
            after=(after_ts, window.after) if window.after is not None else None,
            projection=projection,
            hint=[("ts", ASCENDING), (key, ASCENDING)],
        )

    async def _page_by(
        self,
        name: str,
        query: Document,
        order: tuple[str, str],
        window: Window,
        *,
        after: tuple[Any, Any] | None,
        projection: Document | None,
        hint: Keys,
    ) -> Page:
        """Return the documents that match the query in the order of two fields.

        The second field is unique. The conditions on both, if the query has any, are operators.
        `after` has the values of both in the document after which the page begins. The documents
        with the same value in the first field are read first, by a separate query, so that the
        conditions of each query are bounds of the index.
        """
        first, unique = order
        same: list[Document] = []
        if after is not None:
            beyond = "$lt" if window.descending else "$gt"
            key = {**query.get(unique, {}), beyond: after[1]}
            equal = {**query, first: after[0], unique: key}
            page = await self._page(name, equal, window, projection, hint, sort=(unique,))
            if page.more:
                return page
            same = page.documents
            query = {**query, first: {**query.get(first, {}), beyond: after[0]}}
        limit = window.limit - len(same)
        rest = await self._page(name, query, window, projection, hint, sort=order, limit=limit)
        return Page(same + rest.documents, rest.more)


def _document_sizes(batch: bytes) -> Iterator[int]:
    """Return the size of each of the BSON documents that follow one another in the batch."""
    start = 0
    while start < len(batch):
        (size,) = _DOCUMENT_SIZE.unpack_from(batch, start)
        yield size
        start += size


def equal_to(text: str) -> Document:
    """Return the condition under which a stored text equals `text`."""
    return equal_to_any([text])


def equal_to_any(texts: Sequence[str]) -> Document:
    """Return the condition under which a stored text equals one of `texts`.

    A long text may have been omitted, see `ledger.documents.size_limit`.
    """
    return {"$in": [form for text in texts for form in _stored_forms(text)]}


def _stored_forms(text: str) -> list[Any]:
    data = text.encode()
    return [text] if len(data) < MIN_OMITTED_BYTES else [text, omission(data)]


def id_range(low: int, high: int, window: Window) -> Document:
    """Return the condition for ids from `low` to `high` that follow `window.after`."""
    if window.after is not None and window.descending:
        high = min(high, window.after - 1)
    elif window.after is not None:
        low = max(low, window.after + 1)
    return {"$gte": low, "$lte": high}


def position_range(first: int, last: BlockNumber, window: Window) -> Document:
    """Return the condition for positions in blocks `first` to `last` that follow `window.after`."""
    return id_range(pack_position(first, 0), last_position(last), window)


def merge_pages(pages: Sequence[Page], window: Window) -> Page:
    """Return one page from pages of several queries, which have the same order.

    If documents of one query follow its page, the merged page ends where this page ends: the
    following documents belong to the next merged page.
    """
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
    return Page(documents[: window.limit], more=bool(ends) or len(documents) > window.limit)
