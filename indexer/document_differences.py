"""Compares the stored documents of a block with those of the chain, document by document."""

from enum import StrEnum

from bson.raw_bson import RawBSONDocument
from msgspec import Struct
from pymongo.asynchronous.database import AsyncDatabase

from ledger.documents.encoding import EncodedBlock
from ledger.documents.format import Document
from ledger.errors import StoreConflictError
from ledger.mongodb.comparison import compare_documents
from ledger.mongodb.verification_queries import comparable_documents


class DifferenceOfDocument(StrEnum):
    """How a stored document differs from the chain."""

    MISSING = "missing"
    ALTERED = "altered"
    SURPLUS = "surplus"  # stored, but not on the chain


class DocumentDifference(Struct, frozen=True):
    """A document that differs: `expected` is the chain's, `stored` the stored one, if they exist.

    `field` is the first field that differs, of a document that was altered; `what` is a text.
    """

    collection: str
    key: object
    kind: DifferenceOfDocument
    what: str
    field: str | None = None
    expected: RawBSONDocument | None = None
    stored: RawBSONDocument | None = None


class BlockComparison(Struct, frozen=True):
    """The documents of a block that differ, and whether the stored block has a digest.

    A block that an older program stored has none. A missing block counts as one with a digest.
    """

    differences: list[DocumentDifference]
    has_digest: bool


async def compare_block(database: AsyncDatabase[Document], block: EncodedBlock) -> BlockComparison:
    """Return each document of the block that is missing, was altered, or is not on the chain."""
    differences: list[DocumentDifference] = []
    has_digest = True
    async for comparable in comparable_documents(database, block):
        name, stored_by_id = comparable.collection, comparable.stored
        for expected in comparable.expected:
            stored = stored_by_id.pop(expected["_id"], None)
            if stored is not None and "digest" in expected:
                has_digest = "digest" in stored
            difference = _difference(name, expected, stored)
            if difference is not None:
                differences.append(difference)
        for key, stored in stored_by_id.items():
            what = f"{name}: {key} is stored, but not on the chain"
            differences.append(
                DocumentDifference(name, key, DifferenceOfDocument.SURPLUS, what, stored=stored)
            )
    return BlockComparison(differences, has_digest)


def _difference(
    name: str, expected: RawBSONDocument, stored: RawBSONDocument | None
) -> DocumentDifference | None:
    key = expected["_id"]
    if stored is None:
        what = f"{name}: {key} is missing"
        return DocumentDifference(name, key, DifferenceOfDocument.MISSING, what, expected=expected)
    try:
        compare_documents(name, expected, stored)
    except StoreConflictError as error:
        what = f"{name}: {error.key}: {error.field}: chain {error.expected!r}, stored {error.got!r}"
        altered = DifferenceOfDocument.ALTERED
        return DocumentDifference(name, key, altered, what, error.field, expected, stored)
    return None
