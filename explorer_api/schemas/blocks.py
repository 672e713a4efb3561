"""Blocks: as rows of a list, and with all their fields."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from explorer_api.schemas.identities import Identity, read_identity
from explorer_api.schemas.paging import PageInfo
from explorer_api.schemas.stored_values import Omitted, read_integer, read_list
from explorer_api.schemas.transactions import TransactionRow, is_agreed, transaction_row
from explorer_api.schemas.verification import BlockVerification
from ledger.documents.format import Document


class Signer(Struct, frozen=True, rename="camel"):
    """The signer of a block.

    With the Raft ordering service it is an `identity`. With SmartBFT it is a `consenterId`, the
    number of a consenter in the channel configuration.
    """

    identity: Identity | None
    consenter_id: int | None


class BlockRow(Struct, frozen=True, rename="camel"):
    """A block in a list.

    `ts` is the lower median of the times that the clients of its transactions claimed. `size` is
    the number of bytes of its envelopes. `agreed` says whether the required number of peers gave
    the block; it is null in a stream.
    """

    number: int
    hash: str
    previous_hash: str
    data_hash: str
    ts: datetime | None
    transaction_count: int
    valid_count: int
    event_count: int
    size: int
    agreed: bool | None


class BlockDetail(BlockRow, frozen=True, rename="camel"):
    """A block with all its fields.

    `last_config` is the number of the block whose channel configuration is in force.
    `digest` is the digest of the block's documents, on which the digests of all later blocks
    depend; it is null if an older program indexed the block. `transactions` is null unless the
    request has `include=transactions`.
    """

    commit_hash: str | None
    last_config: int | None
    signers: list[Signer] | Omitted
    digest: str | None
    verification: BlockVerification
    transactions: list[TransactionRow] | None


class LedgerDigest(Struct, frozen=True, rename="camel"):
    """The digest of the documents of all blocks up to a block.

    `hash` is the hash of this block, `start_block` the number of the lowest stored block. `digest`
    is null if an older program indexed the block.
    """

    channel: str
    start_block: int
    number: int
    hash: str
    digest: str | None


class BlockPage(Struct, frozen=True):
    """A page of blocks below `height`, which was the ledger's height when the paging began."""

    items: list[BlockRow]
    page: PageInfo
    height: int


def block_row(document: Document, agreed_height: int | None = None) -> BlockRow:
    """Return a block document as a row of a list."""
    return BlockRow(**_row_fields(document, agreed_height))


def block_detail(
    document: Document,
    transactions: Sequence[Document] | None,
    agreed_height: int,
    verification: BlockVerification,
) -> BlockDetail:
    """Return a block document with all its fields, and its transactions unless they are None."""
    last_config = document["lastConfig"]
    rows = None
    if transactions is not None:
        rows = [transaction_row(row, agreed_height) for row in transactions]
    return BlockDetail(
        **_row_fields(document, agreed_height),
        commit_hash=document["commitHash"],
        last_config=read_integer(last_config) if last_config is not None else None,
        signers=read_list(document["signers"], _read_signer),
        digest=document.get("digest"),
        verification=verification,
        transactions=rows,
    )


def _row_fields(document: Document, agreed_height: int | None) -> dict[str, Any]:
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
        "agreed": is_agreed(document["number"], agreed_height),
    }


def _read_signer(stored: Document) -> Signer:
    if "consenterId" in stored:
        return Signer(identity=None, consenter_id=stored["consenterId"])
    return Signer(identity=read_identity(stored), consenter_id=None)
