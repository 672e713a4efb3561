"""Blocks, events and list rows as the API shows them. Fields are never left out: what is not known is null."""

from datetime import datetime
from typing import Any

from msgspec import Struct

from explorer_api.schemas.values import (
    Encoding,
    Omitted,
    Text,
    integer,
    listed,
    optional_text,
    payload,
    text,
    value,
)
from ledger.documents.format import Document


class Identity(Struct, frozen=True, rename="camel"):
    """A creator, endorser or signer.

    `subject` and `fingerprint` (SHA-256 of the certificate's DER) belong to the kind `x509` only; `digest` (SHA-256
    of the identity's bytes) stands for the other kinds, idemix and unknown.
    """

    msp_id: Text
    kind: str
    subject: Text | None
    fingerprint: str | None
    digest: str | None


class Signer(Struct, frozen=True, rename="camel"):
    """Who signed a block: a certificate (Raft), or a consenter's id in the channel configuration (SmartBFT)."""

    identity: Identity | None
    consenter_id: int | None


class BlockRow(Struct, frozen=True, rename="camel"):
    """A block in a list. `ts` is the lower median of what its clients claimed; `size` counts its envelopes' bytes."""

    number: int
    hash: str
    previous_hash: str
    data_hash: str
    ts: datetime | None
    transaction_count: int
    valid_count: int
    event_count: int
    size: int


class TransactionRow(Struct, frozen=True, rename="camel"):
    """A transaction in a list.

    `tx_id` is null for an envelope that owns no id (it has none, or repeats another's); `claimed_tx_id` is then what
    it says.
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


class BlockDetail(BlockRow, frozen=True, rename="camel"):
    """A whole block. `last_config` is the number of the configuration block in force; `transactions` on request."""

    commit_hash: str | None
    last_config: int | None
    signers: list[Signer] | Omitted
    transactions: list[TransactionRow] | None


class Event(Struct, frozen=True, rename="camel"):
    """A chaincode event of a VALID transaction. `tx_id` is null if its transaction owns no id."""

    block: int
    tx_index: int
    tx_id: Text | None
    chaincode: Text
    name: Text
    payload: Any
    encoding: Encoding
    ts: datetime | None


class PageInfo(Struct, frozen=True):
    """`next` is the cursor of the next page, null on the last one. A page can end before its limit."""

    next: str | None
    limit: int


class BlockPage(Struct, frozen=True):
    """Blocks below `height`, the ledger's when the paging began."""

    items: list[BlockRow]
    page: PageInfo
    height: int


class TransactionPage(Struct, frozen=True):
    """Transactions of blocks below `height`, the ledger's when the paging began."""

    items: list[TransactionRow]
    page: PageInfo
    height: int


class EventPage(Struct, frozen=True):
    """Events of blocks below `height`, the ledger's when the paging began."""

    items: list[Event]
    page: PageInfo
    height: int


def identity(stored: Document) -> Identity:
    """A stored identity."""
    return Identity(
        msp_id=text(stored["mspId"]),
        kind=stored.get("kind", "x509"),
        subject=optional_text(stored["subject"]),
        fingerprint=stored["fingerprint"],
        digest=stored.get("digest"),
    )


def block_row(document: Document) -> BlockRow:
    """A block document as a list shows it."""
    return BlockRow(**_block_fields(document))


def block_detail(document: Document, transactions: list[Document] | None) -> BlockDetail:
    """A block document, with its transactions' documents if they were asked for."""
    last_config = document["lastConfig"]
    return BlockDetail(
        **_block_fields(document),
        commit_hash=document["commitHash"],
        last_config=integer(last_config) if last_config is not None else None,
        signers=listed(document["signers"], _signer),
        transactions=[transaction_row(row) for row in transactions]
        if transactions is not None
        else None,
    )


def _block_fields(document: Document) -> dict[str, Any]:
    return {
        "number": document["number"],
        "hash": document["blockHash"],
        "previous_hash": document["previousHash"],
        "data_hash": document["dataHash"],
        "ts": document["ts"],
        "transaction_count": document["transactionCount"],
        "valid_count": document["validCount"],
        "event_count": document["eventCount"],
        "size": document["size"],
    }


def _signer(stored: Document) -> Signer:
    if "consenterId" in stored:
        return Signer(identity=None, consenter_id=stored["consenterId"])
    return Signer(identity=identity(stored), consenter_id=None)


def transaction_id(stored: str | int | Document) -> Text | None:
    """A stored `txId`: null where a position stands for it."""
    return None if isinstance(stored, int) else text(stored)


def transaction_row(document: Document) -> TransactionRow:
    """A transaction document as a list shows it."""
    return TransactionRow(**transaction_fields(document))


def transaction_fields(document: Document) -> dict[str, Any]:
    """The fields of a `TransactionRow`."""
    function = value(document.get("function"))
    creator = document.get("creator")
    return {
        "block": document["blockNumber"],
        "tx_index": document["txIndex"],
        "tx_id": transaction_id(document["txId"]),
        "claimed_tx_id": optional_text(document.get("claimedTxId")),
        "type": document["type"],
        "status": document["status"],
        "validation_code": document["validationCode"],
        "chaincode": optional_text(document["chaincodeId"]),
        "function": function.value,
        "function_encoding": function.encoding,
        "creator_msp": text(creator["mspId"]) if creator is not None else None,
        "ts": document["ts"],
    }


def event(document: Document) -> Event:
    """An event document."""
    shown, encoding = payload(document)
    return Event(
        block=document["blockNumber"],
        tx_index=document["txIndex"],
        tx_id=transaction_id(document["txId"]),
        chaincode=text(document["chaincodeId"]),
        name=text(document["eventName"]),
        payload=shown,
        encoding=encoding,
        ts=document["ts"],
    )
