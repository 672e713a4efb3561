"""The long ledger in MongoDB, which the tests of the queries share."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo import AsyncMongoClient, MongoClient
from pymongo.errors import DuplicateKeyError

from ledger.mongodb.store import LedgerStore
from tests.eventually import eventually_sync
from tests.ledger.long_ledger_documents import store_long_ledger
from tests.ledger.query_checks import LongLedger
from tests.ledger.query_plans import QueryRecorder

_BUILD_TIMEOUT_S = 100.0


@pytest.fixture(scope="session")
def long_ledger_database(mongo_uri: str, request: pytest.FixtureRequest) -> str:
    """The name of the long ledger's database.

    The first process that needs the ledger stores it, and the other processes of the run wait.
    """
    run = getattr(request.config, "workerinput", {}).get("testrunuid") or uuid.uuid4().hex
    name = f"scale_{run[:16]}"
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        states = client[f"{name}_states"]["states"]
        try:
            states.insert_one({"_id": "begun"})
        except DuplicateKeyError:
            eventually_sync(
                lambda: states.find_one({"_id": "built"}),
                within_s=_BUILD_TIMEOUT_S,
                describe="another process has stored the long ledger",
            )
            return name
        store_long_ledger(mongo_uri, name)
        states.insert_one({"_id": "built"})
    return name


@pytest.fixture
async def ledger(mongo_uri: str, long_ledger_database: str) -> AsyncIterator[LongLedger]:
    queries = QueryRecorder()
    async with AsyncMongoClient[dict[str, Any]](mongo_uri, event_listeners=[queries]) as client:
        await LedgerStore(client, long_ledger_database).prepare()
        queries.take()
        yield LongLedger(client, long_ledger_database, queries)
