"""What a live stream says: messages as server-sent events, their order, and the positions between them.

A message's place is an integer, and so is a position, which lies before the messages of at least that place. In a
block each transaction comes before its event, and the block itself comes last: who has that has the whole block.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from msgspec import Struct

from explorer_api.schemas.blocks import block_row
from explorer_api.schemas.encoding import encode_json
from explorer_api.schemas.events import event_row
from explorer_api.schemas.transactions import transaction_row
from ledger.documents.format import Document
from ledger.documents.omissions import omission
from ledger.documents.payloads import payload_bytes
from ledger.position import INDEX_BITS, MAX_BLOCK_NUMBER, MAX_INDEX

Kind = Literal["block", "transaction", "event"]
KINDS: Final[tuple[Kind, ...]] = ("block", "transaction", "event")

MAX_VALUE_BYTES: Final = 1 << 16
"""A longer value is omitted from a message; the lists have it."""

_BLOCK_BITS: Final = (
    INDEX_BITS + 2  # the index, a bit that tells an event from its transaction, and _BLOCK
)
_BLOCK: Final = 1 << (INDEX_BITS + 1)
_WITHIN: Final = (1 << _BLOCK_BITS) - 1
_ID: Final = re.compile(r"(0|[1-9][0-9]{0,15})(?:\.(0|[1-9][0-9]{0,6})\.([te]))?", re.ASCII)
_MESSAGE_BYTES: Final = 250


def block_start(number: int) -> int:
    """The position before the first message of a block, after all blocks below it."""
    return number << _BLOCK_BITS


def block_at(position: int) -> int:
    """The number of the block in which, or before which, the position lies."""
    return position >> _BLOCK_BITS


def first_index(position: int, kind: Kind) -> int:
    """The lowest index, in the position's block, of a transaction whose message of that kind follows the position."""
    within = position & _WITHIN
    return within >> 1 if kind == "event" else (within + 1) >> 1


def place_of(kind: Kind, document: Document) -> int:
    """The place of the message about a block, a transaction or an event."""
    if kind == "block":
        return block_start(document["number"]) + _BLOCK
    return block_start(document["blockNumber"]) + 2 * int(document["txIndex"]) + (kind == "event")


def position_after(place: int) -> int:
    """The position after the message at a place."""
    return block_start(block_at(place) + 1) if place & _BLOCK else place + 1


def position_id(position: int) -> str:
    """The position as the id of the message before it.

    `17` is after all blocks below 17; `17.3.t` and `17.3.e` are after the transaction of index 3 in block 17, and
    after its event.
    """
    within = position & _WITHIN
    if within == 0:
        return str(block_at(position))
    index, is_event = divmod(within - 1, 2)
    return f"{block_at(position)}.{index}.{'e' if is_event else 't'}"


def read_position(text: str) -> int:
    """The position that has this id. Raises `ValueError` if none has."""
    match = _ID.fullmatch(text)
    if match is None:
        raise ValueError
    number, index = int(match[1]), int(match[2] or 0)
    if number > MAX_BLOCK_NUMBER or index > MAX_INDEX:
        raise ValueError
    within = 0 if match[3] is None else 2 * index + "te".index(match[3]) + 1
    return block_start(number) + within


class Message(Struct, frozen=True):
    """A message as bytes, and what a selection asks of it."""

    place: int
    kind: Kind
    data: bytes
    chaincode: Any = None
    name: Any = None


class Selection(Struct, frozen=True):
    """Which messages a client wants: of some kinds, of one chaincode (blocks have none), events of one name."""

    kinds: frozenset[str] = frozenset(KINDS)
    chaincode: str | None = None
    event: str | None = None

    def takes(self, message: Message) -> bool:
        """Whether the client wants it."""
        kind = message.kind
        return (
            kind in self.kinds
            and (self.chaincode is None or kind == "block" or message.chaincode == self.chaincode)
            and (self.event is None or kind != "event" or message.name == self.event)
        )


EVERYTHING: Final = Selection()


Limits = Mapping[Kind, int]
"""How many documents of each kind to ask for."""


class Chunk(Struct, frozen=True):
    """Consecutive messages of a selection, the position up to which there are no others, and limits for the next."""

    messages: Sequence[Message]
    end: int
    limits: Limits

    @property
    def size(self) -> int:
        """Bytes in memory, about."""
        return sum(len(message.data) + _MESSAGE_BYTES for message in self.messages)

    def beyond(self, position: int, selection: Selection) -> bytes:
        """Those of the messages that follow the position and are selected."""
        return b"".join(
            [m.data for m in self.messages if m.place >= position and selection.takes(m)]
        )


def render(kind: Kind, document: Document) -> Message:
    """The message about a block, a transaction or an event."""
    place = place_of(kind, document)
    represent: Callable[[Document], Struct] = _REPRESENTED[kind]
    data = server_sent(kind, position_after(place), represent(document))
    if len(data) > MAX_VALUE_BYTES:
        data = server_sent(kind, position_after(place), represent(_shortened(document)))
    return Message(place, kind, data, document.get("chaincodeId"), document.get("eventName"))


_REPRESENTED: Final = {"block": block_row, "transaction": transaction_row, "event": event_row}


def server_sent(name: str, position: int, body: Any) -> bytes:
    """A server-sent event. JSON has no line breaks, so that it is one line."""
    return b"event: %b\nid: %b\ndata: %b\n\n" % (
        name.encode(),
        position_id(position).encode(),
        encode_json(body),
    )


def ping(position: int) -> bytes:
    """Nothing to see; yet an id without data is remembered as the last one."""
    return b": ping\nid: %b\n\n" % position_id(position).encode()


def _shortened(document: Document) -> Document:
    """The document, long values omitted as the store omits the longest."""
    short = {name: _short(value) for name, value in document.items() if name != "payload"}
    if "payload" in document:
        short |= _short_payload(document)
    return short


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _short(part) for name, part in value.items()}
    if isinstance(value, str | bytes) and len(value) > MAX_VALUE_BYTES // 4:
        data = value.encode() if isinstance(value, str) else value
        return omission(data) if len(data) > MAX_VALUE_BYTES else value
    return value


def _short_payload(document: Document) -> Document:
    exact = payload_bytes(document)
    if exact is not None and len(exact) <= MAX_VALUE_BYTES:
        return {"payload": document["payload"]}
    omitted = (
        document.get("payloadBytes", document["payload"]) if exact is None else omission(exact)
    )
    return {"payload": omitted, "payloadEncoding": "text"}
