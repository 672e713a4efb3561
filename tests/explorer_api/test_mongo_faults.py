"""F4, F5: MongoDB killed, hung, or with another primary: that is said in time, and over by itself."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pymongo import AsyncMongoClient, MongoClient
from structlog.testing import capture_logs

from devnet.servers import Mongod, MongoReplicaSet
from explorer_api.http.problems import ProblemError
from explorer_api.live.mongo_calls import MongoCalls
from explorer_api.options import Options
from ledger.mongodb.collections import BLOCKS, EVENTS
from tests.explorer_api.proxies import proxied
from tests.explorer_api.support import (
    CHANNEL,
    Api,
    Response,
    append,
    append_now,
    block,
    running_api,
    transaction,
)
from tests.explorer_api.watching import tasks_of_the_api

C = f"/api/v1/channels/{CHANNEL}"
DATABASE = "ledger"
IN_TIME_S = 1.0
OPTIONS = Options(seconds_per_request=IN_TIME_S, head_age_s=0.3)
PERMANENT = [f"{C}/blocks/3", f"{C}/blocks/3?include=transactions", f"{C}/blocks/3/transactions"]
CHANGING = [
    C,
    f"{C}/blocks",
    f"{C}/blocks/latest",
    f"{C}/transactions/tx-3",
    "/api/v1/status",
    "/ready",
]
AWAY = [*CHANGING, f"{C}/blocks/5", f"{C}/blocks/999", "/api/v1/channels"]


@pytest.fixture(scope="module")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A MongoDB with a ledger of ten blocks, to be broken."""
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


async def ask(api: Api, paths: list[str], limit_s: float) -> list[Response]:
    """The answers to all at once, each of which comes in time."""

    async def one(path: str) -> Response:
        began = time.monotonic()
        response = await api.request("GET", path)
        assert time.monotonic() - began < limit_s, path
        return response

    return list(await asyncio.gather(*map(one, paths)))


def check_away(responses: list[Response]) -> None:
    for response in responses:
        assert response.status == 503, response.body
        assert response.json["type"].rpartition(":")[2] in ("database-unavailable", "timed-out")
        assert int(response.headers["Retry-After"]) > 0
        assert "127.0.0.1" not in response.body.decode(), "nobody need know where the database is"


async def well(api: Api) -> bool:
    return {response.status for response in await ask(api, CHANGING, 2 * IN_TIME_S)} == {200}


async def eventually(condition: Callable[[], Awaitable[bool]], limit_s: float) -> float:
    began = time.monotonic()
    while not await condition():
        assert time.monotonic() - began < limit_s, "it never came true"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


@pytest.mark.parametrize("fault", ["killed", "hung"])
async def test_mongodb_away_and_back(mongod: Mongod, fault: str) -> None:
    def said() -> list[str]:
        return [entry["event"] for entry in logs if entry["event"].startswith("database")]

    async def said_to_be_away() -> bool:
        return said() == ["database_unavailable"]

    async def said_to_be_over() -> bool:
        return said() == ["database_unavailable", "database_available"]

    async with api_of(mongod.uri) as api:
        assert await well(api)
        before = await ask(api, PERMANENT, IN_TIME_S)
        with capture_logs() as logs:
            if fault == "killed":
                mongod.kill()
            else:
                mongod.pause()
            try:
                await eventually(said_to_be_away, 3)  # though nobody asked
                for _ in range(2):
                    check_away(await ask(api, AWAY * 5, IN_TIME_S + 1.0))
                    kept = await ask(api, PERMANENT * 5, 0.2)
                    assert [(answer.status, answer.body) for answer in kept] == [
                        (200, a.body) for a in before * 5
                    ]
                health = (await api.get("/health", 503)).json
                assert await said_to_be_away()
            finally:
                mongod.start() if fault == "killed" else mongod.resume()
            assert await eventually(lambda: well(api), 5) < 3
            await eventually(said_to_be_over, 2)
        assert {check["name"]: check["status"] for check in health["checks"]} == {
            "mongodb": "broken"
        }
        # blocks are heard of again, though the stream ended
        async with AsyncMongoClient[Any](mongod.uri) as writer:
            height = int((await api.get(f"{C}/blocks")).headers["Ledger-Height"])
            await append(writer, DATABASE, [block(height, [])])
            await eventually(lambda: shows(api, height + 1), 3)


async def shows(api: Api, height: int) -> bool:
    return (await api.request("GET", f"{C}/blocks")).headers.get("Ledger-Height") == str(height)


async def test_who_waits_for_mongodb_keeps_nobody_else_waiting(mongod: Mongod) -> None:
    """And leaves nothing behind: neither tasks nor connections."""
    async with api_of(mongod.uri) as api, aiohttp.ClientSession() as session:
        other = Api(session, api.base)
        assert await well(api)
        await ask(other, PERMANENT, IN_TIME_S)
        tasks = len(working())
        mongod.pause()
        try:
            await asyncio.sleep(OPTIONS.head_age_s + 0.1)
            waiting = [asyncio.create_task(api.request("GET", path)) for path in AWAY * 11]
            slowest = 0.0
            while not all(task.done() for task in waiting):
                for path in ("/live", *PERMANENT):
                    began = time.monotonic()
                    await other.get(path)
                    slowest = max(slowest, time.monotonic() - began)
                await asyncio.sleep(0.01)
            assert slowest < IN_TIME_S / 2
            check_away([await task for task in waiting])
        finally:
            mongod.resume()
        await eventually(lambda: well(api), 5)
        await eventually(lambda: settled(tasks), 3)
        with MongoClient[dict[str, Any]](mongod.uri) as admin:
            assert admin.admin.command("serverStatus")["connections"]["current"] < 150


async def settled(tasks: int) -> bool:
    return len(working()) <= tasks + 5


def working() -> list[str]:
    """What all tasks are about, those that wait for a client's next request excepted."""
    return [
        name
        for task in asyncio.all_tasks()
        if "RequestHandler.start" not in (name := repr(task.get_coro()))
    ]


async def test_a_service_ends_at_once_while_mongodb_hangs(mongod: Mongod) -> None:
    async with AsyncMongoClient[Any](mongod.uri) as client:
        async with running_api(client, {CHANNEL: DATABASE}, OPTIONS) as api:
            assert await well(api)
            await asyncio.sleep(0.2)
            mongod.pause()
            ended = time.monotonic()
        took = time.monotonic() - ended
        mongod.resume()
        assert took < 2
        assert not tasks_of_the_api()


@pytest.mark.long
async def test_a_connection_that_died_in_silence_holds_nothing_up_for_ever(mongod: Mongod) -> None:
    """Packets vanish; new connections work."""
    async with (
        proxied(mongod.port) as proxy,
        api_of(f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true") as api,
    ):
        assert await well(api)
        proxy.silent = True
        await asyncio.sleep(OPTIONS.head_age_s + 0.1)
        check_away(await ask(api, AWAY * 2, IN_TIME_S + 1.0))
        proxy.silent = False
        assert await eventually(lambda: well(api), 10) < 3


async def test_trouble_that_comes_and_goes_fills_no_log(mongod: Mongod) -> None:
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


async def test_a_question_that_takes_too_long_is_no_outage(mongod: Mongod) -> None:
    async with AsyncMongoClient[Any](mongod.uri) as client:
        database = MongoCalls(0.5)

        async def ask(question: Awaitable[object]) -> None:
            with database.bounded():
                await question

        async def keep_in_contact(question: Awaitable[object]) -> None:
            await asyncio.sleep(0.1)
            with database.probe():
                await question

        slow = client[DATABASE][BLOCKS].find({"$where": "sleep(700) || true"}).to_list()
        quick = client.admin.command("ping")
        with capture_logs() as logs, pytest.raises(ProblemError) as raised:
            await asyncio.gather(ask(slow), keep_in_contact(quick))
    assert (raised.value.name, logs) == ("timed-out", [])


@pytest.mark.long
async def test_a_primary_is_lost(tmp_path: Path) -> None:
    with MongoReplicaSet(tmp_path) as servers:
        async with AsyncMongoClient[Any](servers.uri) as writer:
            await append(
                writer, DATABASE, [block(n, [transaction(0, f"tx-{n}")]) for n in range(10)]
            )
            async with api_of(servers.uri) as api:
                assert await well(api)
                await ask(api, PERMANENT, IN_TIME_S)
                heights = [10]
                for round_number in range(3):
                    primary = await asyncio.to_thread(servers.primary)
                    if round_number == 2:
                        with MongoClient[dict[str, Any]](primary.address) as admin:
                            admin.admin.command("replSetStepDown", 10, force=True)
                    else:
                        primary.kill()
                    deadline = time.monotonic() + 10
                    while not await well(api):
                        assert time.monotonic() < deadline
                        for response in await ask(api, CHANGING, IN_TIME_S + 1.0):
                            assert response.status in (200, 503), response.body
                        assert {answer.status for answer in await ask(api, PERMANENT, 0.3)} == {200}
                    height = int((await api.get(f"{C}/blocks")).headers["Ledger-Height"])
                    assert height >= heights[-1]
                    heights.append(height)
                    await append(writer, DATABASE, [block(height, [])])
                    await eventually(lambda h=height + 1: shows(api, h), 5)  # type: ignore[misc]
                    await asyncio.to_thread(servers.start)
