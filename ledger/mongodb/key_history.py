"""Queries over the keys that a channel's transactions have written."""

from ledger.documents.format import Document
from ledger.model import VALID
from ledger.mongodb.collections import TRANSACTIONS
from ledger.mongodb.indexes import KEY_HISTORY_INDEXES
from ledger.mongodb.paging import (
    ChannelQueries,
    Page,
    Window,
    equal_to,
    merge_pages,
    position_range,
)
from ledger.position import BlockNumber, last_position

_ROW = dict.fromkeys(("blockNumber", "txIndex", "txId", "ts", "creator"), 1)


class KeyHistoryQueries(ChannelQueries):
    """Finds the writes of a key. In each method, `last` is the number of the highest block to read.

    The queries need the optional indexes of the key history.
    """

    async def key_history(
        self, namespace: str, key: str, first: int, last: BlockNumber, window: Window
    ) -> Page:
        """Return the VALID transactions of blocks `first` to `last` that wrote a key, by position.

        Each has `blockNumber`, `txIndex`, `txId`, `ts`, `creator` and `writes`. `writes` is the
        list of the transaction's writes of this key as `{value, isDelete}`; the last one took
        effect, and a deletion has no `value`. MongoDB does not send the writes of other keys.
        """
        query = _written(key, {"namespace": equal_to(namespace)}) | {
            "_id": position_range(first, last, window)
        }
        sets = {
            "$filter": {"input": "$rwsets", "as": "set", "cond": _is("$$set.namespace", namespace)}
        }
        change = {"value": "$$write.value", "isDelete": "$$write.isDelete"}
        of_set = {"$map": {"input": _writes("$$this", key), "as": "write", "in": change}}
        writes = {
            "$reduce": {
                "input": sets,
                "initialValue": [],
                "in": {"$concatArrays": ["$$value", of_set]},
            }
        }
        projection = {**_ROW, "writes": writes}
        pages = [
            await self._page(
                TRANSACTIONS, query | {"manyWrites": many}, window, projection, list(keys)
            )
            for many, keys in KEY_HISTORY_INDEXES.items()
        ]
        return merge_pages(pages, window)

    async def key_namespaces(self, key: str, last: BlockNumber, limit: int) -> list[str]:
        """Return namespaces in which a VALID transaction up to block `last` wrote the key.

        There are at most `limit` of them, sorted.
        """
        sets = {
            "$filter": {
                "input": "$rwsets",
                "as": "set",
                "cond": {"$ne": [_writes("$$set", key), []]},
            }
        }
        projection = {"namespaces": {"$map": {"input": sets, "as": "set", "in": "$$set.namespace"}}}
        namespaces: set[str] = set()
        for many, keys in KEY_HISTORY_INDEXES.items():
            while len(namespaces) < limit:
                query = _written(key, {"namespace": {"$gte": "", "$nin": sorted(namespaces)}})
                query |= {"_id": {"$lte": last_position(last)}, "manyWrites": many}
                document = await self._database[TRANSACTIONS].find_one(
                    query, projection, hint=list(keys)
                )
                if document is None:
                    break
                namespaces |= {name for name in document["namespaces"] if isinstance(name, str)}
        return sorted(namespaces)[:limit]


def _written(key: str, namespace: Document) -> Document:
    """Return the condition that a VALID transaction wrote the key in a namespace.

    `namespace` is the condition on the name of the namespace. The two conditions are in one
    `$elemMatch`, so that both limit the scan of the index.
    """
    return {
        "validationCode": VALID,
        "rwsets": {"$elemMatch": {"writes.key": equal_to(key), **namespace}},
    }


def _writes(read_write_set: str, key: str) -> Document:
    """Return an expression for the writes of a key in a read/write set.

    A list of writes that was too long was omitted, see `ledger.documents.size_limit`.
    """
    writes = f"{read_write_set}.writes"
    stored = {"$cond": [{"$isArray": writes}, writes, []]}
    return {"$filter": {"input": stored, "as": "write", "cond": _is("$$write.key", key)}}


def _is(field: str, text: str) -> Document:
    return {"$in": [field, {"$literal": equal_to(text)["$in"]}]}
