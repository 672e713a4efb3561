"""The indexes of a channel's database: those that every database has, and those that are configured."""

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
"""Fields by which transactions are listed; the validation code and the position follow in each index."""

KEY_HISTORY_INDEXES: Final = {
    None: (("rwsets.writes.key", ASCENDING), ("rwsets.namespace", ASCENDING), ("_id", ASCENDING)),
    True: (("rwsets.namespace", ASCENDING), ("_id", ASCENDING)),
}
"""The indexes that find who wrote a key, by `manyWrites`: an entry for each write of a VALID transaction, and for each
namespace of those few that wrote so much that their entries could be too many for MongoDB's cache.
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
        IndexModel(  # few documents have it: those that repeat an id, or have none
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
"""The indexes that every database has."""


def payload_path(field: str) -> str:
    """Where events have that field of their JSON payloads; full stops join nested ones."""
    return f"payload.{field}"


class IndexOptions(Struct, frozen=True):
    """What is indexed besides: fields of event payloads, and the keys that transactions write."""

    payload_fields: tuple[str, ...] = ("campaignId",)
    key_history: bool = True

    def models(self) -> dict[str, list[IndexModel]]:
        """All indexes, by collection."""
        models = {name: list(indexes) for name, indexes in INDEXES.items()}
        if self.key_history:
            for many, keys in KEY_HISTORY_INDEXES.items():
                valid = {"validationCode": VALID, "manyWrites": many}
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
    """The specifications of a collection's indexes by their names, without those that are still being built."""
    try:
        reply = await database.command("listIndexes", name, includeBuildUUIDs=True)
    except OperationFailure as error:
        if error.code != _NO_SUCH_COLLECTION:
            raise
        return {}
    return {spec["name"]: spec for spec in reply["cursor"]["firstBatch"] if "buildUUID" not in spec}
