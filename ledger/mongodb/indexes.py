"""The indexes of a channel's database: the required indexes and the configured ones."""

from typing import Final

from msgspec import Struct
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure

from ledger.documents.format import Document
from ledger.model import VALID
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS

_NO_SUCH_COLLECTION: Final = 26

TRANSACTION_FILTERS: Final = (
    (),
    ("chaincodeId",),
    ("chaincodeId", "function"),
    ("creator.mspId",),
    ("type",),
)
"""The combinations of fields by which transactions can be filtered.

In the index of each combination, the validation code and the position follow.
"""

KEY_HISTORY_INDEXES: Final = {
    None: (("rwsets.writes.key", ASCENDING), ("rwsets.namespace", ASCENDING), ("_id", ASCENDING)),
    True: (("rwsets.namespace", ASCENDING), ("_id", ASCENDING)),
}
"""The two indexes that find the writes of a key, by the value of `manyWrites`.

The first has an entry for each write of a VALID transaction. The second has an entry for each
namespace of the few VALID transactions whose writes could be too many for MongoDB's cache.
"""


def _ascending(*fields: str) -> IndexModel:
    return IndexModel([(field, ASCENDING) for field in fields])


INDEXES: Final[dict[str, tuple[IndexModel, ...]]] = {
    BLOCKS: (
        IndexModel([("number", ASCENDING)], unique=True),
        _ascending("blockHash"),
        _ascending("ts", "number"),
    ),
    TRANSACTIONS: (
        IndexModel([("txId", ASCENDING)], unique=True),
        _ascending("blockNumber"),
        IndexModel(  # only documents of envelopes that do not own their id have the field
            [("claimedTxId", ASCENDING), ("_id", ASCENDING)],
            partialFilterExpression={"claimedTxId": {"$exists": True}},
        ),
        *(_ascending(*fields, "validationCode", "_id") for fields in TRANSACTION_FILTERS),
        _ascending("ts", "_id"),
    ),
    EVENTS: (
        _ascending("txId"),
        IndexModel([("eventName", ASCENDING), ("blockNumber", DESCENDING)]),
        _ascending("eventName", "_id"),
        _ascending("chaincodeId", "_id"),
        _ascending("chaincodeId", "eventName", "_id"),
    ),
}
"""The indexes that every database has, by collection."""


def payload_path(field: str) -> str:
    """Return the path of a field of JSON payloads in events; full stops separate nested fields."""
    return f"payload.{field}"


class IndexOptions(Struct, frozen=True):
    """The configured indexes: of fields of event payloads, and of the keys that are written."""

    payload_fields: tuple[str, ...] = ("campaignId",)
    key_history: bool = True

    def models(self) -> dict[str, list[IndexModel]]:
        """Return all indexes, by collection."""
        models = {name: list(indexes) for name, indexes in INDEXES.items()}
        if self.key_history:
            for many_writes, keys in KEY_HISTORY_INDEXES.items():
                valid = {"validationCode": VALID, "manyWrites": many_writes}
                models[TRANSACTIONS].append(IndexModel(keys, partialFilterExpression=valid))
        for path in map(payload_path, self.payload_fields):
            present = {path: {"$exists": True}}
            for fields in ((path, "_id"), (path, "eventName", "_id")):
                models[EVENTS].append(
                    IndexModel(
                        [(field, ASCENDING) for field in fields], partialFilterExpression=present
                    )
                )
        return models


async def ready_indexes(database: AsyncDatabase[Document], name: str) -> dict[str, Document]:
    """Return the specifications of a collection's finished indexes, by name.

    An index that MongoDB is still building is left out.
    """
    try:
        reply = await database.command("listIndexes", name, includeBuildUUIDs=True)
    except OperationFailure as error:
        if error.code != _NO_SUCH_COLLECTION:
            raise
        return {}
    return {spec["name"]: spec for spec in reply["cursor"]["firstBatch"] if "buildUUID" not in spec}
