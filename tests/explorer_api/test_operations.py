"""What operators see: health with each check, metrics for Prometheus, and the status of channels."""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from pymongo import AsyncMongoClient

from cli.assembly.redis import redis_client
from explorer_api.options import Options
from explorer_api.routes import ROUTES
from ledger.documents.format import FORMAT
from ledger.mongodb.collections import BLOCKS, EVENTS
from ledger.mongodb.sync_state import (
    ChannelState,
    DifferenceCounts,
    LastError,
    Reconciliation,
    Verification,
    record_verification,
    write_sync_state,
)
from reconciliation.reports import (
    BusinessRows,
    BusinessUnavailableError,
    DiscrepancyKind,
    DiscrepancyPage,
    DiscrepancyState,
    SettlementStatus,
)
from tests.explorer_api.support import (
    CHANNEL,
    FRESH,
    Api,
    Json,
    append,
    block,
    running_api,
    sync_state,
    transaction,
)

C = f"/api/v1/channels/{CHANNEL}"

# --- Health -----------------------------------------------------------------------------------------------------------


def checks(health: Json) -> dict[str, str]:
    for check in health["checks"]:
        assert check["latencyMs"] >= 0
        assert datetime.fromisoformat(check["since"]) <= datetime.now(UTC)
    return {check["name"]: check["status"] for check in health["checks"]}


async def report(client: AsyncMongoClient[Any], database: str, **fields: Any) -> None:
    await write_sync_state(
        client[database], sync_state(**{"updated_at": datetime.now(UTC), **fields})
    )


async def test_health_says_how_the_daemon_does(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    channel = f"channel {CHANNEL}"
    assert checks((await api.get("/health")).json) == {"mongodb": "ok", channel: "ok"}, (
        "nothing indexed, nothing wrong"
    )
    await append(client, database_name, [block(0, [transaction(0, "a")])])
    error = LastError(datetime.now(UTC), "the chain does not match")
    silent = datetime.now(UTC) - timedelta(seconds=61)
    for status, verdict, fields in (
        (200, "ok", {"state": ChannelState.FOLLOWING, "peer_height": 1}),
        (202, "catching_up", {"state": ChannelState.FOLLOWING, "peer_height": 9}),
        (202, "catching_up", {"state": ChannelState.CATCHING_UP, "peer_height": 9}),
        (202, "catching_up", {"state": ChannelState.STARTING}),
        (200, "degraded", {"state": ChannelState.STOPPED, "updated_at": silent}),
        (503, "broken", {"state": ChannelState.WAITING, "error": error}),
        (503, "broken", {"state": ChannelState.FAILED, "error": error}),
        (503, "broken", {"state": ChannelState.FOLLOWING, "updated_at": silent}),
        (200, "ok", {"state": ChannelState.FOLLOWING}),
    ):
        await report(client, database_name, **fields)
        answer = await api.get("/health", status)
        assert answer.headers["Cache-Control"] == "no-store"
        assert (answer.json["status"], checks(answer.json)) == (
            verdict,
            {"mongodb": "ok", channel: verdict},
        )
        detail = answer.json["checks"][-1]["detail"]
        assert (detail == error.message) == ("error" in fields), detail
    await client[database_name][EVENTS].drop_index("txId_1")
    broken = (await api.get("/health", 503)).json
    assert "chaincode_events.txId_1" in broken["checks"][-1]["detail"]
    await client[database_name][BLOCKS].update_one({}, {"$set": {"format": FORMAT + 1}})
    assert "newer" in (await api.get("/health", 503)).json["checks"][-1]["detail"]
    assert (await api.get("/live")).status == 200


async def test_since_when_it_is_so(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    async def since() -> datetime:
        health = (await api.request("GET", "/health")).json
        return datetime.fromisoformat(health["checks"][-1]["since"])

    await append(client, database_name, [block(0, [])])
    await report(client, database_name, state=ChannelState.FOLLOWING)
    well = await since()
    await asyncio.sleep(0.02)
    assert await since() == well
    await report(client, database_name, state=ChannelState.WAITING)
    worse = await since()
    assert worse > well
    await asyncio.sleep(0.02)
    assert await since() == worse
    await report(client, database_name, state=ChannelState.FOLLOWING)
    assert await since() > worse


class Books:
    """A business database that is away, or never answers."""

    channel = CHANNEL

    def __init__(self) -> None:
        self.answers = True
        self.hangs = False

    async def check(self) -> None:
        if self.hangs:
            await asyncio.sleep(60)
        if not self.answers:
            raise BusinessUnavailableError("PostgreSQL does not answer")

    async def rows(self, tx_ids: Sequence[str]) -> dict[str, BusinessRows]:
        await self.check()
        return {tx_id: BusinessRows([], more=False) for tx_id in tx_ids}

    async def discrepancies(
        self, kind: DiscrepancyKind | None, state: DiscrepancyState, after: int | None, limit: int
    ) -> DiscrepancyPage:
        await self.check()
        return DiscrepancyPage([], None)

    async def status(self) -> SettlementStatus:
        await self.check()
        return SettlementStatus(1, 1, 0, None, [], [])


async def test_the_ledger_is_served_without_postgresql_and_redis(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    await append(client, database_name, [block(0, [transaction(0, "a")])])
    books, redis = Books(), redis_client("redis://127.0.0.1:1/0")
    options = Options(head_age_s=0.0, seconds_per_request=1.5)
    async with running_api(
        client, {CHANNEL: database_name}, options, business=books, redis=redis
    ) as api:
        expected = {
            "mongodb": "ok",
            "postgresql": "ok",
            "redis": "degraded",
            f"channel {CHANNEL}": "ok",
        }
        for books.answers, books.hangs, verdict in (
            (True, False, "ok"),
            (False, False, "degraded"),
            (True, True, "degraded"),
        ):
            began = time.monotonic()
            health = (await api.get("/health")).json
            assert time.monotonic() - began < 1.0
            assert health["status"] == "degraded"
            assert checks(health) == expected | {"postgresql": verdict}
        assert (await api.get("/ready")).json == {"status": "ready"}, "neither is needed"
        books.hangs, books.answers = False, False
        transaction_shown = await api.channel("/transactions/a")
        assert (transaction_shown["business"], transaction_shown["businessUnavailable"]) == (
            None,
            True,
        )
        audit = await api.channel("/audit")
        assert (audit["rows"]["standing"], audit["rows"]["unavailable"]) == (None, True)
        await api.problem(f"{C}/audit/discrepancies", 503, "business-unavailable")
        books.answers = True
        assert (await api.channel("/audit/discrepancies"))["items"] == []
    await redis.aclose()


# --- Audit ------------------------------------------------------------------------------------------------------------


async def test_the_audit_says_equal_only_of_what_was_compared(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    await report(client, database_name)
    assert (await api.channel("/audit"))["ledger"]["verdict"] == "unknown"
    compared = DifferenceCounts(0, 0, 0, 0)
    alone = DifferenceCounts(0, 0, 0, None)
    for height, differences, kinds, shown in (
        (1, 0, None, (1, "consistent")),
        (2, 0, alone, (2, "consistent")),
        (3, 0, compared, (3, "equal")),
        (4, 0, alone, (3, "equal")),
        (5, 2, compared, (5, "different")),
        (6, 0, alone, (5, "different")),
        (7, 1, alone, (7, "different")),
        (8, 0, alone, (8, "consistent")),
    ):
        outcome = Verification(datetime.now(UTC), height, differences, kinds)
        await record_verification(client[database_name], CHANNEL, outcome)
        ledger = (await api.channel("/audit"))["ledger"]
        assert (ledger["height"], ledger["verdict"]) == shown


async def test_the_audit_of_rows_is_unknown_where_nobody_can_tell(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    books = Books()
    async with running_api(client, {CHANNEL: database_name}, business=books) as api:
        for answers, state, discrepancies, verdict in (
            (True, ChannelState.STARTING, 1, "equal"),
            (False, ChannelState.STARTING, 0, "unknown"),
            (False, ChannelState.STOPPED, 0, "unknown"),
            (False, ChannelState.FOLLOWING, 0, "equal"),
            (False, ChannelState.FOLLOWING, 1, "different"),
        ):
            books.answers = answers
            reported = Reconciliation(state, 0, 0, discrepancies, None, [])
            await report(client, database_name, reconciliation=reported)
            assert (await api.channel("/audit"))["rows"]["verdict"] == verdict


# --- Metrics ----------------------------------------------------------------------------------------------------------


async def metrics(api: Api) -> dict[str, Metric]:
    response = await api.get("/metrics")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(response.body.decode()))
    assert len({family.name for family in families}) == len(families)
    return {family.name: family for family in families}


def values(family: Metric, *labels: str) -> dict[tuple[str, ...], float]:
    """Of a counter or gauge."""
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


async def test_requests_are_counted_by_route(recorded_api: Api) -> None:
    asked = [("GET", f"{C}/blocks/{n}", 200) for n in range(5)] + [
        ("GET", f"{C}/blocks/999", 404)
    ] * 2
    asked += [
        ("HEAD", f"{C}/blocks/1", 200),
        ("POST", f"{C}/blocks/1", 405),
        ("GET", "/api/v1/status", 200),
    ]
    asked += [
        ("GET", "/nowhere", 404),
        ("GET", f"{C}/blocks?limit=0", 400),
        ("DELETE", "/live", 405),
        ("GET", "/live", 200),
    ]
    for method, path, status in asked:
        assert (await recorded_api.request(method, path)).status == status
    etag = (await recorded_api.get(f"{C}/blocks/1")).headers["ETag"]
    await recorded_api.get(f"{C}/blocks/1", 304, {"If-None-Match": etag})
    shown = await metrics(recorded_api)
    block_route, blocks_route = (
        f"/api/v1/channels/{{channel}}/blocks{end}" for end in ("/{block}", "")
    )
    counted = values(shown["kindledger_api_requests"], "route", "method", "status")
    assert counted == {
        (block_route, "GET", "200"): 6,
        (block_route, "GET", "304"): 1,
        (block_route, "GET", "404"): 2,
        (block_route, "HEAD", "200"): 1,
        ("/api/v1/status", "GET", "200"): 1,
        ("/live", "GET", "200"): 1,
        (blocks_route, "GET", "400"): 1,
        ("none", "GET", "404"): 1,
        ("none", "other", "405"): 2,
    }
    durations = shown["kindledger_api_request_duration_seconds"]
    counts = {s.labels["route"]: s.value for s in durations.samples if s.name.endswith("_count")}
    assert counts[block_route] == 10
    assert values(shown["kindledger_api_requests_in_progress"]) == {(): 1}, "this one"
    assert values(shown["kindledger_api_channel_height"], "channel") == {(CHANNEL,): 136}
    (age,) = values(shown["kindledger_api_head_age_seconds"]).values()
    assert 0 <= age < 1
    hits = values(shown["kindledger_api_cache_requests"], "cache", "result")
    assert hits == {("memory", "hit"): 3, ("memory", "miss"): 8}, "of what can be kept"
    assert values(shown["kindledger_api_cache_bytes"])[()] > 0


async def test_names_and_units_are_those_of_prometheus(
    client: AsyncMongoClient[Any], recorded_database: str
) -> None:
    redis = redis_client("redis://127.0.0.1:1/0")
    options = Options(requests_per_minute=1)
    async with running_api(client, {CHANNEL: recorded_database}, options, redis=redis) as api:
        await api.channel("/blocks")
        shown = await metrics(api)
    await redis.aclose()
    assert len(shown) >= 8
    for family in shown.values():
        if family.name.endswith("_created"):
            continue
        assert re.fullmatch(r"kindledger_api(_[a-z]+)+", family.name)
        assert re.fullmatch(r"[A-Z].*\.", family.documentation)
        assert family.type in ("counter", "gauge", "histogram")
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|count|total)$", family.name), (
            "base units; no suffix twice"
        )
        for sample in family.samples:
            assert family.type != "counter" or sample.name.endswith(("_total", "_created"))
            assert (
                not {"le", "quantile", "instance", "job"} & sample.labels.keys()
                or family.type == "histogram"
            )


async def test_labels_are_bounded_whatever_is_asked(recorded_api: Api) -> None:
    """Each label's value is memory that is never given back."""
    random.seed(5)
    alphabet = "abcdefghijklmnopqrstuvwxyz0123456789-_.%2F"

    async def ask(number: int) -> None:
        word = "".join(random.choices(alphabet, k=12)).replace("%", "")
        shapes = [
            "/{}",
            "/api/v1/{}",
            "/api/v1/channels/{}/blocks",
            C + "/{}",
            C + "/blocks/{}",
            C + "/transactions/{}",
        ]
        shapes += [
            C + "/blocks?{}=1",
            "/live/{}",
            "/api/v1/transactions/{}",
            C + "/keys/{0}/{0}/history",
        ]
        method = random.choice(
            ["GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "QUERY"]
        )
        await recorded_api.request(method, random.choice(shapes).format(word))

    for first in range(0, 1000, 50):
        await asyncio.gather(*(ask(number) for number in range(first, first + 50)))
    shown = await metrics(recorded_api)
    counted = values(shown["kindledger_api_requests"], "route", "method", "status")
    assert sum(counted.values()) == 1000
    assert {route for route, _, _ in counted} <= {route.path for route in ROUTES} | {"none"}
    assert {method for _, method, _ in counted} <= {"GET", "HEAD", "other"}
    assert {status for _, _, status in counted} <= {"200", "400", "404", "405"}
    assert len(counted) < 60


# --- Status -----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def two_channels(client: AsyncMongoClient[Any], database: str) -> AsyncIterator[Api]:
    async with running_api(client, {"one": database, "two": f"{database}_two"}, FRESH) as api:
        yield api
    await client.drop_database(f"{database}_two")


async def test_status_tells_of_every_channel(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    async with two_channels(client, database_name) as api:
        await append(client, f"{database_name}_two", [block(n, []) for n in range(3)])
        await report(
            client,
            f"{database_name}_two",
            channel="two",
            state=ChannelState.CATCHING_UP,
            peer_height=8,
            seen_height=4,
        )
        status = (await api.get("/api/v1/status")).json
        shown = [
            (c["name"], c["state"], c["peerHeight"], c["seenHeight"], c["committedHeight"])
            for c in status["channels"]
        ]
        assert shown == [("one", None, None, None, 0), ("two", "catching_up", 8, 4, 3)]
        assert status["version"] == "1.2.3"
        later = (await api.get("/api/v1/status")).json
        assert later["uptimeSeconds"] >= status["uptimeSeconds"] > 0


@pytest.mark.parametrize("path", ["/live", "/ready", "/health", "/metrics", "/api/v1/status"])
async def test_what_operators_ask_is_never_kept(recorded_api: Api, path: str) -> None:
    response = await recorded_api.get(path)
    assert response.headers["Cache-Control"] == "no-store"
    assert "ETag" not in response.headers
    assert (await recorded_api.get(path, 200, {"If-None-Match": "*"})).body
