"""The query plans of all queries of the API."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.monitoring import CommandListener, CommandStartedEvent

from tests.explorer_api.support import CHANNEL, running_api

_SESSION_FIELDS = {
    "lsid",
    "$clusterTime",
    "$db",
    "maxTimeMS",
    "$readPreference",
    "readConcern",
    "txnNumber",
}


class Queries(CommandListener):
    """Records every query that the API sends."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name in ("find", "aggregate", "getMore", "count", "distinct"):
            self.sent.append(dict(event.command))

    def succeeded(self, event: object) -> None:
        pass

    def failed(self, event: object) -> None:
        pass


async def test_every_query_runs_on_an_index(
    mongo_uri: str,
    recorded_database: str,
    client: AsyncMongoClient[Any],
    delivered_events: list[Mapping[str, Any]],
) -> None:
    """And reads majority data, has a time limit, and examines only the documents of a page."""
    queries = Queries()
    tx_id = delivered_events[300]["transactionId"]
    span = {"ts__ge": "2020-01-01T00:00:00Z", "ts__lt": "2100-01-01T00:00:00Z"}
    async with (
        AsyncMongoClient[Any](mongo_uri, event_listeners=[queries]) as watched,
        running_api(watched, {CHANNEL: recorded_database}) as api,
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
            ):
                await check(client, recorded_database, queries, limit=5)
                first = await api.channel(route, limit=5, order=order, **filters)
                if first["page"]["next"] is not None:
                    await api.channel(
                        route, limit=5, order=order, cursor=first["page"]["next"], **filters
                    )
        one = await api.channel("/blocks/77")
        await api.channel(f"/blocks/{one['hash']}")
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


async def check(client: AsyncMongoClient[Any], database: str, queries: Queries, limit: int) -> None:
    """Check the plans of the recorded queries, and clear the record."""
    for command in queries.sent:
        if (
            command.get("find") == "sync_state"
            or "$changeStream" in command.get("pipeline", [{}])[0]
        ):
            continue  # a single document
        if command.get("collection") == "blocks":
            continue  # the change stream continues
        assert command["readConcern"]["level"] == "majority"
        assert command["maxTimeMS"] > 0
        query = {name: value for name, value in command.items() if name not in _SESSION_FIELDS}
        plan = await client[database].command("explain", query, verbosity="executionStats")
        if "aggregate" in command or "distinct" in command:
            stages = set(walk(plan))
            assert stages & {"IXSCAN", "IDHACK", "DISTINCT_SCAN"}, (query, stages)
            assert "COLLSCAN" not in stages, (query, stages)
            continue
        stages = set(walk(plan["queryPlanner"]["winningPlan"]))
        assert stages & {"IXSCAN", "IDHACK"}, (query, stages)
        assert "COLLSCAN" not in stages, (query, stages)
        assert "SORT" not in stages or of_few(query), (query, stages)
        statistics = plan["executionStats"]
        allowed = 40 if in_one_block(query) else limit + 2
        assert statistics["totalDocsExamined"] <= allowed, (query, statistics)
        assert statistics["totalKeysExamined"] <= allowed + limit, (query, statistics)
    queries.sent.clear()


def in_one_block(query: Mapping[str, Any]) -> bool:
    """Return whether the query filters the events of a single block by name."""
    ids = query["filter"].get("_id")
    return (
        isinstance(ids, dict)
        and "eventName" in query["filter"]
        and ids.get("$gte", 0) >> 20 == ids["$lte"] >> 20
    )


def of_few(query: Mapping[str, Any]) -> bool:
    """Return whether the query is for one transaction's events or one millisecond's blocks."""
    return "txId" in query["filter"] or isinstance(query["filter"].get("ts"), datetime)


def walk(node: Any) -> list[str]:
    """Return the names of all stages of a plan, without rejected plans."""
    if isinstance(node, list):
        return [name for child in node for name in walk(child)]
    if not isinstance(node, Mapping):
        return []
    names = [node["stage"]] if isinstance(node.get("stage"), str) else []
    return names + [
        name for key, child in node.items() if key != "rejectedPlans" for name in walk(child)
    ]
