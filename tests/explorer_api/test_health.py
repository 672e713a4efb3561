"""Health, readiness and the status of channels, for operators."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from cli.assembly.redis import redis_client
from explorer_api.options import Options
from ledger.documents.format import FORMAT
from ledger.mongodb.collections import BLOCKS, EVENTS
from ledger.mongodb.sync_state import ChannelState, LastError
from tests.explorer_api.business_database import FailingBusinessReports
from tests.explorer_api.support import (
    CHANNEL,
    FRESH,
    Api,
    C,
    Json,
    append,
    block,
    report_state,
    running_api,
    transaction,
)


def check_statuses(health: Json) -> dict[str, str]:
    for check in health["checks"]:
        assert check["latencyMs"] >= 0
        assert datetime.fromisoformat(check["since"]) <= datetime.now(UTC)
    return {check["name"]: check["status"] for check in health["checks"]}


async def test_health_shows_the_state_of_the_daemon(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    channel = f"channel {CHANNEL}"
    empty = (await api.get("/health")).json
    assert check_statuses(empty) == {"mongodb": "ok", channel: "ok"}
    await append(client, database_name, [block(0, [transaction(0, "a")])])
    error = LastError(datetime.now(UTC), "the chain does not match")
    silent_since = datetime.now(UTC) - timedelta(seconds=61)
    for status, verdict, fields in (
        (200, "ok", {"state": ChannelState.FOLLOWING, "peer_height": 1}),
        (202, "catching_up", {"state": ChannelState.FOLLOWING, "peer_height": 9}),
        (202, "catching_up", {"state": ChannelState.CATCHING_UP, "peer_height": 9}),
        (202, "catching_up", {"state": ChannelState.STARTING}),
        (200, "degraded", {"state": ChannelState.STOPPED, "updated_at": silent_since}),
        (503, "broken", {"state": ChannelState.WAITING, "error": error}),
        (503, "broken", {"state": ChannelState.FAILED, "error": error}),
        (503, "broken", {"state": ChannelState.FOLLOWING, "updated_at": silent_since}),
        (200, "ok", {"state": ChannelState.FOLLOWING}),
    ):
        await report_state(client, database_name, **fields)
        response = await api.get("/health", status)
        assert response.headers["Cache-Control"] == "no-store"
        assert response.json["status"] == verdict
        assert check_statuses(response.json) == {"mongodb": "ok", channel: verdict}
        detail = response.json["checks"][-1]["detail"]
        assert (detail == error.message) == ("error" in fields), detail


async def test_health_names_the_reason_why_a_channel_cannot_be_read(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    await append(client, database_name, [block(0, [transaction(0, "a")])])
    await client[database_name][EVENTS].drop_index("txId_1")
    broken = (await api.get("/health", 503)).json
    assert "chaincode_events.txId_1" in broken["checks"][-1]["detail"]
    await client[database_name][BLOCKS].update_one({}, {"$set": {"format": FORMAT + 1}})
    assert "newer" in (await api.get("/health", 503)).json["checks"][-1]["detail"]
    assert (await api.get("/live")).status == 200


async def test_health_shows_since_when_a_check_has_its_status(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    async def since() -> datetime:
        health = (await api.request("GET", "/health")).json
        return datetime.fromisoformat(health["checks"][-1]["since"])

    await append(client, database_name, [block(0, [])])
    await report_state(client, database_name, state=ChannelState.FOLLOWING)
    ok_since = await since()
    await asyncio.sleep(0.02)
    assert await since() == ok_since
    await report_state(client, database_name, state=ChannelState.WAITING)
    broken_since = await since()
    assert broken_since > ok_since
    await asyncio.sleep(0.02)
    assert await since() == broken_since
    await report_state(client, database_name, state=ChannelState.FOLLOWING)
    assert await since() > broken_since


async def test_the_ledger_is_served_without_postgresql_and_redis(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    await append(client, database_name, [block(0, [transaction(0, "a")])])
    business, redis = FailingBusinessReports(), redis_client("redis://127.0.0.1:1/0")
    options = Options(head_age_s=0.0, seconds_per_request=1.5)
    channels = {CHANNEL: database_name}
    expected = {"mongodb": "ok", "redis": "degraded", f"channel {CHANNEL}": "ok"}
    async with running_api(
        client, channels, options, business_reports=business, redis=redis
    ) as api:
        for is_available, hangs, verdict in (
            (True, False, "ok"),
            (False, False, "degraded"),
            (True, True, "degraded"),
        ):
            business.is_available, business.hangs = is_available, hangs
            began = time.monotonic()
            health = (await api.get("/health")).json
            assert time.monotonic() - began < 10
            assert health["status"] == "degraded"
            assert check_statuses(health) == expected | {"postgresql": verdict}
        assert (await api.get("/ready")).json == {"status": "ready"}, "neither is required"
        business.hangs, business.is_available = False, False
        detail = await api.channel("/transactions/a")
        assert (detail["business"], detail["businessUnavailable"]) == (None, True)
        audit = await api.channel("/audit")
        assert (audit["rows"]["standing"], audit["rows"]["unavailable"]) == (None, True)
        await api.problem(f"{C}/audit/discrepancies", 503, "business-unavailable")
        business.is_available = True
        assert (await api.channel("/audit/discrepancies"))["items"] == []
    await redis.aclose()


@asynccontextmanager
async def two_channels(client: AsyncMongoClient[Any], database: str) -> AsyncIterator[Api]:
    async with running_api(client, {"one": database, "two": f"{database}_two"}, FRESH) as api:
        yield api
    await client.drop_database(f"{database}_two")


async def test_status_shows_every_channel(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    async with two_channels(client, database_name) as api:
        await append(client, f"{database_name}_two", [block(n, []) for n in range(3)])
        await report_state(
            client,
            f"{database_name}_two",
            channel="two",
            state=ChannelState.CATCHING_UP,
            peer_height=8,
            seen_height=4,
        )
        status = (await api.get("/api/v1/status")).json
        fields = ("name", "state", "peerHeight", "seenHeight", "committedHeight")
        shown = [tuple(channel[field] for field in fields) for channel in status["channels"]]
        assert shown == [("one", None, None, None, 0), ("two", "catching_up", 8, 4, 3)]
        assert status["version"] == "1.2.3"
        later = (await api.get("/api/v1/status")).json
        assert later["uptimeSeconds"] >= status["uptimeSeconds"] > 0


@pytest.mark.parametrize("path", ["/live", "/ready", "/health", "/metrics", "/api/v1/status"])
async def test_responses_for_operators_are_not_cacheable(recorded_api: Api, path: str) -> None:
    response = await recorded_api.get(path)
    assert response.headers["Cache-Control"] == "no-store"
    assert "ETag" not in response.headers
    assert (await recorded_api.get(path, 200, {"If-None-Match": "*"})).body
