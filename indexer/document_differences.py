"""Compares the stored documents of a block with those of the chain, document by document."""

from collections.abc import AsyncIterator
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


async def differing_documents(
    database: AsyncDatabase[Document], block: EncodedBlock
) -> AsyncIterator[DocumentDifference]:
    """Yield each document of the block that is missing, was altered, or is not on the chain."""
    async for comparable in comparable_documents(database, block):
        name, stored_by_id = comparable.collection, comparable.stored
        for expected in comparable.expected:
            key = expected["_id"]
            stored = stored_by_id.pop(key, None)
            if stored is None:
                what = f"{name}: {key} is missing"
                yield DocumentDifference(
                    name, key, DifferenceOfDocument.MISSING, what, expected=expected
                )
                continue
            try:
                compare_documents(name, expected, stored)
            except StoreConflictError as error:
                yield DocumentDifference(
                    name,
                    key,
                    DifferenceOfDocument.ALTERED,
                    f"{name}: {error.key}: {error.field}: "
                    f"chain {error.expected!r}, stored {error.got!r}",
                    error.field,
                    expected,
                    stored,
                )
        for key, stored in stored_by_id.items():
            what = f"{name}: {key} is stored, but not on the chain"
            yield DocumentDifference(name, key, DifferenceOfDocument.SURPLUS, what, stored=stored)
