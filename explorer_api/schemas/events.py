"""Chaincode events."""

from datetime import datetime
from typing import Any

from msgspec import Struct

from explorer_api.schemas.paging import PageInfo
from explorer_api.schemas.stored_values import Encoding, Text, read_payload, read_text
from explorer_api.schemas.transactions import read_transaction_id
from ledger.documents.format import Document


class Event(Struct, frozen=True, rename="camel"):
    """A chaincode event of a VALID transaction.

    `tx_id` is null if the transaction does not own a transaction id.
    """

    block: int
    tx_index: int
    tx_id: Text | None
    chaincode: Text
    name: Text
    payload: Any
    encoding: Encoding
    ts: datetime | None


class EventPage(Struct, frozen=True):
    """A page of events in blocks below `height`, the ledger's height when the paging began."""

    items: list[Event]
    page: PageInfo
    height: int


def event_row(document: Document) -> Event:
    """Return an event document as a row of a list."""
    payload, encoding = read_payload(document)
    return Event(
        block=document["blockNumber"],
        tx_index=document["txIndex"],
        tx_id=read_transaction_id(document["txId"]),
        chaincode=read_text(document["chaincodeId"]),
        name=read_text(document["eventName"]),
        payload=payload,
        encoding=encoding,
        ts=document["ts"],
    )
