"""MongoDB is killed, hangs, or elects another primary: responses say so, and recover."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pymongo import AsyncMongoClient, MongoClient
from structlog.testing import capture_logs
from structlog.typing import EventDict

from devnet.servers import Mongod, MongoReplicaSet
from explorer_api.http.problems import ProblemError
from explorer_api.live.mongo_calls import MongoCalls
from explorer_api.options import Options
from ledger.mongodb.collections import BLOCKS, EVENTS
from tests.eventually import eventually
from tests.explorer_api.api_tasks import tasks_of_the_api
from tests.explorer_api.proxies import proxied
from tests.explorer_api.support import (
    CHANNEL,
    Api,
    C,
    Response,
    append,
    append_now,
    block,
    running_api,
    transaction,
)

DATABASE = "ledger"
OPTIONS = Options(seconds_per_request=1.0, head_age_s=0.3)
REQUEST_LIMIT_S = 4.0
"""The most time until a response, on a busy machine."""

IMMUTABLE_PATHS = [
    f"{C}/blocks/3",
    f"{C}/blocks/3?include=transactions",
    f"{C}/blocks/3/transactions",
]
CHANGING_PATHS = [
    C,
    f"{C}/blocks",
    f"{C}/blocks/latest",
    f"{C}/transactions/tx-3",
    "/api/v1/status",
    "/ready",
]
UNCACHED_PATHS = [*CHANGING_PATHS, f"{C}/blocks/5", f"{C}/blocks/999", "/api/v1/channels"]


@pytest.fixture(scope="module")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A MongoDB with a ledger of ten blocks, which the tests break."""
    with Mongod(tmp_path_factory.mktemp("mongo")) as server:
        append_now(server.uri, DATABASE, [block(n, [transaction(0, f"tx-{n}")]) for n in range(10)])
        yield server


@asynccontextmanager
async def api_of(uri: str) -> AsyncIterator[Api]:
    async with (
        AsyncMongoClient[Any](uri) as client,
        running_api(client, {CHANNEL: DATABASE}, OPTIONS) as api,
    ):
        yield api


async def request_all(
    api: Api, paths: list[str], limit_s: float = REQUEST_LIMIT_S
) -> list[Response]:
    """Return the responses to concurrent requests, each of which must arrive within the limit."""

    async def request(path: str) -> Response:
        began = time.monotonic()
        response = await api.request("GET", path)
        assert time.monotonic() - began < limit_s, path
        return response

    return list(await asyncio.gather(*map(request, paths)))


def check_unavailable(responses: list[Response]) -> None:
    for response in responses:
        assert response.status == 503, response.body
        assert response.json["type"].rpartition(":")[2] in ("database-unavailable", "timed-out")
        assert int(response.headers["Retry-After"]) > 0
        assert "127.0.0.1" not in response.body.decode(), "the address of the database"


async def is_well(api: Api) -> bool:
    return {response.status for response in await request_all(api, CHANGING_PATHS)} == {200}


async def shows_height(api: Api, height: int) -> bool:
    response = await api.request("GET", f"{C}/blocks")
    return response.headers.get("Ledger-Height") == str(height)


def outage_events(logs: list[EventDict]) -> list[str]:
    return [entry["event"] for entry in logs if entry["event"].startswith("database")]


@pytest.mark.parametrize("fault", ["killed", "hung"])
async def test_immutable_responses_are_served_during_an_outage_of_mongodb(
    mongod: Mongod, fault: str
) -> None:
    async with api_of(mongod.uri) as api:
        assert await is_well(api)
        before = await request_all(api, IMMUTABLE_PATHS)
        with capture_logs() as logs:
            if fault == "killed":
                mongod.kill()
            else:
                mongod.pause()
            try:
                # logged although no request is made
                await eventually(lambda: outage_events(logs), describe="the log of the outage")
                for _ in range(2):
                    check_unavailable(await request_all(api, UNCACHED_PATHS * 5))
                    cached = await request_all(api, IMMUTABLE_PATHS * 5, 2.0)
                    assert [(response.status, response.body) for response in cached] == [
                        (200, response.body) for response in before * 5
                    ]
                health = (await api.get("/health", 503)).json
                assert outage_events(logs) == ["database_unavailable"]
            finally:
                mongod.start() if fault == "killed" else mongod.resume()
            await eventually(lambda: is_well(api))
            await eventually(
                lambda: outage_events(logs),
                lambda events: events == ["database_unavailable", "database_available"],
            )
        statuses = {check["name"]: check["status"] for check in health["checks"]}
        assert statuses == {"mongodb": "broken"}
        # the change stream, which ended, was opened again
        async with AsyncMongoClient[Any](mongod.uri) as writer:
            height = int((await api.get(f"{C}/blocks")).headers["Ledger-Height"])
            await append(writer, DATABASE, [block(height, [])])
            await eventually(lambda: shows_height(api, height + 1))


async def test_requests_that_wait_for_mongodb_delay_no_other(mongod: Mongod) -> None:
    """And leave nothing behind: neither tasks nor connections."""
    async with api_of(mongod.uri) as api, aiohttp.ClientSession() as session:
        other_client = Api(session, api.base)
        assert await is_well(api)
        await request_all(other_client, IMMUTABLE_PATHS)
        tasks = len(working_tasks())
        mongod.pause()
        try:
            await asyncio.sleep(OPTIONS.head_age_s + 0.1)
            waiting = [
                asyncio.create_task(api.request("GET", path)) for path in UNCACHED_PATHS * 11
            ]
            durations = []
            while not all(task.done() for task in waiting):
                for path in ("/live", *IMMUTABLE_PATHS):
                    began = time.monotonic()
                    await other_client.get(path)
                    durations.append(time.monotonic() - began)
                await asyncio.sleep(0.01)
            assert max(durations) < REQUEST_LIMIT_S
            assert sorted(durations)[len(durations) // 2] < OPTIONS.seconds_per_request / 2
            check_unavailable([await task for task in waiting])
        finally:
            mongod.resume()
        await eventually(lambda: is_well(api))
        await eventually(
            lambda: len(working_tasks()), lambda count: count <= tasks + 5, describe="the tasks"
        )
        with MongoClient[dict[str, Any]](mongod.uri) as admin:
            assert admin.admin.command("serverStatus")["connections"]["current"] < 150


def working_tasks() -> list[str]:
    """Return all tasks except those that wait for the next request of a client."""
    return [
        name
        for task in asyncio.all_tasks()
        if "RequestHandler.start" not in (name := repr(task.get_coro()))
    ]


async def test_a_service_stops_while_mongodb_hangs(mongod: Mongod) -> None:
    async with AsyncMongoClient[Any](mongod.uri) as client:
        async with running_api(client, {CHANNEL: DATABASE}, OPTIONS) as api:
            assert await is_well(api)
            await asyncio.sleep(0.2)
            mongod.pause()
            stopped_at = time.monotonic()
        seconds = time.monotonic() - stopped_at
        mongod.resume()
        assert seconds < 6
        assert not tasks_of_the_api()


@pytest.mark.long
async def test_half_open_connections_are_replaced(mongod: Mongod) -> None:
    """Packets are lost without an error; new connections work."""
    async with (
        proxied(mongod.port) as proxy,
        api_of(f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true") as api,
    ):
        assert await is_well(api)
        proxy.silent = True
        await asyncio.sleep(OPTIONS.head_age_s + 0.1)
        check_unavailable(await request_all(api, UNCACHED_PATHS * 2))
        proxy.silent = False
        await eventually(lambda: is_well(api), within_s=20)


async def test_a_repeated_failure_is_logged_once(mongod: Mongod) -> None:
    async with (
        AsyncMongoClient[Any](mongod.uri) as client,
        running_api(client, {CHANNEL: "lacking"}, Options(head_age_s=0.0)) as api,
    ):
        await append(client, "lacking", [block(0, [])])
        await client["lacking"][EVENTS].drop_indexes()
        with capture_logs() as logs:
            for _ in range(5):
                assert (await api.request("GET", f"{C}/events?name.eq=Minted")).status == 503
                assert (await api.request("GET", f"{C}/blocks")).status == 200
    assert [entry["event"] for entry in logs] == ["index_missing"]


async def test_a_slow_query_is_not_an_outage(mongod: Mongod) -> None:
    async with AsyncMongoClient[Any](mongod.uri) as client:
        mongo_calls = MongoCalls(0.5)

        async def query(operation: Awaitable[object]) -> None:
            with mongo_calls.bounded():
                await operation

        async def probe(operation: Awaitable[object]) -> None:
            await asyncio.sleep(0.1)
            with mongo_calls.probe():
                await operation

        slow = client[DATABASE][BLOCKS].find({"$where": "sleep(3000) || true"}).to_list()
        quick = client.admin.command("ping")
        with capture_logs() as logs, pytest.raises(ProblemError) as raised:
            await asyncio.gather(query(slow), probe(quick))
    assert (raised.value.name, logs) == ("timed-out", [])


@pytest.mark.long
async def test_the_service_continues_after_the_loss_of_a_primary(tmp_path: Path) -> None:
    with MongoReplicaSet(tmp_path) as servers:
        async with AsyncMongoClient[Any](servers.uri) as writer:
            blocks = [block(n, [transaction(0, f"tx-{n}")]) for n in range(10)]
            await append(writer, DATABASE, blocks)
            async with api_of(servers.uri) as api:
                assert await is_well(api)
                await request_all(api, IMMUTABLE_PATHS)
                heights = [10]
                for round_number in range(3):
                    await lose_primary(servers, step_down=round_number == 2)
                    await check_failover(api)
                    height = int((await api.get(f"{C}/blocks")).headers["Ledger-Height"])
                    assert height >= heights[-1]
                    heights.append(height)
                    await append(writer, DATABASE, [block(height, [])])
                    await eventually(lambda h=height + 1: shows_height(api, h))  # type: ignore[misc]
                    await asyncio.to_thread(servers.start)


async def lose_primary(servers: MongoReplicaSet, *, step_down: bool) -> None:
    primary = await asyncio.to_thread(servers.primary)
    if step_down:
        with MongoClient[dict[str, Any]](primary.address) as admin:
            admin.admin.command("replSetStepDown", 10, force=True)
    else:
        primary.kill()


async def check_failover(api: Api) -> None:
    """Check the responses until every one of them has the status 200 again."""

    async def responses_are_right() -> bool:
        for response in await request_all(api, CHANGING_PATHS):
            assert response.status in (200, 503), response.body
        cached = await request_all(api, IMMUTABLE_PATHS, 2.0)
        assert {response.status for response in cached} == {200}
        return await is_well(api)

    await eventually(responses_are_right)
