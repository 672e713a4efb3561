"""Encodes a block's documents, each within MongoDB's size limit."""

from collections.abc import Sequence

import bson
from bson.raw_bson import RawBSONDocument
from msgspec import Struct

from ledger.documents import (
    BlockSums,
    Document,
    block_document,
    event_document,
    position,
    stored_tx_id,
    transaction_document,
)
from ledger.limits import MAX_DOCUMENT_BYTES, fit
from ledger.model import Block


class EncodedBlock(Struct, frozen=True):
    """A block's documents as MongoDB keeps them.

    `size` is their bytes, `undecodable` counts the envelopes that could not be decoded to the bottom.
    """

    number: int
    block: RawBSONDocument
    transactions: list[RawBSONDocument]
    events: list[RawBSONDocument]
    size: int
    undecodable: int


def encode_block(block: Block, owns: Sequence[bool]) -> EncodedBlock:
    """The encoded documents of a block; `owns` as `ledger.ownership.decide_owners` gives it.

    Transactions are taken one by one, so that decoded ones do not add up.
    """
    sums = BlockSums()
    transactions: list[RawBSONDocument] = []
    events: list[RawBSONDocument] = []
    undecodable = 0
    for transaction, owned in zip(block.transactions, owns, strict=True):
        place = position(block.number, transaction.index)
        tx_id = stored_tx_id(transaction.tx_id, place, owns=owned)
        document = transaction_document(transaction, block.number, place, tx_id)
        event = event_document(transaction, block.number, place, tx_id, document["ts"])
        transactions.append(_encode(document))
        if event is not None:
            events.append(_encode(event))
        sums.add(transaction)
        undecodable += bool(transaction.errors)
    encoded = _encode(block_document(block, sums, len(events)))
    return EncodedBlock(
        number=block.number,
        block=encoded,
        transactions=transactions,
        events=events,
        size=sum(len(document.raw) for document in (encoded, *transactions, *events)),
        undecodable=undecodable,
    )


def _encode(document: Document) -> RawBSONDocument:
    encoded = bson.encode(document)
    if len(encoded) > MAX_DOCUMENT_BYTES:
        encoded = bson.encode(fit(document))
    return RawBSONDocument(encoded)
