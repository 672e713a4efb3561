"""Reads the messages of a stream from MongoDB, a bounded piece at a time."""

from operator import itemgetter
from typing import Final

from explorer_api.stream_messages import (
    EVERYTHING,
    Chunk,
    Kind,
    Message,
    Selection,
    block_at,
    block_start,
    first_index,
    place_of,
    position_after,
    render,
)
from ledger.documents import Document, position
from ledger.event_queries import EventFilter
from ledger.reader import LedgerReader, Page, Window
from ledger.transaction_queries import TransactionFilter

CHUNK_BYTES: Final = 1 << 16
_FIRST_LIMIT: Final = 100
_MAX_LIMIT: Final = 500


_AS_WRITTEN: Final[tuple[Kind, ...]] = ("transaction", "event", "block")
"""A block document that is found says that what was looked for before was there already."""

_Found = tuple[int, Kind, Document]


class ChainReplacedError(Exception):
    """Blocks that were there are not: the database was dropped, and perhaps indexed anew."""


class MessageSource:
    """Reads the messages of a selection in the order of the chain.

    How many documents are asked for follows from how many the last chunk took: what does not fit is read again.
    """

    def __init__(self, reader: LedgerReader, selection: Selection = EVERYTHING) -> None:
        self._reader, self._selection = reader, selection
        self._limit = _FIRST_LIMIT

    async def chunk(self, start: int, height: int) -> Chunk:
        """The messages after a position below `height`, up to that height or as many as make about `CHUNK_BYTES`.

        Raises `ChainReplacedError` where the position is above the height, or a block that is selected is not stored;
        `PyMongoError`.
        """
        if start > block_start(height):
            raise ChainReplacedError
        found, end = await self._read(start, height)
        messages: list[Message] = []
        size = 0
        for _, kind, document in found:
            if size >= CHUNK_BYTES:
                self._limit = len(messages)
                return Chunk(messages, position_after(messages[-1].place))
            messages.append(render(kind, document))
            size += len(messages[-1].data)
        self._limit = min(2 * self._limit, _MAX_LIMIT)
        return Chunk(messages, end)

    async def _read(self, start: int, height: int) -> tuple[list[_Found], int]:
        """What follows the position, in order, and the position up to which that is all."""
        found: list[_Found] = []
        end = block_start(height)
        for kind in _AS_WRITTEN:
            if kind in self._selection.kinds:
                page = await self._page(kind, start, height - 1)
                found += [(place_of(kind, document), kind, document) for document in page.documents]
                if page.more:
                    end = min(end, position_after(found[-1][0]))
        return sorted((item for item in found if item[0] < end), key=itemgetter(0)), end

    async def _page(self, kind: Kind, start: int, last: int) -> Page:
        number, wanted = block_at(start), self._selection
        window = Window(self._limit, descending=False, after=position(number, first_index(start, kind)) - 1)
        match kind:
            case "transaction":
                return await self._reader.transactions(TransactionFilter(wanted.chaincode), number, last, window)
            case "event":
                names = (wanted.event,) if wanted.event is not None else None
                return await self._reader.matching_events(EventFilter(wanted.chaincode, names), number, last, window)
            case "block":
                page = await self._reader.blocks(number, last, Window(self._limit, descending=False))
                expected = range(number, number + len(page.documents) if page.more else last + 1)
                if [block["number"] for block in page.documents] != list(expected):
                    raise ChainReplacedError
                return page
