"""The history of a key."""

from datetime import datetime

from msgspec import Struct

from explorer_api.schemas.identities import Identity, read_identity
from explorer_api.schemas.paging import PageInfo
from explorer_api.schemas.stored_values import Encoding, Text, read_value
from explorer_api.schemas.transactions import read_transaction_id
from ledger.documents.format import Document


class KeyWrite(Struct, frozen=True, rename="camel"):
    """A committed write or deletion of a key.

    `tx_id` is null if the transaction does not own a transaction id. `ts` is the time that the
    client of the `creator` signed.
    """

    block: int
    tx_index: int
    tx_id: Text | None
    ts: datetime | None
    creator: Identity | None
    value: Text | None
    encoding: Encoding | None
    is_delete: bool


class KeyHistory(Struct, frozen=True):
    """A page of writes in blocks below `height`, the ledger's height when the paging began."""

    items: list[KeyWrite]
    page: PageInfo
    height: int


def key_write(document: Document) -> KeyWrite:
    """Return the last write in a transaction document whose `writes` are all of one key."""
    write, creator = document["writes"][-1], document["creator"]
    value = read_value(write.get("value"))
    return KeyWrite(
        block=document["blockNumber"],
        tx_index=document["txIndex"],
        tx_id=read_transaction_id(document["txId"]),
        ts=document["ts"],
        creator=read_identity(creator) if creator is not None else None,
        value=value.value,
        encoding=value.encoding,
        is_delete=write["isDelete"],
    )
