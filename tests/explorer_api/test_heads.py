"""How soon the API shows a new block, and how many queries of MongoDB that takes."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient, MongoClient
from redis.asyncio import Redis

from cli.assembly.redis import redis_client
from devnet.servers import Mongod, MongodMember
from explorer_api.options import Options
from indexer.monitoring.head_publisher import HeadPublisher
from indexer.progress.channel_progress import ChannelProgress
from ledger.head_topic import head_topic
from ledger.position import Height
from tests.explorer_api.command_recorder import recorded_client
from tests.explorer_api.head_reading import (
    RARELY_READ,
    seconds_until_shown,
    shown_height,
    store_block,
)
from tests.explorer_api.support import CHANNEL, append, block, running_api

AT_ONCE_S = 10.0
"""A notified block is shown after some milliseconds, without a notification after half a minute."""


@asynccontextmanager
async def publishing(redis: Redis, database: str) -> AsyncIterator[ChannelProgress]:
    """Publish the height of a channel as the daemon does."""
    progress = ChannelProgress(CHANNEL, time.monotonic, lambda: datetime.now(UTC))
    running = asyncio.create_task(HeadPublisher(redis, database, progress).run())
    try:
        yield progress
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_block_that_the_daemon_announces_is_shown_at_once(
    client: AsyncMongoClient[Any], database_name: str, redis: Redis, redis_url: str
) -> None:
    daemon_redis, topic = redis_client(redis_url), head_topic(database_name)
    await store_block(client, database_name, 0)
    async with (
        running_api(client, {CHANNEL: database_name}, RARELY_READ, redis=redis) as api,
        publishing(daemon_redis, database_name) as progress,
    ):
        assert await shown_height(api) == 1
        await asyncio.sleep(0.1)  # until the API has subscribed
        delays = []
        for number in range(1, 6):
            await store_block(client, database_name, number)
            if number == 1:
                await daemon_redis.publish(head_topic("elsewhere"), "9")
                await asyncio.sleep(0.2)
                assert await shown_height(api) == 1, "announced for another database"
            progress.record_commit(
                Height(number + 1), blocks=1, transactions=1, events=0, undecodable=0
            )
            delays.append(await seconds_until_shown(api, number + 1))
        assert statistics.median(delays) < AT_ONCE_S, delays
        for garbage in (b"", b"\xff\xfe", b"-1", b"x" * 1_000_000):
            await daemon_redis.publish(topic, garbage)
        await daemon_redis.publish(b"kindledger:head:\xff\xfe", b"1")
        await store_block(client, database_name, 6)
        await daemon_redis.publish(topic, b"the content of a message is not read")
        await seconds_until_shown(api, 7)
    await daemon_redis.aclose()


async def test_without_redis_the_change_stream_notifies(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    """It also notifies of a database that does not exist yet, or that was dropped."""
    async with running_api(client, {CHANNEL: database_name}, RARELY_READ) as api:
        assert await shown_height(api) == 0
        await asyncio.sleep(0.2)  # until the change stream is open
        delays = []
        for number in range(5):
            await store_block(client, database_name, number)
            delays.append(await seconds_until_shown(api, number + 1))
        assert statistics.median(delays) < AT_ONCE_S, delays
        await client.drop_database(database_name)
        await store_block(client, database_name, 0, "other")
        await seconds_until_shown(api, 1)  # the stream ends with the collection and is reopened
        await store_block(client, database_name, 1, "other")
        await seconds_until_shown(api, 2)


class Standalone(MongodMember):
    """A mongod that is not a member of a replica set."""

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
    """The URIs of an administrator and of a user without the right to change streams."""
    with Mongod(tmp_path_factory.mktemp("mongo"), auth=True) as server:
        with MongoClient[dict[str, Any]](server.uri) as admin:
            privileges = [
                {"resource": {"db": "ledger", "collection": ""}, "actions": ["find", "listIndexes"]}
            ]
            admin.admin.command("createRole", "finds", privileges=privileges, roles=[])
            admin.admin.command("createUser", "reader", pwd="reader", roles=["finds"])
        yield (
            server.uri,
            f"mongodb://reader:reader@{server.host}/?replicaSet=kindledger&authSource=admin",
        )


async def test_without_notifications_a_block_is_shown_after_the_heads_age(
    standalone: str, without_streams: tuple[str, str]
) -> None:
    for uri, reader_uri in ((standalone, standalone), without_streams):
        async with (
            AsyncMongoClient[Any](uri) as client,
            recorded_client(reader_uri) as (reader, commands),
            running_api(reader, {CHANNEL: "ledger"}, Options(head_age_s=0.4)) as api,
        ):
            for number in range(2):
                await store_block(client, "ledger", number)
                assert await seconds_until_shown(api, number + 1) < 0.4 + 3.0
            commands.clear()
            await asyncio.sleep(1.2)
            assert "changeStream" not in commands.names, "a refused stream is not opened again"


@pytest.mark.parametrize("has_redis", [True, False])
async def test_requests_for_cached_responses_cause_no_queries(
    mongo_uri: str, recorded_database: str, redis: Redis, has_redis: bool
) -> None:
    """The service itself reads the head twice in its maximal age."""
    channels = {CHANNEL: recorded_database}
    async with (
        recorded_client(mongo_uri) as (client, commands),
        running_api(client, channels, Options(), redis=redis if has_redis else None) as api,
    ):
        await api.channel("/blocks")
        await api.channel("/blocks/7")
        await asyncio.sleep(0.3)
        commands.clear()
        began = time.monotonic()
        for _ in range(60):
            await api.channel("/blocks")
            await api.channel("/blocks/7")
            await asyncio.sleep(0.02)
        seconds = time.monotonic() - began
    assert len(commands.names) / seconds < 6, commands.names


async def test_heads_are_read_less_often_than_blocks_arrive(
    mongo_uri: str, database_name: str
) -> None:
    async with (
        AsyncMongoClient[Any](mongo_uri) as writer,
        recorded_client(mongo_uri) as (client, commands),
        running_api(client, {CHANNEL: database_name}, RARELY_READ) as api,
    ):
        await store_block(writer, database_name, 0)
        await asyncio.sleep(0.3)
        commands.clear()
        began = time.monotonic()
        blocks = [block(number, []) for number in range(1, 600)]
        for start in range(0, len(blocks), 3):
            await append(writer, database_name, blocks[start : start + 3])
        seconds = time.monotonic() - began
        await seconds_until_shown(api, 600)
    queries = commands.names.count("find")
    assert queries / (seconds + 1) < 250, queries
