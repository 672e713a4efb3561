"""What identifies a stored block, and the range of blocks that is stored without a gap."""

from msgspec import Struct

from ledger.documents.digests import NO_DIGEST
from ledger.documents.format import Document
from ledger.errors import StoreConflictError
from ledger.mongodb.collections import BLOCKS
from ledger.position import BlockNumber


class StoredBlock(Struct, frozen=True):
    """The number, the hash and the validation codes of a stored block, which identify it.

    The hash depends on the envelopes; the codes are the peer's verdicts on them.
    """

    number: int
    hash: bytes
    codes: bytes
    commit_hash: bytes = b""
    """The peer's hash over codes and changes of the state; empty if it gave none."""
    digest: bytes = NO_DIGEST
    """The digest of the block's documents; `NO_DIGEST` if an older program stored the block."""


class Checkpoint(Struct, frozen=True):
    """A range of stored blocks without a gap: from `start` to `head.number`."""

    start: BlockNumber
    head: StoredBlock


def read_stored_block(document: Document) -> StoredBlock:
    """Return the block of a stored document. Raises `StoreConflictError` if it was changed."""
    number = document["_id"]
    try:
        return StoredBlock(
            number,
            bytes.fromhex(document["blockHash"]),
            bytes(document["validationCodes"]),
            bytes.fromhex(document["commitHash"] or ""),
            bytes.fromhex(document.get("digest", "")),
        )
    except (KeyError, TypeError, ValueError) as error:
        fields = "blockHash, validationCodes, commitHash, digest"
        expected = "hashes in hex, and binary codes"
        raise StoreConflictError(BLOCKS, number, fields, expected, repr(error)) from error
