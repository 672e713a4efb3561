"""Conditions on `_id`: which ones documents of the ledger have, and which ones belong to no block.

The `_id` of a block document is the block's number, that of a transaction and of an event its
position: integers from 0 on. Someone with the right to write may have stored other documents.
Readers must leave these out: MongoDB sorts texts above, and negative numbers below, every number of
a block.
"""

from typing import Final

from ledger.documents.format import Document
from ledger.mongodb.collections import BLOCKS
from ledger.position import MAX_BLOCK_NUMBER, pack_position

INTEGER: Final = {"$type": ["int", "long"]}
"""The condition for integers; MongoDB compares them with fractions, so a range has both."""

_FRACTION: Final = {"$type": ["double", "decimal"]}


def block_numbers(first: int = 0, last: int = MAX_BLOCK_NUMBER) -> Document:
    """Return the condition on `_id` for the blocks `first` to `last`; the index of `_id` serves it.

    `first` is at least 0.
    """
    return {"$gte": first, "$lte": last, **INTEGER}


def foreign_keys_of(collection: str, first: int = 0) -> list[Document]:
    """Return conditions for each `_id` that no document of block `first` or a higher one can have.

    Each such `_id` meets exactly one of them. The second condition reads the whole index of `_id`.
    """
    lowest = first if collection == BLOCKS else pack_position(first, 0)
    conditions: list[Document] = [{"$not": {"$gte": lowest}}, {"$gte": lowest, **_FRACTION}]
    if collection == BLOCKS:
        conditions.append({"$gt": MAX_BLOCK_NUMBER, **INTEGER})
    return conditions
