"""The query plans of all queries of the API."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pymongo import AsyncMongoClient

from ledger.position import unpack_position
from tests.explorer_api.support import CHANNEL, running_api
from tests.ledger.query_plans import QueryRecorder, explain_query


async def test_every_query_runs_on_an_index(
    mongo_uri: str,
    recorded_database: str,
    client: AsyncMongoClient[Any],
    delivered_events: list[Mapping[str, Any]],
) -> None:
    """It also reads majority data, has a time limit, and examines only the documents of a page."""
    queries = QueryRecorder()
    tx_id = delivered_events[300]["transactionId"]
    span = {"ts__ge": "2020-01-01T00:00:00Z", "ts__lt": "2100-01-01T00:00:00Z"}
    async with (
        AsyncMongoClient[Any](mongo_uri, event_listeners=[queries]) as recorded_client,
        running_api(recorded_client, {CHANNEL: recorded_database}) as api,
    ):
        for order in ("asc", "desc"):
            for route, filters in (
                ("/blocks", {}),
                ("/blocks", {"number__ge": 20, "number__le": 100}),
                ("/blocks", span),
                ("/events", {}),
                ("/events", {"block__ge": 20, "block__le": 100}),
                ("/events", {"name__eq": "Mint"}),
                ("/events", {"name__eq": "Mint", "block__ge": 20, "block__le": 100}),
                ("/events", {"name__in": "Mint,Transfer,Disbursed,QuyênGóp", "block__le": 100}),
                ("/events", {"txId": tx_id}),
                ("/events", {"txId": tx_id, "name__eq": "Mint"}),
                ("/events", {"chaincode": "token"}),
                ("/events", {"chaincode": "token", "name__in": "Mint,Transfer"}),
                ("/events", {"payload.campaignId": "x"}),
                ("/transactions", {}),
                ("/transactions", {"block__ge": 20, "block__le": 100}),
                ("/transactions", span),
                ("/transactions", {"chaincode": "token"}),
                (
                    "/transactions",
                    {"chaincode": "token", "function": "Mint", "status__ne": "MVCC_READ_CONFLICT"},
                ),
                (
                    "/transactions",
                    {"creatorMsp": "Org1MSP", "status__ne": "VALID", "block__le": 100},
                ),
                ("/transactions", {"type": "CONFIG"}),
                ("/transactions", {"status__in": "PHANTOM_READ_CONFLICT,MVCC_READ_CONFLICT"}),
                ("/keys/token/supply/history", {}),
                ("/certificates", {}),
                ("/certificates", {"mspId": "Org1MSP", "notAfter__lt": "2100-01-01T00:00:00Z"}),
                ("/certificates", {"role": "creator", "accepted": "true"}),
                ("/certificates", {"mspId": "Org1MSP", "role": "creator"}),
            ):
                limit = 2 if route == "/certificates" else 5
                await check(client, recorded_database, queries, limit=5)
                first = await api.channel(route, limit=limit, order=order, **filters)
                if first["page"]["next"] is not None:
                    await api.channel(
                        route, limit=limit, order=order, cursor=first["page"]["next"], **filters
                    )
        block = await api.channel("/blocks/77")
        await api.channel(f"/blocks/{block['hash']}")
        await api.channel("/blocks/1000", status=404)
        await api.channel("/blocks/77/transactions", limit=5)
        await api.channel("/blocks/77/transactions/0")
        await api.channel(f"/transactions/{tx_id}")
        await api.get(f"/api/v1/transactions/{tx_id}")
        await api.get("/api/v1/status")
        await check(client, recorded_database, queries, limit=5)
        for query in ("Mint", tx_id, "kindledger", "supply", "7", "nothing such"):
            await api.channel("/search", q=query)
        for path in (
            "/stats",
            "/stats/series?interval=minute",
            "/chaincodes",
            "/chaincodes/kindledger",
        ):
            await api.channel(path)
        await check(client, recorded_database, queries, limit=10)


async def check(
    client: AsyncMongoClient[Any], database: str, queries: QueryRecorder, limit: int
) -> None:
    """Check the plans of the queries since the last check."""
    for command in queries.take():
        if (
            command.get("find") == "sync_state"
            or "$changeStream" in command.get("pipeline", [{}])[0]
        ):
            continue  # a single document
        if command.get("collection") == "blocks":
            continue  # the change stream continues
        assert command["readConcern"]["level"] == "majority"
        assert command["maxTimeMS"] > 0
        plan = await explain_query(client[database], command)
        assert "COLLSCAN" not in plan.stages, (command, plan.stages)
        if "aggregate" in command or "distinct" in command:
            assert plan.stages & {"IXSCAN", "IDHACK", "DISTINCT_SCAN"}, (command, plan.stages)
            continue
        assert plan.stages & {"IXSCAN", "IDHACK"}, (command, plan.stages)
        assert "SORT" not in plan.stages or of_few(command), (command, plan.stages)
        allowed = 40 if in_one_block(command) else limit + 2
        assert plan.documents <= allowed, (command, plan.__dict__)
        assert plan.keys <= allowed + limit, (command, plan.__dict__)


def in_one_block(query: Mapping[str, Any]) -> bool:
    """Return whether the query filters the events of a single block by name."""
    ids = query["filter"].get("_id")
    return (
        isinstance(ids, dict)
        and "eventName" in query["filter"]
        and unpack_position(ids.get("$gte", 0))[0] == unpack_position(ids["$lte"])[0]
    )


def of_few(query: Mapping[str, Any]) -> bool:
    """Return whether the query is for one transaction's events or one millisecond's blocks."""
    return "txId" in query["filter"] or isinstance(query["filter"].get("ts"), datetime)
