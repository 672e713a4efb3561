"""The order of the messages of a stream.

Every message has an offset. The messages of a block follow those of the block before: first each
transaction and then its event, in the order of their indexes, and at the end the block itself. A
client that has the message of a block has all messages of the block.

A position is the offset from which a stream continues. The id of a message is the position after
it, so that a client resumes a stream with the last id that it received.
"""

import re
from typing import Final, Literal

from ledger.documents.format import Document
from ledger.position import INDEX_BITS, MAX_BLOCK_NUMBER, MAX_INDEX

Kind = Literal["block", "transaction", "event"]
KINDS: Final[tuple[Kind, ...]] = ("block", "transaction", "event")

_EVENT_BITS: Final = INDEX_BITS + 1
"""The lowest bit tells an event from its transaction."""

_BLOCK_BITS: Final = _EVENT_BITS + 1
"""The highest bit tells the message of the block from the others in it."""

_BLOCK_MESSAGE: Final = 1 << _EVENT_BITS
_IN_BLOCK: Final = (1 << _BLOCK_BITS) - 1
_ID: Final = re.compile(r"(0|[1-9][0-9]{0,15})(?:\.(0|[1-9][0-9]{0,6})\.([te]))?", re.ASCII)


def block_start(number: int) -> int:
    """Return the position before all messages of a block."""
    return number << _BLOCK_BITS


def block_at(position: int) -> int:
    """Return the number of the block that has the message at this position."""
    return position >> _BLOCK_BITS


def first_index(position: int, kind: Kind) -> int:
    """Return the index of the first transaction whose message is at or after the position.

    The index is one in the block of the position. `kind` is the kind of the message: `transaction`
    or `event`.
    """
    offset_in_block = position & _IN_BLOCK
    return offset_in_block >> 1 if kind == "event" else (offset_in_block + 1) >> 1


def message_offset(kind: Kind, document: Document) -> int:
    """Return the offset of the message about a block, a transaction or an event."""
    if kind == "block":
        return block_start(document["number"]) + _BLOCK_MESSAGE
    return block_start(document["blockNumber"]) + 2 * int(document["txIndex"]) + (kind == "event")


def position_after(offset: int) -> int:
    """Return the position after the message with this offset."""
    return block_start(block_at(offset) + 1) if offset & _BLOCK_MESSAGE else offset + 1


def position_id(position: int) -> str:
    """Return the id of a position.

    `17` is after all blocks below 17. `17.3.t` is after the transaction with index 3 in block 17,
    and `17.3.e` is after its event.
    """
    offset_in_block = position & _IN_BLOCK
    if offset_in_block == 0:
        return str(block_at(position))
    index, is_event = divmod(offset_in_block - 1, 2)
    return f"{block_at(position)}.{index}.{'e' if is_event else 't'}"


def read_position(text: str) -> int:
    """Return the position with this id. Raises `ValueError` when the text is not an id."""
    match = _ID.fullmatch(text)
    if match is None:
        raise ValueError
    number, index = int(match[1]), int(match[2] or 0)
    if number > MAX_BLOCK_NUMBER or index > MAX_INDEX:
        raise ValueError
    offset_in_block = 0 if match[3] is None else 2 * index + "te".index(match[3]) + 1
    return block_start(number) + offset_in_block
