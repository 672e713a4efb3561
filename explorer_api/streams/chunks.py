"""Reads the messages of a stream from MongoDB in chunks of limited size."""

from collections import Counter
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Final

from msgspec import Struct

from explorer_api.options import ChunkLimits
from explorer_api.streams.messages import Message, Selection, encode_message
from explorer_api.streams.positions import (
    KINDS,
    Kind,
    block_at,
    block_start,
    first_index,
    message_offset,
    position_after,
)
from ledger.documents.format import Document
from ledger.mongodb.event_queries import EventFilter
from ledger.mongodb.paging import Page, Window
from ledger.mongodb.reader import LedgerReader
from ledger.mongodb.transaction_queries import TransactionFilter
from ledger.position import BlockNumber, highest_block_below, pack_position

DocumentCounts = Mapping[Kind, int]
"""The number of documents of each kind to read."""

_MESSAGE_OVERHEAD_BYTES: Final = 250
_READING_ORDER: Final[tuple[Kind, ...]] = ("transaction", "event", "block")
"""Blocks are read last because they are stored last: then all their documents have been read."""

_OffsetDocument = tuple[int, Kind, Document]


class ChainReplacedError(Exception):
    """Blocks are missing that were stored before: the database was dropped, or indexed again."""


class Chunk(Struct, frozen=True):
    """Consecutive messages of a selection.

    `end` is the position up to which the selection has no other messages. `next_counts` are the
    numbers of documents to read for the next chunk.
    """

    messages: Sequence[Message]
    end: int
    next_counts: DocumentCounts

    @property
    def size(self) -> int:
        """The approximate number of bytes in memory."""
        return sum(len(message.data) + _MESSAGE_OVERHEAD_BYTES for message in self.messages)

    def select(self, position: int, selection: Selection) -> bytes:
        """Return the data of the selected messages from the position on."""
        return b"".join(
            [
                message.data
                for message in self.messages
                if message.offset >= position and selection.includes(message)
            ]
        )


def first_counts(limits: ChunkLimits) -> DocumentCounts:
    """Return the numbers of documents to read for the first chunk."""
    return dict.fromkeys(KINDS, limits.first_documents)


async def read_chunk(
    reader: LedgerReader,
    selection: Selection,
    start: int,
    height: int,
    *,
    counts: DocumentCounts,
    limits: ChunkLimits,
) -> Chunk:
    """Return the messages from a position on, in blocks below the height.

    The chunk ends when its messages have about `limits.max_bytes`. `counts` comes from the chunk
    before. Raises `ChainReplacedError` when the position is above the height, or when a block of
    the selection is not stored, and `PyMongoError`.
    """
    if start > block_start(height):
        raise ChainReplacedError
    documents, end = await _read_documents(reader, selection, start, height, counts)
    messages: list[Message] = []
    size = 0
    for _, kind, document in documents:
        if size >= limits.max_bytes:
            return Chunk(messages, position_after(messages[-1].offset), _fitting_counts(messages))
        messages.append(encode_message(kind, document))
        size += len(messages[-1].data)
    larger_counts = {kind: min(2 * count, limits.max_documents) for kind, count in counts.items()}
    return Chunk(messages, end, larger_counts)


def _fitting_counts(messages: Sequence[Message]) -> DocumentCounts:
    """Return somewhat larger numbers of documents than a full chunk has."""
    in_chunk = Counter(message.kind for message in messages)
    return {kind: in_chunk[kind] + in_chunk[kind] // 4 + 1 for kind in KINDS}


async def _read_documents(
    reader: LedgerReader, selection: Selection, start: int, height: int, counts: DocumentCounts
) -> tuple[list[_OffsetDocument], int]:
    """Return documents from the position on, in order, and the position where they end."""
    documents: list[_OffsetDocument] = []
    end = block_start(height)
    for kind in _READING_ORDER:
        if kind in selection.kinds:
            page = await _read_page(
                reader,
                kind,
                selection,
                start=start,
                last=highest_block_below(height),
                limit=counts[kind],
            )
            documents += [
                (message_offset(kind, document), kind, document) for document in page.documents
            ]
            if page.more:
                end = min(end, position_after(documents[-1][0]))
    complete = (document for document in documents if document[0] < end)
    return sorted(complete, key=itemgetter(0)), end


async def _read_page(
    reader: LedgerReader,
    kind: Kind,
    selection: Selection,
    *,
    start: int,
    last: BlockNumber,
    limit: int,
) -> Page:
    number = block_at(start)
    if kind == "block":
        return await _read_blocks(reader, number, last, limit)
    after = pack_position(number, first_index(start, kind)) - 1
    window = Window(limit, descending=False, after=after)
    if kind == "transaction":
        transactions = TransactionFilter(selection.chaincode)
        return await reader.transactions(transactions, number, last, window)
    names = (selection.event_name,) if selection.event_name is not None else None
    events = EventFilter(selection.chaincode, names)
    return await reader.matching_events(events, number, last, window)


async def _read_blocks(reader: LedgerReader, first: int, last: BlockNumber, limit: int) -> Page:
    """Return blocks from the first one on. Raises `ChainReplacedError` if any is missing."""
    page = await reader.blocks(first, last, Window(limit, descending=False))
    expected = range(first, first + len(page.documents) if page.more else last + 1)
    if [block["number"] for block in page.documents] != list(expected):
        raise ChainReplacedError
    return page
