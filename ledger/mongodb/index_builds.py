"""Finds the indexes that a channel's database lacks, builds them, and reads MongoDB's progress."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import pymongo
from msgspec import Struct
from pymongo import ASCENDING, IndexModel
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import DuplicateKeyError, OperationFailure

from ledger.documents.format import Document
from ledger.errors import StoreConflictError
from ledger.mongodb.collections import TRANSACTIONS
from ledger.mongodb.indexes import INDEXES, IndexOptions, ready_indexes

IndexModels: TypeAlias = Mapping[str, Sequence[IndexModel]]
"""Indexes by collection; a collection has at least one."""

_OWNER_INDEX: Final = INDEXES[TRANSACTIONS][0]
"""The unique index of transaction ids, by which the owner of an id is found."""

_MAX_BUILD_S: Final = 24 * 3600.0
_UNAUTHORIZED: Final = 13
_NAMESPACE_EXISTS: Final = 48
_SCANNING: Final = "Index Build: scanning collection"
_LOADING: Final = "Index Build: inserting keys from external sorter into index"


class BuildStep(Struct, frozen=True):
    """What MongoDB does at a moment to build the indexes of a collection.

    It scans the collection once, then it loads one index after the other. `done` of `total`
    documents or entries of the step are processed.
    """

    collection: str
    scans: bool
    done: int
    total: int


async def create_collections(database: AsyncDatabase[Document]) -> None:
    """Create the missing collections, with their index of `_id` only."""
    for name in INDEXES:
        try:
            await database.create_collection(name, check_exists=False)
        except OperationFailure as error:
            if error.code != _NAMESPACE_EXISTS:
                raise


async def missing_indexes(database: AsyncDatabase[Document], options: IndexOptions) -> IndexModels:
    """Return the indexes that the database lacks; MongoDB may be building them already."""
    missing: dict[str, list[IndexModel]] = {}
    for name, required in options.models().items():
        ready = await ready_indexes(database, name)
        models = [model for model in required if model.document["name"] not in ready]
        if models:
            missing[name] = models
    return missing


def only_owner_index(indexes: IndexModels) -> IndexModels:
    """Return of these indexes only that of transaction ids, by which owners are found."""
    name = _OWNER_INDEX.document["name"]
    owner = [each for each in indexes.get(TRANSACTIONS, ()) if each.document["name"] == name]
    return {TRANSACTIONS: owner} if owner else {}


async def has_owner_index(database: AsyncDatabase[Document]) -> bool:
    """Return whether the index of transaction ids exists and is complete."""
    return _OWNER_INDEX.document["name"] in await ready_indexes(database, TRANSACTIONS)


async def build_indexes(database: AsyncDatabase[Document], indexes: IndexModels) -> None:
    """Build the indexes: those of a collection in one pass, the collections in parallel.

    To build them can take minutes. MongoDB continues even without this client, and a repeated call
    waits for the builds that run already. Documents can be inserted meanwhile. Raises
    `StoreConflictError` when two documents have the same value in a unique index.
    """
    with pymongo.timeout(_MAX_BUILD_S):
        builds = [_build(database, name, models) for name, models in indexes.items()]
        results = await asyncio.gather(*builds, return_exceptions=True)
    errors = [result for result in results if result is not None]
    for error in sorted(errors, key=lambda error: not isinstance(error, StoreConflictError)):
        raise error


async def _build(
    database: AsyncDatabase[Document], name: str, models: Sequence[IndexModel]
) -> None:
    try:
        await database[name].create_indexes(list(models))
    except DuplicateKeyError as error:
        raise await _conflict(database, name, error) from error


async def _conflict(
    database: AsyncDatabase[Document], name: str, error: DuplicateKeyError
) -> StoreConflictError:
    """Return the error that names both documents; they are searched for without an index."""
    details: Mapping[str, Any] = error.details or {}
    field, value = next(iter(details["keyValue"].items()))
    cursor = database[name].find({field: value}, {"_id": 1}, sort=[("_id", ASCENDING)], limit=2)
    keys = [document["_id"] for document in await cursor.to_list()]
    return StoreConflictError(
        name,
        keys[-1] if keys else "of an unknown position",
        field,
        f"{value!r} at this position",
        f"the same id at position {keys[0]}" if len(keys) > 1 else "the same id twice",
    )


async def build_steps(database: AsyncDatabase[Document]) -> list[BuildStep] | None:
    """Return what MongoDB does now to build indexes of this database.

    Return None if the user has not the right to see it (the privilege `inprog`).
    """
    of_database = {"desc": {"$regex": "^IndexBuildsCoordinator"}, "progress": {"$exists": True}}
    pipeline: list[Document] = [{"$currentOp": {"allUsers": True}}, {"$match": of_database}]
    try:
        operations = await (await database.client.admin.aggregate(pipeline)).to_list()
    except OperationFailure as error:
        if error.code == _UNAUTHORIZED:
            return None
        raise
    steps: list[BuildStep] = []
    for operation in operations:
        in_database, _, collection = operation["ns"].partition(".")
        message, progress = operation.get("msg", ""), operation["progress"]
        if in_database == database.name and message.startswith((_SCANNING, _LOADING)):
            done, total = int(progress["done"]), int(progress["total"])
            steps.append(BuildStep(collection, message.startswith(_SCANNING), done, total))
    return steps
