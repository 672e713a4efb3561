"""Inserts documents that are already encoded and joined, without a Python object for each of them.

PyMongo's `insert_many` handles one object for each document, which takes longer than to decode the
documents' envelopes. The command `insert` takes the joined documents as one part of its message.
"""

from collections.abc import Sequence
from typing import Final

from bson.raw_bson import RawBSONDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError

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


async def insert_joined(
    database: AsyncDatabase[Document],
    name: str,
    documents: Sequence[JoinedDocuments],
    *,
    ordered: bool,
    session: AsyncClientSession | None = None,
) -> list[int]:
    """Insert documents with the database's write concern. Return the indexes of the duplicates.

    In a transaction, which the session has, the transaction's write concern holds instead.

    A duplicate has an `_id` or a unique field that a stored document has. An ordered insertion
    stops at the first duplicate. No part may be empty, and all parts together must be within
    `MAX_COMMAND_BYTES` and `MAX_COMMAND_DOCUMENTS`. Raises `PyMongoError`, among them
    `BulkWriteError` for failures other than duplicates; then any of the documents may be stored.
    """
    command: Document = {"insert": name, "ordered": ordered}
    if session is None or not session.in_transaction:
        command["writeConcern"] = database.write_concern.document
    command["documents"] = [_Joined(each) for each in documents]
    reply = await database.command(command, session=session)
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
    return [failure["index"] for failure in failures]
