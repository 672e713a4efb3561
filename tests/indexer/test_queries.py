"""Queries of other applications over a recorded ledger: right results, by way of an index."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import DESCENDING, AsyncMongoClient

from devnet import recorded
from indexer.pipeline.channel_indexer import ChannelIndexer
from indexer.sources.file_source import FileSource
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.store import LedgerStore
from tests.indexer.support import new_progress

RAFT = Path(recorded.__path__[0]) / "raft-2.5-blocks-000000-000135.tar.xz"
CROSS_CHECK = [
    {"$lookup": {"from": TRANSACTIONS, "localField": "txId", "foreignField": "txId", "as": "tx"}},
    {"$match": {"tx": {"$size": 0}}},
]

MongoClient = AsyncMongoClient[dict[str, Any]]
Database = Any


@pytest.fixture
async def database(mongo: MongoClient, database_name: str) -> Database:
    """The recorded Raft ledger, indexed from its archive."""
    store = LedgerStore(mongo, database_name)
    await ChannelIndexer(store, [FileSource([RAFT])], new_progress()).run()
    return mongo[database_name]


def stages(plan: Any) -> Iterator[dict[str, Any]]:
    """Yield every stage of a query plan."""
    if isinstance(plan, dict):
        if "stage" in plan:
            yield plan
        for part in plan.values():
            yield from stages(part)
    elif isinstance(plan, list):
        for part in plan:
            yield from stages(part)


async def index_used(cursor: Any) -> str:
    """Return the index that a query uses; it must not scan or sort a collection."""
    plan = (await cursor.explain())["queryPlanner"]["winningPlan"]
    by_name = {stage["stage"]: stage for stage in stages(plan)}
    assert not by_name.keys() & {"COLLSCAN", "SORT"}, plan
    return str(by_name["IXSCAN"]["indexName"])


def inner_index(explained: Any) -> str | None:
    """Return the index on the inner side of a $lookup, from the plan of any MongoDB version."""
    for stage in stages(explained):
        if stage["stage"] == "EQ_LOOKUP":
            return str(stage["indexName"]) if stage["strategy"] == "IndexedLoopJoin" else None
    lookups = [stage for stage in explained.get("stages", ()) if "$lookup" in stage]
    return (
        str(lookups[0]["indexesUsed"][0]) if lookups and not lookups[0]["collectionScans"] else None
    )


async def test_the_newest_blocks_are_found_on_an_index(database: Database) -> None:
    newest = database[BLOCKS].find().sort({"number": -1}).limit(1)
    assert [block["number"] async for block in newest.clone()] == [135]
    assert await index_used(newest) == "number_1"
    last_ten = database[BLOCKS].find().sort("number", DESCENDING).limit(10)
    assert [block["number"] async for block in last_ten.clone()] == list(range(135, 125, -1))
    assert await index_used(last_ten) == "number_1"


async def test_a_transaction_is_found_by_its_id_on_an_index(database: Database) -> None:
    event = await database[EVENTS].find_one({"blockNumber": 9})
    transaction = await database[TRANSACTIONS].find_one({"txId": event["txId"]})
    assert (transaction["blockNumber"], transaction["status"], transaction["chaincodeId"]) == (
        9,
        "VALID",
        "kindledger",
    )
    assert (
        await index_used(database[TRANSACTIONS].find({"txId": event["txId"]}).limit(1)) == "txId_1"
    )


async def test_the_latest_events_of_a_name_are_found_on_an_index(database: Database) -> None:
    mints = database[EVENTS].find({"eventName": "Mint"}).sort({"blockNumber": -1}).limit(5)
    numbers = [event["blockNumber"] async for event in mints.clone()]
    assert len(numbers) == 5
    assert numbers == sorted(numbers, reverse=True)
    assert await index_used(mints) == "eventName_1_blockNumber_-1"


async def test_the_cross_check_finds_nothing_and_uses_the_index_of_ids(database: Database) -> None:
    assert [event async for event in await database[EVENTS].aggregate(CROSS_CHECK)] == []
    explained = await database.command(
        "explain",
        {"aggregate": EVENTS, "pipeline": CROSS_CHECK, "cursor": {}},
        verbosity="executionStats",
    )
    assert inner_index(explained) == "txId_1", explained
    await database[TRANSACTIONS].delete_one({"blockNumber": 9})
    orphans = [event async for event in await database[EVENTS].aggregate(CROSS_CHECK)]
    assert [event["blockNumber"] for event in orphans] == [9]


async def test_events_are_found_by_a_field_of_their_payload_on_an_index(database: Database) -> None:
    donation = await database[EVENTS].find_one({"eventName": "DonationReceived"})
    campaign = donation["payload"]["campaignId"]
    query = {"eventName": "DonationReceived", "payload.campaignId": campaign}
    assert await database[EVENTS].count_documents(query) > 1
    assert (await index_used(database[EVENTS].find(query))).startswith("payload.campaignId_1")


async def test_the_transactions_of_each_block_are_as_many_as_it_says(database: Database) -> None:
    per_block = [{"$group": {"_id": "$blockNumber", "count": {"$sum": 1}}}]
    counts = {
        row["_id"]: row["count"] async for row in await database[TRANSACTIONS].aggregate(per_block)
    }
    assert counts == {
        block["number"]: block["transactionCount"] async for block in database[BLOCKS].find()
    }
    assert await index_used(database[TRANSACTIONS].find({"blockNumber": 9})) == "blockNumber_1"
