"""Finds the values that keys had before a block, in the stored transactions that wrote them."""

from collections.abc import Iterable
from itertools import product
from typing import Any, Final

from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ExecutionTimeout

from ledger.documents.format import Document
from ledger.model import VALID
from ledger.mongodb.collections import TRANSACTIONS
from ledger.mongodb.indexes import KEY_HISTORY_INDEXES, ready_indexes
from ledger.mongodb.key_history import KeyHistoryQueries
from ledger.mongodb.paging import Window, equal_to
from ledger.position import BlockNumber, pack_position
from ledger.state_changes import StateKey

_NEWEST: Final = Window(limit=1, descending=True)
_LACKS_WRITES: Final = {"$or": [{"rwsets.omitted": True}, {"errors": {"$exists": True}}]}
"""The condition for a transaction that may have more writes than its document."""

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
    key may have been written before the start block, or a document omits values or lacks writes.
    """
    wanted = list(keys)
    if number == 0:
        return dict.fromkeys(wanted)
    is_private = any(collection for _, collection, _ in wanted)
    if is_private or not (await ready_indexes(database, TRANSACTIONS)).keys() >= _INDEX_NAMES:
        return None
    values: dict[StateKey, bytes | None] = {}
    for state_key in wanted:
        found = await _newest_write(database, number, state_key)
        if found is None:
            return None
        position, value = found
        if position < 0 and start > 0:
            return None
        if await _may_lack_writes(database, state_key[0], max(position, 0), number):
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


async def _may_lack_writes(
    database: AsyncDatabase[Document], namespace: str, position: int, number: int
) -> bool:
    """Return whether a document may lack writes of its VALID transaction to the namespace.

    Those from a position on and below block `number` are asked. A document that is too large for
    MongoDB lacks all read/write sets (`ledger.documents.size_limit`), and one of an envelope with
    too many list elements lacks lists, as one that cannot be decoded does. What lacks the writes
    has an index entry without a key, of the namespace or, if it lacks the sets, of none.
    """
    names = [None, *equal_to(namespace)["$in"]]
    for (many, keys), name in product(KEY_HISTORY_INDEXES.items(), names):
        fields = [field for field, _ in keys]
        entry = [name] if many else [None, name]
        query = {"validationCode": VALID, "manyWrites": many, **_LACKS_WRITES}
        cursor = database[TRANSACTIONS].find(query, {"_id": 1}, hint=list(keys), limit=1)
        cursor.min(list(zip(fields, [*entry, position], strict=True)))
        cursor.max(list(zip(fields, [*entry, pack_position(number, 0)], strict=True)))
        try:
            found = await cursor.max_time_ms(_MAX_QUERY_MS).to_list()
        except ExecutionTimeout:
            return True
        if found:
            return True
    return False
