"""The messages of a stream, encoded as server-sent events."""

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from explorer_api.schemas.blocks import block_row
from explorer_api.schemas.encoding import encode_json
from explorer_api.schemas.events import event_row
from explorer_api.schemas.transactions import transaction_row
from explorer_api.streams.positions import KINDS, Kind, message_offset, position_after, position_id
from ledger.documents.format import Document
from ledger.documents.omissions import omission
from ledger.documents.payloads import payload_bytes

MAX_VALUE_BYTES: Final = 1 << 16
"""A message omits longer values; the lists of the API have them."""

_ROWS: Final[dict[Kind, Callable[[Document], Struct]]] = {
    "block": block_row,
    "transaction": transaction_row,
    "event": event_row,
}


class Message(Struct, frozen=True):
    """An encoded message, and the values by which selections select it."""

    offset: int
    kind: Kind
    data: bytes
    chaincode: Any = None
    event_name: Any = None


class Selection(Struct, frozen=True):
    """The messages that a client selected.

    Each message is of one of the `kinds`. If `chaincode` is not None, transactions and events are
    of this chaincode. If `event_name` is not None, events have this name.
    """

    kinds: frozenset[str] = frozenset(KINDS)
    chaincode: str | None = None
    event_name: str | None = None

    @property
    def is_filtered(self) -> bool:
        """Whether messages of the selected kinds are left out."""
        return self.chaincode is not None or self.event_name is not None

    def includes(self, message: Message) -> bool:
        """Return whether the message is selected."""
        kind = message.kind
        return (
            kind in self.kinds
            and (self.chaincode is None or kind == "block" or message.chaincode == self.chaincode)
            and (
                self.event_name is None or kind != "event" or message.event_name == self.event_name
            )
        )


EVERYTHING: Final = Selection()


def encode_message(kind: Kind, document: Document) -> Message:
    """Return the message about a block, a transaction or an event."""
    offset, row = message_offset(kind, document), _ROWS[kind]
    data = server_sent_event(kind, position_after(offset), row(document))
    if len(data) > MAX_VALUE_BYTES:
        short_document = _without_long_values(document)
        data = server_sent_event(kind, position_after(offset), row(short_document))
    return Message(offset, kind, data, document.get("chaincodeId"), document.get("eventName"))


def server_sent_event(name: str, position: int, body: Any) -> bytes:
    """Return a server-sent event. Its data is one line, since JSON has no line breaks."""
    return b"event: %b\nid: %b\ndata: %b\n\n" % (
        name.encode(),
        position_id(position).encode(),
        encode_json(body),
    )


def ping(position: int) -> bytes:
    """Return an event without data. A client ignores it, but remembers its id as the last one."""
    return b": ping\nid: %b\n\n" % position_id(position).encode()


def _without_long_values(document: Document) -> Document:
    """Return the document with omission objects, as in the store, in place of long values."""
    short = {name: _shorten(value) for name, value in document.items() if name != "payload"}
    if "payload" in document:
        short |= _shorten_payload(document)
    return short


def _shorten(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shorten(part) for name, part in value.items()}
    if isinstance(value, str | bytes) and len(value) > MAX_VALUE_BYTES // 4:
        data = value.encode() if isinstance(value, str) else value
        return omission(data) if len(data) > MAX_VALUE_BYTES else value
    return value


def _shorten_payload(document: Document) -> Document:
    exact = payload_bytes(document)
    if exact is not None and len(exact) <= MAX_VALUE_BYTES:
        return {"payload": document["payload"]}
    omitted = (
        document.get("payloadBytes", document["payload"]) if exact is None else omission(exact)
    )
    return {"payload": omitted, "payloadEncoding": "text"}
