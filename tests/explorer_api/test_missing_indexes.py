"""The API before, during and after the builds of the indexes: it never reads whole collections."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from explorer_api.options import Options
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ChannelState, IndexBuild
from tests.eventually import eventually
from tests.explorer_api.support import (
    CHANNEL,
    Api,
    C,
    append,
    block,
    report_state,
    running_api,
    transaction,
    with_event,
)

Client = AsyncMongoClient[Any]
LEDGER = (BLOCKS, TRANSACTIONS, EVENTS)
HASH = "ab" * 32
BUILDING = {"state": ChannelState.BUILDING_INDEXES, "index_build": IndexBuild(21, 0.5, 40.4)}

WITHOUT_INDEXES = (
    "/ready",
    "/api/v1/status",
    "/api/v1/channels",
    C,
    f"{C}/blocks",
    f"{C}/blocks?number.ge=1&order=asc",
    f"{C}/blocks/latest?include=transactions",
    f"{C}/blocks/1",
    f"{C}/blocks/1/transactions",
    f"{C}/blocks/1/transactions/0",
    f"{C}/transactions",
    f"{C}/events",
    f"{C}/audit",
)
"""Paths whose answers need only the order of the chain."""

WITH_INDEXES = (
    "/api/v1/transactions/a",
    f"{C}/transactions/a",
    f"{C}/transactions?chaincode=token",
    f"{C}/transactions?status.ne=VALID",
    f"{C}/transactions?ts.ge=2020-01-01T00:00:00Z",
    f"{C}/blocks/{HASH}",
    f"{C}/blocks?ts.ge=2020-01-01T00:00:00Z",
    f"{C}/events?name=Mint",
    f"{C}/events?chaincode=token",
    f"{C}/events?txId=a",
    f"{C}/events?payload.campaignId=c",
    f"{C}/keys/token/k/history",
    f"{C}/chaincodes",
    f"{C}/search?q=1",
    f"{C}/search?q={HASH}",
    f"{C}/stats",
    f"{C}/stats/series",
    f"{C}/stream?lastEventId=0&chaincode=token",
)


@pytest.fixture
async def api(client: Client, database_name: str) -> AsyncIterator[Api]:
    """The API over a ledger without indexes; MongoDB records how it answers each query."""
    database = client[database_name]
    await append(
        client,
        database_name,
        [
            block(0, [with_event(0, "a", "Mint", b'{"campaignId": "c"}')]),
            block(1, [transaction(0, "b"), transaction(1, "a", 9)]),
        ],
    )
    for name in LEDGER:
        await database[name].drop_indexes()
    await database.command("profile", 2)
    async with running_api(client, {CHANNEL: database_name}, Options(head_age_s=0.0)) as api:
        yield api
    scans = {"planSummary": "COLLSCAN", "ns": {"$in": [f"{database_name}.{n}" for n in LEDGER]}}
    profiles = await database["system.profile"].find(scans).to_list()
    assert [p for p in profiles if "$changeStream" not in str(p)] == [], "it scans the oplog"


async def test_queries_that_need_no_index_are_answered(
    api: Api, client: Client, database_name: str
) -> None:
    for fields in ({"state": ChannelState.CATCHING_UP, "peer_height": 9_000}, BUILDING):
        await report_state(client, database_name, **fields)
        for path in WITHOUT_INDEXES:
            await api.get(path)
    detail = await api.channel("")
    assert (detail["height"], detail["counts"]) == (2, None)


@pytest.mark.parametrize("path", WITH_INDEXES)
async def test_other_queries_say_that_the_index_is_being_built(
    api: Api, client: Client, database_name: str, path: str
) -> None:
    await report_state(client, database_name, state=ChannelState.CATCHING_UP, peer_height=9_000)
    problem = await api.problem(path, 503, "building-indexes")
    assert "near the head of its peer" in problem.json["detail"]
    assert (problem.json["secondsLeft"], problem.headers["Retry-After"]) == (None, "10")
    await report_state(client, database_name, **BUILDING)
    problem = await api.problem(path, 503, "building-indexes")
    assert "building indexes, 40 s left" in problem.json["detail"]
    assert (problem.json["secondsLeft"], problem.headers["Retry-After"]) == (40.4, "40")


async def test_all_queries_are_answered_as_soon_as_the_indexes_exist(
    api: Api, client: Client, database_name: str
) -> None:
    """The API is not restarted, and asks MongoDB for the indexes no more."""
    await report_state(client, database_name, **BUILDING)
    for path in WITH_INDEXES:
        await api.problem(path, 503, "building-indexes")
    await LedgerStore(client, database_name).prepare()
    for path in WITH_INDEXES[:-1]:  # a stream does not end
        expected = 404 if path.endswith(f"blocks/{HASH}") else 200
        await eventually(partial(api.get, path, expected), retry_on=AssertionError, describe=path)


async def test_health_and_status_show_the_builds(
    api: Api, client: Client, database_name: str
) -> None:
    await report_state(client, database_name, **BUILDING)
    check = (await api.get("/health", 202)).json["checks"][-1]
    assert (check["status"], check["detail"]) == ("catching_up", "building indexes, 40 s left")
    (status,) = (await api.get("/api/v1/status")).json["channels"]
    assert status["state"] == "building_indexes"
    assert status["indexBuild"] == {"indexes": 21, "share": 0.5, "secondsLeft": 40.4}
    metrics = (await api.get("/metrics")).body.decode()
    assert "kindledger_api_index_waits_total 0.0" in metrics
    await api.problem(f"{C}/transactions/a", 503, "building-indexes")
    metrics = (await api.get("/metrics")).body.decode()
    assert "kindledger_api_index_waits_total 1.0" in metrics


async def test_indexes_that_nobody_builds_are_a_fault(
    api: Api, client: Client, database_name: str
) -> None:
    """The import or the daemon was killed: an operator must start it again."""
    long_ago = datetime.now(UTC) - timedelta(minutes=2)
    for fields in (BUILDING | {"updated_at": long_ago}, {"state": ChannelState.STOPPED}):
        await report_state(client, database_name, **fields)
        for path in ("/ready", f"{C}/transactions/a", f"{C}/events?name=Mint"):
            await api.problem(path, 503, "not-ready")
        assert (await api.get("/health", 503)).json["status"] == "broken"
