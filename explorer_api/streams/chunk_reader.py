"""Reads the messages of a stream from MongoDB, a bounded piece at a time."""

from collections import Counter
from operator import itemgetter
from typing import Final

from explorer_api.streams.messages import (
    KINDS,
    Chunk,
    Kind,
    Limits,
    Message,
    Selection,
    block_at,
    block_start,
    first_index,
    place_of,
    position_after,
    render,
)
from ledger.documents.format import Document
from ledger.mongodb.event_queries import EventFilter
from ledger.mongodb.paging import Page, Window
from ledger.mongodb.reader import LedgerReader
from ledger.mongodb.transaction_queries import TransactionFilter
from ledger.position import BlockNumber, highest_block_below, pack_position

CHUNK_BYTES: Final = 1 << 16
FIRST_LIMITS: Final[Limits] = dict.fromkeys(KINDS, 100)
_MAX_LIMIT: Final = 500
_AS_WRITTEN: Final[tuple[Kind, ...]] = ("transaction", "event", "block")
"""A block document that is found says that what was looked for before was there already."""

_Found = tuple[int, Kind, Document]


class ChainReplacedError(Exception):
    """Blocks that were there are not: the database was dropped, and perhaps indexed anew."""


async def read_chunk(
    reader: LedgerReader, selection: Selection, start: int, height: int, limits: Limits
) -> Chunk:
    """The messages after a position, up to that height or as many as make about `CHUNK_BYTES`.

    `limits` is what the chunk before says. Raises `ChainReplacedError` where the position is above the height, or a
    block that is selected is not stored; `PyMongoError`.
    """
    if start > block_start(height):
        raise ChainReplacedError
    found, end = await _read(reader, selection, start, height, limits)
    messages: list[Message] = []
    size = 0
    for _, kind, document in found:
        if size >= CHUNK_BYTES:
            taken = Counter(message.kind for message in messages)
            fitting = {kind: taken[kind] + taken[kind] // 4 + 1 for kind in KINDS}
            return Chunk(messages, position_after(messages[-1].place), fitting)
        messages.append(render(kind, document))
        size += len(messages[-1].data)
    return Chunk(
        messages, end, {kind: min(2 * limit, _MAX_LIMIT) for kind, limit in limits.items()}
    )


async def _read(
    reader: LedgerReader, selection: Selection, start: int, height: int, limits: Limits
) -> tuple[list[_Found], int]:
    """What follows the position, in order, and the position up to which that is all."""
    found: list[_Found] = []
    end = block_start(height)
    for kind in _AS_WRITTEN:
        if kind in selection.kinds:
            page = await _page(
                reader,
                kind,
                selection,
                start=start,
                last=highest_block_below(height),
                limit=limits[kind],
            )
            found += [(place_of(kind, document), kind, document) for document in page.documents]
            if page.more:
                end = min(end, position_after(found[-1][0]))
    return sorted((item for item in found if item[0] < end), key=itemgetter(0)), end


async def _page(
    reader: LedgerReader,
    kind: Kind,
    selection: Selection,
    *,
    start: int,
    last: BlockNumber,
    limit: int,
) -> Page:
    number = block_at(start)
    window = Window(
        limit, descending=False, after=pack_position(number, first_index(start, kind)) - 1
    )
    match kind:
        case "transaction":
            return await reader.transactions(
                TransactionFilter(selection.chaincode), number, last, window
            )
        case "event":
            names = (selection.event,) if selection.event is not None else None
            return await reader.matching_events(
                EventFilter(selection.chaincode, names), number, last, window
            )
        case "block":
            page = await reader.blocks(number, last, Window(limit, descending=False))
            expected = range(number, number + len(page.documents) if page.more else last + 1)
            if [block["number"] for block in page.documents] != list(expected):
                raise ChainReplacedError
            return page
