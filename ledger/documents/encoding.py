"""Encodes the documents of a block, each within MongoDB's size limit."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

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
from ledger.state_changes import StateChanges

_GROUP_BYTES: Final = 1 << 17
"""The size of the envelopes that are encoded together."""


class EncodedBlock(Struct, frozen=True):
    """The documents of a block as MongoDB stores them.

    `undecodable` is the number of envelopes with parts that could not be decoded. `updates` are the
    serialized changes of the state; where the block alone does not tell them, what it tells.
    """

    number: int
    block: RawBSONDocument
    transactions: JoinedDocuments
    events: JoinedDocuments
    undecodable: int
    updates: bytes | StateChanges = b""

    @property
    def size(self) -> int:
        """The number of bytes of all documents."""
        return len(self.block.raw) + len(self.transactions.raw) + len(self.events.raw)


def encode_block(block: Block, owns: Sequence[bool]) -> EncodedBlock:
    """Return the encoded documents of a block.

    `owns` is the result of `ledger.ownership.decide_owners`.
    """
    counts = BlockCounts()
    transactions: list[bytes] = []
    events: list[bytes] = []
    undecodable = 0
    changes = StateChanges()
    for group in _groups(block.transactions):
        documents = [
            transaction_document(
                each,
                block.number,
                pack_position(block.number, each.index),
                owns_id=owns[each.index],
            )
            for each in group
        ]
        event_documents = [*map(event_document, group, documents)]
        transactions += map(_encode, documents)
        events += [_encode(event) for event in event_documents if event is not None]
        for transaction in group:
            counts.add(transaction)
            changes.add(transaction)
            undecodable += bool(transaction.errors)
    return EncodedBlock(
        number=block.number,
        block=RawBSONDocument(encode_block_document(block, counts, len(events))),
        transactions=join(transactions),
        events=join(events),
        undecodable=undecodable,
        updates=changes.updates(block.number),
    )


def _groups(transactions: Iterable[Transaction]) -> Iterator[list[Transaction]]:
    """Yield the transactions in groups, of which only one at a time is in memory in decoded form.

    A processor's caches hold the code of one step. To do each step for a whole group is therefore
    a sixth faster than to do all steps for one transaction after the other.
    """
    group: list[Transaction] = []
    size = 0
    for transaction in transactions:
        group.append(transaction)
        size += transaction.envelope_size
        if size >= _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


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
