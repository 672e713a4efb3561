"""How soon the API knows a new block, what that costs MongoDB, and that it never goes back."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS
from pymongo import AsyncMongoClient, MongoClient
from redis.asyncio import Redis

from cli.assembly.redis import redis_client
from devnet.servers import Mongod, MongodMember
from explorer_api.options import Options
from indexer.channel_progress import ChannelProgress
from indexer.head_publisher import HeadPublisher
from ledger.mongodb.collections import BLOCKS, SYNC_STATE
from ledger.mongodb.sync_state import ChannelState, write_sync_state
from tests.explorer_api.support import (
    CHANNEL,
    Api,
    append,
    block,
    running_api,
    sync_state,
    transaction,
)
from tests.explorer_api.watching import tasks_of_the_api, watched_client

C = f"/api/v1/channels/{CHANNEL}"
SLOW_POLL = Options(head_age_s=60.0)
"""A head that is seen within half a minute was told of."""


async def store_block(
    client: AsyncMongoClient[Any], database: str, number: int, salt: str = ""
) -> None:
    await append(
        client, database, [block(number, [transaction(0, f"{salt}{number}")], salt.encode())]
    )


async def height(api: Api) -> int:
    return int((await api.request("GET", f"{C}/blocks")).headers["Ledger-Height"])


async def seen_after(api: Api, wanted: int, limit_s: float = 5.0) -> float:
    """Seconds until the API shows that many blocks."""
    began = time.monotonic()
    while await height(api) != wanted:
        assert time.monotonic() - began < limit_s, "it never came to be seen"
        await asyncio.sleep(0.002)
    return time.monotonic() - began


# --- How soon ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def announcing(redis: Redis, database: str) -> AsyncIterator[ChannelProgress]:
    """The daemon's announcer."""
    progress = ChannelProgress(CHANNEL, time.monotonic, lambda: datetime.now(UTC))
    running = asyncio.create_task(HeadPublisher(redis, database, progress).run())
    try:
        yield progress
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """The connection of the API."""
    redis = redis_client(redis_url)
    yield redis
    await redis.aclose()


async def test_a_block_that_the_daemon_announces_is_seen_at_once(
    client: AsyncMongoClient[Any], database_name: str, redis: Redis, redis_url: str
) -> None:
    daemons = redis_client(redis_url)
    await store_block(client, database_name, 0)
    async with (
        running_api(client, {CHANNEL: database_name}, SLOW_POLL, redis=redis) as api,
        announcing(daemons, database_name) as progress,
    ):
        assert await height(api) == 1
        await asyncio.sleep(0.1)  # until it listens
        delays = []
        for number in range(1, 6):
            await store_block(client, database_name, number)
            if number == 1:
                await daemons.publish("kindledger:head:elsewhere", "9")
                await asyncio.sleep(0.2)
                assert await height(api) == 1, "nobody told"
            progress.record_commit(number + 1, blocks=1, transactions=1, events=0, undecodable=0)
            delays.append(await seen_after(api, number + 1))
        assert statistics.median(delays) < 0.1, delays
        for garbage in (b"", b"\xff\xfe", b"-1", b"x" * 1_000_000):
            await daemons.publish(f"kindledger:head:{database_name}", garbage)
        await daemons.publish(b"kindledger:head:\xff\xfe", b"1")
        await store_block(client, database_name, 6)
        await daemons.publish(f"kindledger:head:{database_name}", b"what matters is that it came")
        assert await seen_after(api, 7) < 1
    await daemons.aclose()


async def test_without_redis_mongodb_itself_tells(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    """Also of a database that is not there yet, and after it was dropped."""
    async with running_api(client, {CHANNEL: database_name}, SLOW_POLL) as api:
        assert await height(api) == 0
        await asyncio.sleep(0.2)  # until it listens
        delays = []
        for number in range(5):
            await store_block(client, database_name, number)
            delays.append(await seen_after(api, number + 1))
        assert statistics.median(delays) < 0.1, delays
        await client.drop_database(database_name)
        await store_block(client, database_name, 0, "other")
        assert await seen_after(api, 1) < 3, (
            "the stream ended with the collection, and was opened again"
        )
        await store_block(client, database_name, 1, "other")
        assert await seen_after(api, 2) < 1


class Standalone(MongodMember):
    """A mongod that is no member of anything."""

    def _command(self, binary: Path, port: int) -> list[str]:
        command = super()._command(binary, port)
        del command[command.index("--replSet") :][:2]
        return [word for word in command if word not in ("--replSet", "kindledger")]


@pytest.fixture(scope="module")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Standalone(tmp_path_factory.mktemp("standalone")) as server:
        yield server.address


@pytest.fixture(scope="module")
def without_streams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The administrator's address of a MongoDB with access control, and that of a user who only may find."""
    with Mongod(tmp_path_factory.mktemp("mongo"), auth=True) as server:
        with MongoClient[dict[str, Any]](server.uri) as admin:
            finds = [
                {"resource": {"db": "ledger", "collection": ""}, "actions": ["find", "listIndexes"]}
            ]
            admin.admin.command("createRole", "finds", privileges=finds, roles=[])
            admin.admin.command("createUser", "reader", pwd="reader", roles=["finds"])
        yield (
            server.uri,
            f"mongodb://reader:reader@{server.host}/?replicaSet=kindledger&authSource=admin",
        )


async def test_where_nobody_tells_it_is_seen_soon(
    standalone: str, without_streams: tuple[str, str]
) -> None:
    for uri, readers in ((standalone, standalone), without_streams):
        async with (
            AsyncMongoClient[Any](uri) as client,
            watched_client(readers) as (reader, commands),
            running_api(reader, {CHANNEL: "ledger"}, Options(head_age_s=0.4)) as api,
        ):
            for number in range(2):
                await store_block(client, "ledger", number)
                assert await seen_after(api, number + 1) < 0.4 + 0.3
            commands.clear()
            await asyncio.sleep(1.2)
            assert "changeStream" not in commands.names, (
                "what cannot be heard is not asked for over and over"
            )


# --- What it costs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("announced", [True, False])
async def test_an_idle_api_asks_little_however_many_ask_it(
    mongo_uri: str, recorded_database: str, redis: Redis, announced: bool
) -> None:
    async with (
        watched_client(mongo_uri) as (client, commands),
        running_api(
            client, {CHANNEL: recorded_database}, Options(), redis=redis if announced else None
        ) as api,
    ):
        await api.channel("/blocks")
        await asyncio.sleep(0.3)
        commands.clear()
        began = time.monotonic()
        asked = 0
        while time.monotonic() - began < 1.2:
            await api.channel("/blocks")
            await api.channel("/blocks/7")
            asked += 2
            await asyncio.sleep(0.005)
        seconds = time.monotonic() - began
    assert asked > 50
    assert len(commands.names) / seconds < 6, (
        commands.names
    )  # 3 a second for the head, 1 or so for the stream


async def test_blocks_that_come_fast_are_not_all_looked_at(
    mongo_uri: str, database_name: str
) -> None:
    async with (
        AsyncMongoClient[Any](mongo_uri) as writer,
        watched_client(mongo_uri) as (client, commands),
        running_api(client, {CHANNEL: database_name}, SLOW_POLL) as api,
    ):
        await store_block(writer, database_name, 0)
        await asyncio.sleep(0.3)
        commands.clear()
        began = time.monotonic()
        blocks = [block(number, []) for number in range(1, 600)]
        for start in range(0, len(blocks), 3):
            await append(writer, database_name, blocks[start : start + 3])
        seconds = time.monotonic() - began
        assert await seen_after(api, 600) < 1
    assert commands.names.count("find") / (seconds + 1) < 250, commands.names.count("find")


# --- What it never does -----------------------------------------------------------------------------------------------


async def test_nobody_is_shown_an_older_head(
    client: AsyncMongoClient[Any], database_name: str, redis: Redis
) -> None:
    """Of many that ask whatever there is while blocks arrive, none ever sees the height fall."""
    await store_block(client, database_name, 0)
    async with running_api(
        client, {CHANNEL: database_name}, Options(head_age_s=0.05), redis=redis
    ) as api:
        ended = asyncio.Event()

        async def asks(path: str) -> list[int]:
            seen: list[int] = []
            last = False
            while not last:
                last = ended.is_set()
                response = await api.request("GET", path)
                seen.append(int(response.headers["Ledger-Height"]))
                if path.endswith("latest"):
                    assert response.json["number"] + 1 == seen[-1]
            return seen

        paths = [
            "/blocks/latest",
            "/blocks/latest",
            "/blocks",
            "/blocks/0",
            "/blocks/999",
            "/blocks?limit=1",
            "",
        ]
        asking = [asyncio.create_task(asks(C + path)) for path in paths]
        for number in range(1, 30):
            await store_block(client, database_name, number)
            await redis.publish(f"kindledger:head:{database_name}", str(number + 1))
            await asyncio.sleep(0.01)
        assert await seen_after(api, 30) < 1
        ended.set()
        for heights in await asyncio.gather(*asking):
            assert heights == sorted(heights)
            assert heights[-1] == 30
            assert len(set(heights)) > 5


async def test_what_is_not_on_the_ledger_yet_is_looked_for_there(
    client: AsyncMongoClient[Any], database_name: str, redis: Redis
) -> None:
    """A stale head never denies a block that is there."""
    await store_block(client, database_name, 0)
    async with running_api(client, {CHANNEL: database_name}, SLOW_POLL, redis=redis) as api:
        assert await height(api) == 1
        for number in range(1, 6):
            await store_block(client, database_name, number)
            response = await api.get(f"{C}/blocks/{number}")
            assert (response.json["number"], response.headers["Ledger-Height"]) == (
                number,
                str(number + 1),
            )


async def test_an_api_that_ends_leaves_no_task(
    client: AsyncMongoClient[Any], recorded_database: str, redis: Redis
) -> None:
    async def cycle(wait_s: float, redis: Redis | None) -> float:
        async with running_api(
            client, {CHANNEL: recorded_database}, Options(head_age_s=0.0), redis=redis
        ) as api:
            await api.get("/live")
            await asyncio.sleep(wait_s)
            assert "restart_on_failure" in tasks_of_the_api()
            ended = time.monotonic()
        return time.monotonic() - ended

    slowest = 0.0
    for step in range(20):  # a cancellation comes at any moment of a call
        slowest = max(slowest, await cycle(step / 2000, redis if step % 2 else None))
        assert not tasks_of_the_api()
    assert slowest < 0.5


# --- What else may be there -------------------------------------------------------------------------------------------


async def test_a_report_that_this_program_cannot_read_hides_no_block(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    """A newer daemon may have states that this program does not know."""
    async with running_api(client, {CHANNEL: database_name}, Options(head_age_s=0.2)) as api:
        await store_block(client, database_name, 0)
        await write_sync_state(client[database_name], sync_state(state=ChannelState.FOLLOWING))
        await seen_after(api, 1)
        await client[database_name][SYNC_STATE].update_one({}, {"$set": {"state": "hibernating"}})
        await asyncio.sleep(0.3)
        await store_block(client, database_name, 1)
        assert await seen_after(api, 2) < 1
        assert (await api.channel())["state"] is None


async def test_the_state_of_a_channel_follows_its_daemon(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    """Also while no block comes."""
    await store_block(client, database_name, 0)
    await write_sync_state(
        client[database_name], sync_state(state=ChannelState.FOLLOWING, peer_height=1)
    )
    async with running_api(client, {CHANNEL: database_name}, Options(head_age_s=0.4)) as api:
        first = await api.get(C)
        assert (first.json["state"], first.json["lagBlocks"]) == ("following", 0)
        await write_sync_state(
            client[database_name], sync_state(state=ChannelState.WAITING, peer_height=3)
        )

        async def told() -> bool:
            response = await api.request("GET", C, {"If-None-Match": first.headers["ETag"]})
            return response.status == 200 and (
                response.json["state"],
                response.json["lagBlocks"],
            ) == ("waiting", 2)

        await eventually(told, 2)


async def eventually(condition: Callable[[], Any], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not await condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.02)


async def test_what_is_not_ours_does_not_end_the_watch(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    """A name that was given wrongly, and put right; another application's documents beside ours."""
    blocks = client[database_name][BLOCKS]
    await blocks.insert_one({"_id": "theirs", "number": "one"})
    async with running_api(client, {CHANNEL: database_name}, SLOW_POLL) as api:
        for path in (C, f"{C}/blocks", "/ready"):
            assert (await api.request("GET", path)).status >= 500
        await blocks.delete_one({})
        await store_block(client, database_name, 0)
        assert await seen_after(api, 1) < 1
        await store_block(client, database_name, 1)
        assert await seen_after(api, 2) < 1


async def test_foreign_databases_hide_no_channel(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    foreign = client[f"{database_name}x"]
    await foreign[SYNC_STATE].insert_one({"state": "theirs", "at": DatetimeMS(2**62)})
    await store_block(client, database_name, 0)
    await write_sync_state(client[database_name], sync_state(f"of.{database_name}"))
    try:
        async with running_api(client, None) as api:
            names = [row["name"] for row in (await api.get("/api/v1/channels")).json["items"]]
            assert f"of.{database_name}" in names
    finally:
        await client.drop_database(foreign.name)
