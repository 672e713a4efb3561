"""MongoDB that does not answer, clients that disconnect, and databases that cannot be read."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from explorer_api.options import Options
from ledger.documents.format import FORMAT
from ledger.mongodb.collections import BLOCKS, EVENTS
from tests.eventually import eventually
from tests.explorer_api.raw_http import address_of
from tests.explorer_api.support import CHANNEL, Api, append, block, running_api, transaction

ROUTES = [
    "/ready",
    "/api/v1/status",
    "/api/v1/channels",
    f"/api/v1/channels/{CHANNEL}",
    f"/api/v1/channels/{CHANNEL}/blocks/0",
]


@asynccontextmanager
async def silent_server() -> AsyncIterator[int]:
    """Run a server that accepts connections and never answers, as a paused mongod does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        yield listener.getsockname()[1]


@pytest.mark.parametrize("listening", [True, False])
@pytest.mark.parametrize("channels", [{CHANNEL: "somewhere"}, None])
async def test_requests_end_in_time_while_mongodb_is_unavailable(
    listening: bool, channels: dict[str, str] | None
) -> None:
    async with silent_server() as port:
        uri = f"mongodb://127.0.0.1:{port if listening else 1}/?directConnection=true"
        async with (
            AsyncMongoClient[Any](uri) as client,
            running_api(client, channels, Options(seconds_per_request=0.5)) as api,
        ):
            began = time.monotonic()
            responses = await asyncio.gather(*(api.request("GET", path) for path in ROUTES * 4))
            assert time.monotonic() - began < 10
            for response in responses:
                assert response.status == 503
                assert response.headers["Content-Type"] == "application/problem+json"
                assert int(response.headers["Retry-After"]) > 0
                assert response.json["type"].split(":")[-1] in ("database-unavailable", "timed-out")
            assert (await api.get("/live")).json == {"status": "live"}


async def test_a_disconnected_client_leaves_nothing_behind(
    mongo_uri: str, recorded_database: str
) -> None:
    """No task remains, and both connections to MongoDB are free again."""
    async with (
        AsyncMongoClient[Any](mongo_uri, maxPoolSize=2) as client,
        running_api(client, {CHANNEL: recorded_database}) as api,
    ):
        await api.get("/ready")
        tasks = len(asyncio.all_tasks())
        path = f"/api/v1/channels/{CHANNEL}/events?limit=500"
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        for _ in range(3):
            writers = []
            for _ in range(20):
                _, writer = await asyncio.open_connection(*address_of(api))
                writer.write(request)
                writers.append(writer)
            await asyncio.sleep(0.02)
            for writer in writers:
                writer.transport.abort()
        await eventually(
            lambda: len(asyncio.all_tasks()), lambda count: count <= tasks, describe="the tasks"
        )
        blocks = await asyncio.gather(*(api.channel("/blocks/7") for _ in range(10)))
        assert [block["number"] for block in blocks] == [7] * 10


async def test_an_unreadable_database_is_not_ready(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    assert (await api.get("/ready")).json == {"status": "ready"}
    await append(client, database_name, [block(0, [transaction(0, "a")])])
    assert (await api.get("/ready")).json == {"status": "ready"}
    await client[database_name][EVENTS].drop_index("txId_1")
    response = await api.problem("/ready", 503, "not-ready")
    assert "chaincode_events.txId_1" in response.json["detail"]
    await api.problem(f"/api/v1/channels/{CHANNEL}/events?txId=a", 503, "not-ready")
    await client[database_name][BLOCKS].update_one({}, {"$set": {"format": FORMAT + 1}})
    response = await api.problem("/ready", 503, "not-ready")
    assert "newer" in response.json["detail"]
