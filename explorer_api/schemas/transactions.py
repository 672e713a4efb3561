"""Transactions: as rows of a list, and with all their fields."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from explorer_api.schemas.actions import (
    Action,
    ActionEvent,
    Response,
    action_fields,
    read_action,
)
from explorer_api.schemas.identities import Identity, read_identity
from explorer_api.schemas.paging import PageInfo
from explorer_api.schemas.read_write_sets import ReadWriteSet
from explorer_api.schemas.stored_values import (
    Encoding,
    Omitted,
    Text,
    Value,
    read_integer,
    read_list,
    read_optional_text,
    read_text,
    read_value,
)
from explorer_api.schemas.verification import TransactionVerification
from ledger.documents.format import Document
from reconciliation.reports import BusinessRows


class TransactionRow(Struct, frozen=True, rename="camel"):
    """A transaction in a list.

    An envelope does not own a transaction id if it has no id, or if an earlier envelope has the
    same id. Then `tx_id` is null, and `claimed_tx_id` is the id in the envelope.

    `agreed` says whether the required number of peers gave its block; it is null in a stream.
    """

    block: int
    tx_index: int
    tx_id: Text | None
    claimed_tx_id: Text | None
    type: str | None
    status: str
    validation_code: int
    chaincode: Text | None
    function: Text | None
    function_encoding: Encoding | None
    creator_msp: Text | None
    ts: datetime | None
    agreed: bool | None


class TransactionPage(Struct, frozen=True):
    """A page of transactions in blocks below `height`.

    `height` was the ledger's height when the paging began.
    """

    items: list[TransactionRow]
    page: PageInfo
    height: int


class ClaimedTime(Struct, frozen=True):
    """The time that the client signed, in seconds and nanoseconds since 1970; it can be invalid."""

    seconds: int
    nanos: int


class Repeat(Struct, frozen=True, rename="camel"):
    """Another envelope with the same transaction id: submitted again, or forged."""

    block: int
    tx_index: int
    status: str
    validation_code: int


class TransactionDetail(TransactionRow, frozen=True, rename="camel"):
    """A transaction with all its fields.

    Fabric's transactions have one action. The fields of an action are those of the first action;
    `further_actions` has the others.

    `timestamp` is the time that the client signed; `ts` is the same time, or null if it is not a
    valid one. `lifecycle` is the chaincode definition that the transaction approved or committed.
    `config` is the channel configuration in a CONFIG envelope. `errors` names the parts that could
    not be decoded. `repeats` has the first 100 other envelopes with the same id.

    `business` has the rows of the business database that name the transaction. It is null if the
    API has no business database for the channel, or if the database does not answer;
    `business_unavailable` is true in the second case.
    """

    timestamp: ClaimedTime | None
    creator: Identity | None
    chaincode_version: Text | None
    args: list[Value] | Omitted
    is_init: bool
    endorsers: list[Identity | None] | Omitted
    response: Response | None
    rwsets: list[ReadWriteSet] | Omitted
    event: ActionEvent | None
    further_actions: list[Action] | Omitted
    lifecycle: dict[str, Any] | None
    config: dict[str, Any] | None
    errors: list[Text] | Omitted
    verification: TransactionVerification
    repeats: list[Repeat] | None
    business: BusinessRows | None
    business_unavailable: bool
    envelope_hash: str
    envelope_size: int


def read_transaction_id(stored: str | int | Document) -> Text | None:
    """Return a stored `txId`; None if a position replaces it, since the envelope owns no id."""
    return None if isinstance(stored, int) else read_text(stored)


def is_agreed(number: int, agreed_height: int | None) -> bool | None:
    """Return whether block `number` is agreed; None if that is not known."""
    return None if agreed_height is None else number < agreed_height


def transaction_row(document: Document, agreed_height: int | None = None) -> TransactionRow:
    """Return a transaction document as a row of a list."""
    return TransactionRow(**_row_fields(document, agreed_height))


def transaction_detail(
    document: Document,
    event: Document | None,
    repeats: Sequence[Document] | None,
    business: BusinessRows | None = None,
    *,
    agreed_height: int,
    verification: TransactionVerification,
    business_unavailable: bool = False,
) -> TransactionDetail:
    """Return a transaction document with all its fields.

    `event` is the event document of a VALID transaction; other transactions hold their event.
    `repeats` are the documents of other envelopes with the same id.
    """
    timestamp = document["timestamp"]
    creator = document["creator"]
    action = action_fields(document, event if event is not None else document.get("event"))
    return TransactionDetail(
        **_row_fields(document, agreed_height) | action,
        timestamp=_read_claimed_time(timestamp) if timestamp is not None else None,
        creator=read_identity(creator) if creator is not None else None,
        further_actions=read_list(document.get("furtherActions"), read_action),
        lifecycle=document.get("lifecycle"),
        config=_read_config(document.get("config")),
        errors=read_list(document.get("errors"), read_text),
        verification=verification,
        repeats=[_repeat(repeat) for repeat in repeats] if repeats is not None else None,
        business=business,
        business_unavailable=business_unavailable,
        envelope_hash=document["envelopeHash"],
        envelope_size=document["envelopeSize"],
    )


def _row_fields(document: Document, agreed_height: int | None) -> dict[str, Any]:
    function = read_value(document.get("function"))
    creator = document.get("creator")
    return {
        "block": document["blockNumber"],
        "tx_index": document["txIndex"],
        "tx_id": read_transaction_id(document["txId"]),
        "claimed_tx_id": read_optional_text(document.get("claimedTxId")),
        "type": document["type"],
        "status": document["status"],
        "validation_code": document["validationCode"],
        "chaincode": read_optional_text(document["chaincodeId"]),
        "function": function.value,
        "function_encoding": function.encoding,
        "creator_msp": read_text(creator["mspId"]) if creator is not None else None,
        "ts": document["ts"],
        "agreed": is_agreed(document["blockNumber"], agreed_height),
    }


def _read_claimed_time(stored: Document) -> ClaimedTime:
    return ClaimedTime(stored["seconds"], stored["nanos"])


def _read_config(stored: Document | None) -> Document | None:
    return None if stored is None else {**stored, "sequence": read_integer(stored["sequence"])}


def _repeat(document: Document) -> Repeat:
    return Repeat(
        document["blockNumber"],
        document["txIndex"],
        document["status"],
        document["validationCode"],
    )
