"""Queries over what a channel's transactions have written."""

from ledger.documents.format import Document
from ledger.model import VALID
from ledger.mongodb.collections import TRANSACTIONS
from ledger.mongodb.indexes import KEY_HISTORY_INDEXES
from ledger.mongodb.paging import Page, Queries, Window, equal_to, merged, positions, read_page
from ledger.position import MAX_INDEX, BlockNumber, pack_position

_PLACE = dict.fromkeys(("blockNumber", "txIndex", "txId", "ts"), 1)


class KeyHistoryQueries(Queries):
    """Finds writes of a key, on an index that a database need not have. `last` is the highest block to show."""

    async def key_history(
        self, namespace: str, key: str, first: int, last: BlockNumber, window: Window
    ) -> Page:
        """The VALID transactions of blocks `first` to `last` that wrote the key, by position.

        Each has `blockNumber`, `txIndex`, `txId`, `ts`, and `writes`: what became of the key, a
        list of `{value, isDelete}` of which the last counts; there is no `value` where it was
        deleted. Whatever else the transactions wrote stays on the server.
        """
        query = _written(key, {"namespace": equal_to(namespace)}) | {
            "_id": positions(first, last, window)
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
        projection = {**_PLACE, "writes": writes}
        pages = [
            await read_page(
                self._find(
                    TRANSACTIONS, query | {"manyWrites": many}, window, projection, list(keys)
                ),
                window.limit,
            )
            for many, keys in KEY_HISTORY_INDEXES.items()
        ]
        return merged(pages, window)

    async def key_namespaces(self, key: str, last: BlockNumber, limit: int) -> list[str]:
        """At most `limit` namespaces in which a VALID transaction up to block `last` has written the key."""
        sets = {
            "$filter": {
                "input": "$rwsets",
                "as": "set",
                "cond": {"$ne": [_writes("$$set", key), []]},
            }
        }
        projection = {"namespaces": {"$map": {"input": sets, "as": "set", "in": "$$set.namespace"}}}
        found: set[str] = set()
        for many, keys in KEY_HISTORY_INDEXES.items():
            while len(found) < limit:
                query = _written(key, {"namespace": {"$gte": "", "$nin": sorted(found)}})
                query |= {"_id": {"$lte": pack_position(last, MAX_INDEX)}, "manyWrites": many}
                document = await self._database[TRANSACTIONS].find_one(
                    query, projection, hint=list(keys)
                )
                if document is None:
                    break
                found |= {
                    namespace for namespace in document["namespaces"] if isinstance(namespace, str)
                }
        return sorted(found)[:limit]


def _written(key: str, namespace: Document) -> Document:
    """Both conditions stand in one `$elemMatch`, so that both bound the scan; the code as the index has it."""
    return {
        "validationCode": VALID,
        "rwsets": {"$elemMatch": {"writes.key": equal_to(key), **namespace}},
    }


def _writes(read_write_set: str, key: str) -> Document:
    """The writes of that key; a list of writes may have been omitted, see `ledger.documents.size_limit`."""
    writes = f"{read_write_set}.writes"
    kept = {"$cond": [{"$isArray": writes}, writes, []]}
    return {"$filter": {"input": kept, "as": "one", "cond": _is("$$one.key", key)}}


def _is(field: str, text: str) -> Document:
    return {"$in": [field, {"$literal": equal_to(text)["$in"]}]}
