"""Chaincodes, and their definitions on the channel."""

from datetime import datetime

from msgspec import Struct

from explorer_api.schemas.stored_values import Omitted, Text, read_list, read_text
from explorer_api.schemas.transactions import read_transaction_id
from ledger.documents.format import Document


class ChaincodeRow(Struct, frozen=True, rename="camel"):
    """A chaincode in a list.

    `version` and `sequence` are those of the definition in force. They are null for system
    chaincodes, and for chaincodes that were deployed before Fabric had lifecycle definitions.
    `transactions` counts the transactions that name the chaincode, valid or not. They are in the
    blocks from `first_block` to `last_block`, which are null if there are no such transactions.
    `events` counts the events of VALID transactions.
    """

    name: str
    version: Text | None
    sequence: int | None
    transactions: int
    events: int
    first_block: int | None
    last_block: int | None


class ChaincodeList(Struct, frozen=True):
    """The chaincodes in blocks below `height`, those with the most transactions first.

    `more` is true if there are more than 500.
    """

    items: list[ChaincodeRow]
    more: bool
    height: int


class Definition(Struct, frozen=True, rename="camel"):
    """A chaincode definition that the channel committed.

    `collections` has the names of its private data collections.
    """

    sequence: int
    version: Text
    init_required: bool
    collections: list[Text] | Omitted
    block: int
    tx_index: int
    tx_id: Text | None
    ts: datetime | None


class ChaincodeDetail(ChaincodeRow, frozen=True, rename="camel"):
    """A chaincode with all its definitions in blocks below `height`, the newest first."""

    definitions: list[Definition]
    height: int


def read_definition(document: Document) -> Definition:
    """Return the chaincode definition that a transaction document committed."""
    lifecycle = document["lifecycle"]
    return Definition(
        sequence=lifecycle["sequence"],
        version=read_text(lifecycle["version"]),
        init_required=lifecycle["initRequired"],
        collections=read_list(lifecycle["collections"], read_text),
        block=document["blockNumber"],
        tx_index=document["txIndex"],
        tx_id=read_transaction_id(document["txId"]),
        ts=document["ts"],
    )
