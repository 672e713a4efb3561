"""Inserts documents that are already encoded and joined, without a Python object for each of them.

PyMongo's `insert_many` handles one object for each document, which takes longer than to decode the
documents' envelopes. The command `insert` takes the joined documents as one part of its message.
"""

from collections.abc import Sequence
from typing import Final

from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from msgspec import Struct
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError
from pymongo.write_concern import WriteConcern

from ledger.documents.format import Document
from ledger.documents.joined import JoinedDocuments

MAX_COMMAND_BYTES: Final = 16 << 20
"""The most bytes of documents in a command; PyMongo allows a little more for the whole message."""

MAX_COMMAND_DOCUMENTS: Final = 100_000
"""The most documents in a command; it is MongoDB's limit."""

_EMPTY_DOCUMENT: Final = b"\x05\x00\x00\x00\x00"
_DUPLICATE_KEY: Final = 11000


class _Joined(RawBSONDocument):
    """Gives PyMongo the bytes of several documents, which it copies into the message as they are.

    The message has documents one directly after the other.
    """

    def __init__(self, documents: JoinedDocuments) -> None:
        super().__init__(_EMPTY_DOCUMENT)
        self._documents = documents

    @property
    def raw(self) -> bytes:
        return self._documents.raw


class InsertReply(Struct, frozen=True):
    """The result of an insertion.

    `duplicates` are the indexes of documents with an `_id` or a unique field that a stored document
    has. `primary` is the id of the election that made the server the primary; None if the server is
    no member of a replica set.
    """

    duplicates: list[int]
    primary: ObjectId | None


async def insert_joined(
    database: AsyncDatabase[Document],
    name: str,
    documents: Sequence[JoinedDocuments],
    write_concern: WriteConcern,
    *,
    ordered: bool,
) -> InsertReply:
    """Insert documents. An ordered insertion stops at the first duplicate.

    No part may be empty, and all parts together must be within `MAX_COMMAND_BYTES` and
    `MAX_COMMAND_DOCUMENTS`. Raises `PyMongoError`, among them `BulkWriteError` for failures other
    than duplicates; then any of the documents may be stored.
    """
    reply = await database.command(
        {
            "insert": name,
            "ordered": ordered,
            "writeConcern": write_concern.document,
            "documents": [_Joined(each) for each in documents],
        }
    )
    failures = reply.get("writeErrors", ())
    concern_errors = [reply["writeConcernError"]] if "writeConcernError" in reply else []
    if concern_errors or any(failure["code"] != _DUPLICATE_KEY for failure in failures):
        raise BulkWriteError(
            {
                "writeErrors": list(failures),
                "writeConcernErrors": concern_errors,
                "nInserted": reply["n"],
            }
        )
    return InsertReply([failure["index"] for failure in failures], reply.get("electionId"))
