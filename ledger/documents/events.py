"""The stored form of chaincode events."""

from ledger.documents.format import FORMAT, Document
from ledger.documents.payloads import payload_fields
from ledger.model import VALID, Action, Transaction


def event_fields(action: Action) -> Document:
    """Return the fields of an action's event, for every document that contains the event."""
    event = action.event
    assert event is not None  # noqa: S101 - callers check this
    return {
        "chaincodeId": event.chaincode_id,
        "eventName": event.name,
        **payload_fields(event.payload),
    }


def event_document(transaction: Transaction, stored: Document) -> Document | None:
    """Return the document of a transaction's event, or None if it has no event or is not VALID.

    Fabric delivers events of VALID transactions only. `stored` is the document of the transaction;
    the document of the event has the same position, id and time.
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
