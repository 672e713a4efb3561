"""Finds the values that keys had before a block, in the stored transactions that wrote them."""

from collections.abc import Iterable
from typing import Any, Final

from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ExecutionTimeout

from ledger.documents.format import Document
from ledger.model import VALID
from ledger.mongodb.collections import TRANSACTIONS
from ledger.mongodb.indexes import KEY_HISTORY_INDEXES, ready_indexes
from ledger.mongodb.key_history import KeyHistoryQueries
from ledger.mongodb.paging import Window
from ledger.position import BlockNumber, last_position
from ledger.state_changes import StateKey

_NEWEST: Final = Window(limit=1, descending=True)
_NO_SETS: Final = (
    (None, {"rwsets.writes.key": None, "rwsets.namespace": None}),
    (True, {"rwsets.namespace": None}),
)
"""By the value of `manyWrites`: the bounds of the index for documents without read/write sets."""

_MAX_QUERY_MS: Final = 5_000
_INDEX_NAMES: Final = frozenset(
    "_".join(f"{field}_{direction}" for field, direction in keys)
    for keys in KEY_HISTORY_INDEXES.values()
)


async def earlier_values(
    database: AsyncDatabase[Document], start: int, number: int, keys: Iterable[StateKey]
) -> dict[StateKey, bytes | None] | None:
    """Return the values before block `number`, None for a key that does not exist.

    All blocks from `start` to `number - 1` must be stored. Return None if a value cannot be found
    for sure: the indexes of the key history are missing, the key is the hash of a private key, the
    key may have been written before the start block, or a document of a size beyond MongoDB's limit
    omits values.
    """
    wanted = list(keys)
    if any(collection for _, collection, _ in wanted):
        return None
    if not (await ready_indexes(database, TRANSACTIONS)).keys() >= _INDEX_NAMES:
        return None
    values: dict[StateKey, bytes | None] = {}
    for state_key in wanted:
        found = await _newest_write(database, number, state_key)
        if found is None:
            return None
        position, value = found
        if position < 0 and start > 0:
            return None
        if await _omits_sets(database, position, last_position(BlockNumber(number - 1))):
            return None
        values[state_key] = value
    return values


async def _newest_write(
    database: AsyncDatabase[Document], number: int, state_key: StateKey
) -> tuple[int, bytes | None] | None:
    """Return the position of the newest write and the value; position -1 if there is no write.

    Return None if the value is not known.
    """
    namespace, _, key = state_key
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return None
    if number == 0:
        return -1, None
    page = await KeyHistoryQueries(database).key_history(
        namespace, text, 0, BlockNumber(number - 1), _NEWEST
    )
    if not page.documents:
        return -1, None
    document = page.documents[0]
    if len(document["writes"]) != 1:  # Fabric has a rule of its own for several writes
        return None
    write = document["writes"][0]
    if not isinstance(write.get("isDelete"), bool):  # the document was altered
        return None
    value: Any = b"" if write["isDelete"] else write.get("value", b"")
    value = value.encode() if isinstance(value, str) else value
    return (document["_id"], value or None) if isinstance(value, bytes) else None


async def _omits_sets(database: AsyncDatabase[Document], above: int, last: int) -> bool:
    """Return whether a VALID transaction above a position may lack its read/write sets.

    `ledger.documents.size_limit` omits them as a whole from a document that is too large.
    """
    for many, bounds in _NO_SETS:
        query = {
            "validationCode": VALID,
            "manyWrites": many,
            **bounds,
            "_id": {"$gt": above, "$lte": last},
            "rwsets.omitted": True,
        }
        try:
            found = await database[TRANSACTIONS].find_one(
                query, {"_id": 1}, hint=list(KEY_HISTORY_INDEXES[many]), max_time_ms=_MAX_QUERY_MS
            )
        except ExecutionTimeout:
            return True
        if found is not None:
            return True
    return False
