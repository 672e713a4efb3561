"""Stored forms of chaincode events."""

from ledger.documents.format import FORMAT, Document
from ledger.documents.payloads import payload_fields
from ledger.model import VALID, Action, Transaction


def event_fields(action: Action) -> Document:
    """Return the fields that an action's event has wherever it is stored."""
    event = action.event
    assert event is not None  # noqa: S101 - callers ask first
    return {
        "chaincodeId": event.chaincode_id,
        "eventName": event.name,
        **payload_fields(event.payload),
    }


def event_document(transaction: Transaction, stored: Document) -> Document | None:
    """Return the document of a transaction's event; None without one, or if it is not VALID.

    Fabric's clients deliver events of VALID transactions only. `stored` is the transaction's own
    document, of which the event's has the position, the id and the time.
    """
    if transaction.code != VALID or not transaction.actions or transaction.actions[0].event is None:
        return None
    return {
        "_id": stored["_id"],
        "txId": stored["txId"],
        **event_fields(transaction.actions[0]),
        "blockNumber": stored["blockNumber"],
        "txIndex": transaction.index,
        "ts": stored["ts"],
        "format": FORMAT,
    }
