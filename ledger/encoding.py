"""Encodes a block's documents, each within MongoDB's size limit."""

from collections.abc import Sequence

import bson
from bson.raw_bson import RawBSONDocument
from msgspec import Struct

from ledger.documents import Document, block_documents
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
    """The encoded documents of a block; `owns` as `ledger.ownership.decide_owners` gives it."""
    documents = block_documents(block, owns)
    encoded = _encode(documents.block)
    transactions = [_encode(document) for document in documents.transactions]
    events = [_encode(document) for document in documents.events]
    return EncodedBlock(
        number=block.number,
        block=encoded,
        transactions=transactions,
        events=events,
        size=len(encoded.raw) + sum(len(d.raw) for d in transactions) + sum(len(d.raw) for d in events),
        undecodable=sum(bool(transaction.errors) for transaction in block.transactions),
    )


def _encode(document: Document) -> RawBSONDocument:
    encoded = bson.encode(document)
    if len(encoded) > MAX_DOCUMENT_BYTES:
        encoded = bson.encode(fit(document))
    return RawBSONDocument(encoded)
