from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.monitoring import CommandListener, CommandStartedEvent

from tests.explorer_api.support import CHANNEL, running_api

_NOT_PART_OF_THE_QUERY = {"lsid", "$clusterTime", "$db", "maxTimeMS", "$readPreference", "readConcern", "txnNumber"}


class Queries(CommandListener):
    """Keeps every query that the API sends."""

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
    mongo_uri: str, recorded_database: str, client: AsyncMongoClient[Any], delivered_events: list[Mapping[str, Any]]
) -> None:
    """And reads what the majority has, has a time limit, and looks at no more documents than a page needs."""
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
            ):
                await check(client, recorded_database, queries, limit=5)
                first = await api.channel(route, limit=5, order=order, **filters)
                if first["page"]["next"] is not None:
                    await api.channel(route, limit=5, order=order, cursor=first["page"]["next"], **filters)
        one = await api.channel("/blocks/77")
        await api.channel(f"/blocks/{one['hash']}")
        await api.channel("/blocks/1000", status=404)
        await api.channel(f"/transactions/{tx_id}")
        await api.get("/api/v1/status")
        await check(client, recorded_database, queries, limit=5)


async def check(client: AsyncMongoClient[Any], database: str, queries: Queries, limit: int) -> None:
    """Explains what was sent, and forgets it."""
    for command in queries.sent:
        assert command.get("find") is not None, command
        if command["find"] == "sync_state":
            continue  # one document
        assert command["readConcern"]["level"] == "majority"
        assert command["maxTimeMS"] > 0
        query = {name: value for name, value in command.items() if name not in _NOT_PART_OF_THE_QUERY}
        plan = await client[database].command("explain", query, verbosity="executionStats")
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
    """Whether the query looks for names among the events of a single block."""
    ids = query["filter"].get("_id")
    return isinstance(ids, dict) and "eventName" in query["filter"] and ids["$gte"] >> 20 == ids["$lte"] >> 20


def of_few(query: Mapping[str, Any]) -> bool:
    """Whether the query looks for the events of one transaction, or the blocks of one millisecond."""
    return "txId" in query["filter"] or isinstance(query["filter"].get("ts"), datetime)


def walk(stage: Mapping[str, Any]) -> list[str]:
    children = [stage[name] for name in ("inputStage", "queryPlan") if name in stage]
    children += stage.get("inputStages", [])
    names = [stage["stage"]] if "stage" in stage else []
    return names + [name for child in children for name in walk(child)]
