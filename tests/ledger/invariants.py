"""Properties that the documents of every block have, however hostile the block is."""

from collections.abc import Iterator, Sequence
from typing import Any

import bson
from bson.dbref import DBRef

from ledger.decoding.blocks import decode_block, read_block
from ledger.documents.encoding import EncodedBlock
from ledger.documents.size_limit import MAX_DOCUMENT_BYTES
from ledger.model import VALID, Block, Transaction
from ledger.ownership import decide_owners
from ledger.position import pack_position
from tests.ledger import forging
from tests.ledger.encoders import encode_with_both
from tests.ledger.model_from_documents import block_of, transaction_of, without_unstored_facts

MAX_GROWTH = 64
"""The limit for the size of the documents of a block, as a multiple of the block's size.

An empty element of a list has two bytes in an envelope, and about fifty in a document.
"""

_FIXED_BYTES = 4096
_MAX_DEPTH = 100


def check_block(raw: bytes) -> EncodedBlock:
    """Decode and encode a correct block, and check that its documents contain the whole block.

    The block must be so small that no part of a document is omitted.
    """
    encoded = encode(raw)
    block = decode_block(read_block(raw))
    documents = [encoded.block, *encoded.transactions, *encoded.events]
    check_documents(
        block, decide_owners(block, ()), [decoded(document.raw) for document in documents]
    )
    return encoded


def checked_transaction(envelope_bytes: bytes) -> Transaction:
    """Return the transaction in an envelope, after a check of a block that contains only it."""
    raw = forging.block([envelope_bytes])
    check_block(raw)
    return decode_block(read_block(raw)).transactions[0]


def encode(raw: bytes) -> EncodedBlock:
    """Return the documents of a correct block, after a check of their sizes.

    Both encoders must give these documents. The block is the first that is indexed, so that no
    lower block owns its ids.
    """
    encoded = encode_with_both(raw)
    assert encoded is not None
    sizes = [
        len(document.raw) for document in (encoded.block, *encoded.transactions, *encoded.events)
    ]
    assert (
        encoded.size
        == sum(sizes)
        <= MAX_GROWTH * len(raw) + _FIXED_BYTES * (1 + len(encoded.transactions))
    )
    assert max(sizes) <= MAX_DOCUMENT_BYTES
    return encoded


def check_documents(block: Block, owns: Sequence[bool], documents: list[dict[str, Any]]) -> None:
    """Check that the block can be made from its documents.

    The documents are the block's, then those of its transactions, then those of its events.
    """
    count = len(block.transactions)
    transactions, events = (
        documents[1 : count + 1],
        {event["_id"]: event for event in documents[count + 1 :]},
    )
    assert block_of(documents[0], block.transactions) == block
    assert (documents[0]["transactionCount"], documents[0]["eventCount"]) == (count, len(events))
    for transaction, owned, document in zip(block.transactions, owns, transactions, strict=True):
        position = pack_position(block.number, transaction.index)
        event = events.pop(position, None)
        assert document["_id"] == position
        assert document["txId"] == (transaction.tx_id if owned else position)
        assert ("claimedTxId" in document) is not owned
        assert transaction_of(document, event) == without_unstored_facts(transaction)
        if event is not None:
            assert transaction.code == VALID
            shared = ("txId", "blockNumber", "txIndex", "ts")
            assert [event[name] for name in shared] == [document[name] for name in shared]
    assert not events


def decoded(encoded: bytes | memoryview) -> dict[str, Any]:
    """Return the document as PyMongo decodes it by default, after a check of its keys and depth."""
    document: dict[str, Any] = bson.decode(encoded)
    assert bson.encode(document) == encoded
    for key, value, depth in _walk(document, 1):
        assert not isinstance(value, DBRef)
        assert not key.startswith("$")
        assert "." not in key
        assert "\0" not in key
        assert depth <= _MAX_DEPTH
    return document


def _walk(value: Any, depth: int) -> Iterator[tuple[str, Any, int]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield str(key), item, depth
        if isinstance(item, dict | list):
            yield from _walk(item, depth + 1)
