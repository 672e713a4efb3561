"""Reads from stored blocks what is compared with the blocks of other peers."""

from collections.abc import Sequence
from typing import Any, Final

from pymongo import ASCENDING
from pymongo.asynchronous.database import AsyncDatabase

from ledger.decoding.block_identities import BlockIdentity
from ledger.documents.format import Document
from ledger.mongodb.collections import BLOCKS
from ledger.mongodb.ledger_keys import block_numbers
from ledger.position import BlockNumber, Height

_READ_AHEAD: Final = 500
"""The number of blocks that `StoredIdentities` reads together."""
_IDENTITY: Final = dict.fromkeys(("blockHash", "validationCodes", "commitHash"), 1)


async def stored_identities(
    database: AsyncDatabase[Document], first: BlockNumber, height: Height, limit: int
) -> Sequence[BlockIdentity]:
    """Return at most `limit` blocks from `first` on and below `height`, by number.

    The sequence ends before a block that is missing.
    """
    query = {"_id": block_numbers(first, height - 1)}
    cursor = database[BLOCKS].find(query, _IDENTITY).sort("_id", ASCENDING).limit(limit)
    identities: list[BlockIdentity] = []
    for document in await cursor.to_list():
        if document["_id"] != first + len(identities):
            break
        identities.append(block_identity(document))
    return identities


class StoredIdentities:
    """Finds what identifies stored blocks, for numbers in ascending order."""

    def __init__(self, database: AsyncDatabase[Document]) -> None:
        self._database = database
        self._known: dict[int, BlockIdentity] = {}

    async def find(self, number: int) -> BlockIdentity | None:
        """Return the identity of a block, None if it is not stored."""
        if number not in self._known:
            first, height = BlockNumber(number), Height(number + _READ_AHEAD)
            found = await stored_identities(self._database, first, height, _READ_AHEAD)
            self._known = {each.number: each for each in found}
        return self._known.get(number)


def block_identity(document: Document) -> BlockIdentity:
    """Return the identity of a stored block; a value of another type counts as absent."""
    codes = document.get("validationCodes")
    return BlockIdentity(
        document["_id"],
        _text(document.get("blockHash")) or "",
        bytes(codes) if isinstance(codes, bytes) else b"",
        _text(document.get("commitHash")),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
