"""Encodes the documents of a block, each within MongoDB's size limit."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import bson
from bson.raw_bson import RawBSONDocument
from msgspec import Struct

from ledger.documents.blocks import BlockCounts, block_document, signers_document
from ledger.documents.digests import NO_DIGEST, block_digest, signers_digest
from ledger.documents.events import event_document
from ledger.documents.format import Document
from ledger.documents.joined import JoinedDocuments, join, join_fields
from ledger.documents.size_limit import MAX_DOCUMENT_BYTES, MAX_SIGNERS_BYTES, fit_to_size_limit
from ledger.documents.transactions import transaction_document
from ledger.model import Block, Transaction
from ledger.position import pack_position

_GROUP_BYTES: Final = 1 << 17
"""The size of the envelopes that are encoded together."""


class EncodedBlock(Struct, frozen=True):
    """The documents of a block as MongoDB stores them.

    The digest of the next block depends on `digest`. `undecodable` is the number of envelopes with
    parts that could not be decoded.
    """

    number: int
    digest: bytes
    block: RawBSONDocument
    transactions: JoinedDocuments
    events: JoinedDocuments
    undecodable: int

    @property
    def size(self) -> int:
        """The number of bytes of all documents."""
        return len(self.block.raw) + len(self.transactions.raw) + len(self.events.raw)


class EncodedTransactions(Struct, frozen=True):
    """The documents of a block's transactions and events.

    `counts` has counted the transactions, `undecodable` those with parts that could not be decoded.
    """

    transactions: JoinedDocuments
    events: JoinedDocuments
    counts: BlockCounts
    undecodable: int


def encode_block(
    block: Block, owns: Sequence[bool], previous_digest: bytes = NO_DIGEST
) -> EncodedBlock:
    """Return the encoded documents of a block.

    `owns` is the result of `ledger.ownership.decide_owners`, `previous_digest` the digest of the
    block before, if it has one.
    """
    counts = BlockCounts()
    transactions: list[bytes] = []
    events: list[bytes] = []
    undecodable = 0
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
            undecodable += bool(transaction.errors)
    encoded = EncodedTransactions(join(transactions), join(events), counts, undecodable)
    return add_block_document(block, encoded, previous_digest)


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


def add_block_document(
    block: Block, encoded: EncodedTransactions, previous_digest: bytes
) -> EncodedBlock:
    """Return the documents of a block: of its transactions, its events, and its own."""
    transactions, events = encoded.transactions, encoded.events
    content = _encode(block_document(block, encoded.counts, transactions, events))
    digest = block_digest(previous_digest, content)
    signers = _encode(signers_document(block), MAX_SIGNERS_BYTES)
    digests = {"signersDigest": signers_digest(digest, signers), "digest": digest.hex()}
    return EncodedBlock(
        number=block.number,
        digest=digest,
        block=RawBSONDocument(join_fields(content, signers, bson.encode(digests))),
        transactions=transactions,
        events=events,
        undecodable=encoded.undecodable,
    )


def _encode(document: Document, limit: int = MAX_DOCUMENT_BYTES) -> bytes:
    encoded = bson.encode(document)
    if len(encoded) > limit:
        encoded = bson.encode(fit_to_size_limit(document, limit))
    return encoded
