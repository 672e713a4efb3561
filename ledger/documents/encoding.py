"""Encodes the documents of a block, each within MongoDB's size limit."""

from collections.abc import Sequence

import bson
from bson.raw_bson import RawBSONDocument
from msgspec import Struct

from ledger.documents.blocks import BlockCounts, block_document
from ledger.documents.events import event_document
from ledger.documents.format import Document
from ledger.documents.joined import JoinedDocuments, join
from ledger.documents.size_limit import MAX_DOCUMENT_BYTES, fit_to_size_limit
from ledger.documents.transactions import transaction_document
from ledger.model import Block, Transaction
from ledger.position import pack_position


class EncodedBlock(Struct, frozen=True):
    """The documents of a block as MongoDB stores them.

    `undecodable` is the number of envelopes with parts that could not be decoded.
    """

    number: int
    block: RawBSONDocument
    transactions: JoinedDocuments
    events: JoinedDocuments
    undecodable: int

    @property
    def size(self) -> int:
        """The number of bytes of all documents."""
        return len(self.block.raw) + len(self.transactions.raw) + len(self.events.raw)


def encode_block(block: Block, owns: Sequence[bool]) -> EncodedBlock:
    """Return the encoded documents of a block.

    `owns` is the result of `ledger.ownership.decide_owners`. Only one transaction at a time is in
    memory in decoded form.
    """
    counts = BlockCounts()
    transactions: list[bytes] = []
    events: list[bytes] = []
    undecodable = 0
    for transaction, owns_id in zip(block.transactions, owns, strict=True):
        document, event = encode_transaction(transaction, block.number, owns_id=owns_id)
        transactions.append(document)
        if event is not None:
            events.append(event)
        counts.add(transaction)
        undecodable += bool(transaction.errors)
    return EncodedBlock(
        number=block.number,
        block=RawBSONDocument(encode_block_document(block, counts, len(events))),
        transactions=join(transactions),
        events=join(events),
        undecodable=undecodable,
    )


def encode_transaction(
    transaction: Transaction, number: int, *, owns_id: bool
) -> tuple[bytes, bytes | None]:
    """Return the encoded documents of a transaction in block `number` and of its event, if any."""
    position = pack_position(number, transaction.index)
    document = transaction_document(transaction, number, position, owns_id=owns_id)
    event = event_document(transaction, document)
    return _encode(document), _encode(event) if event is not None else None


def encode_block_document(block: Block, counts: BlockCounts, event_count: int) -> bytes:
    """Return the encoded document of a block whose transactions `counts` has counted."""
    return _encode(block_document(block, counts, event_count))


def _encode(document: Document) -> bytes:
    encoded = bson.encode(document)
    if len(encoded) > MAX_DOCUMENT_BYTES:
        encoded = bson.encode(fit_to_size_limit(document))
    return encoded
