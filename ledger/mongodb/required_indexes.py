"""Tells whether a channel's database has the indexes that queries need.

Most queries name their index, so that MongoDB refuses them without it. Queries that cannot name
every index, and answers that depend on the existing indexes, check all required indexes first.
"""

import time
from collections.abc import Callable
from typing import Final

from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure, PyMongoError

from ledger.documents.format import Document
from ledger.mongodb.indexes import INDEXES, ready_indexes

_BAD_VALUE: Final = 2
_REREAD_S: Final = 1.0


class IndexMissingError(PyMongoError):
    """A query was not made, because it would read whole collections: an index is missing."""


def is_index_missing(error: Exception) -> bool:
    """Return whether a query failed because an index is missing, or is still being built."""
    refused = isinstance(error, OperationFailure) and error.code == _BAD_VALUE
    return isinstance(error, IndexMissingError) or (refused and "hint" in str(error))


class RequiredIndexes:
    """The required indexes of one database. They are not read again once all of them exist."""

    def __init__(
        self, database: AsyncDatabase[Document], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database, self._clock = database, clock
        self._missing: list[str] = []
        self._needed: list[str] = []
        """The missing indexes of collections that exist; in others a query reads nothing."""
        self._read_at: float | None = None

    async def read_missing(self) -> list[str]:
        """Return the indexes that the database lacks, as `collection.index`.

        MongoDB may be building them.
        """
        missing: list[str] = []
        needed: list[str] = []
        for name, indexes in INDEXES.items():
            ready = await ready_indexes(self._database, name)
            required = [index.document["name"] for index in indexes]
            of_collection = [f"{name}.{index}" for index in required if index not in ready]
            missing += of_collection
            needed += of_collection if ready else ()
        self._missing, self._needed, self._read_at = missing, needed, self._clock()
        return missing

    async def check(self) -> None:
        """Raise `IndexMissingError` unless all required indexes exist, or nothing is stored.

        While some are missing, they are read again after a second at the earliest.
        """
        if self._read_at is None or (self._missing and self._clock() - self._read_at >= _REREAD_S):
            await self.read_missing()
        if self._needed:
            raise IndexMissingError(f"the indexes {', '.join(self._needed)} are missing")

    def forget(self) -> None:
        """Read the indexes again at the next check: the database was indexed again."""
        self._read_at = None
