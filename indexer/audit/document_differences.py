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

    @property
    def tx_id(self) -> str | None:
        """The id of the transaction, if the document is of one that owns an id."""
        document = self.expected if self.expected is not None else self.stored
        tx_id = document.get("txId") if document is not None else None
        return tx_id if isinstance(tx_id, str) else None


async def compare_block(
    database: AsyncDatabase[Document], block: EncodedBlock
) -> list[DocumentDifference]:
    """Return each document of the block that is missing, was altered, or is not on the chain."""
    differences: list[DocumentDifference] = []
    async for comparable in comparable_documents(database, block):
        name, stored_by_id = comparable.collection, comparable.stored
        for expected in comparable.expected:
            stored = stored_by_id.pop(expected["_id"], None)
            difference = _difference(name, expected, stored)
            if difference is not None:
                differences.append(difference)
        for key, stored in stored_by_id.items():
            what = f"{name}: {key} is stored, but not on the chain"
            differences.append(
                DocumentDifference(name, key, DifferenceOfDocument.SURPLUS, what, stored=stored)
            )
    return differences


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
