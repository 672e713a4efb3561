"""Listeners on Redis hear of new blocks, and indexing does not depend on Redis."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from structlog.testing import capture_logs

from cli.assembly.redis import redis_client
from devnet.peer import Ledger
from devnet.servers import Redis as RedisServer
from indexer.daemon import Daemon, DaemonChannel
from indexer.monitoring.head_publisher import HeadPublisher
from indexer.pipeline.channel_indexer import ChannelIndexer
from indexer.progress.channel_progress import ChannelProgress, ErrorSource
from ledger.mongodb.store import LedgerStore
from ledger.position import BlockNumber, Height
from tests.eventually import eventually
from tests.indexer.network import HEIGHT, QUICK, TRUNK, WITHIN_S, Client, peer_of
from tests.indexer.support import SMALL, new_progress


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis server that the test may break."""
    with RedisServer(tmp_path / "redis") as server:
        yield server


@asynccontextmanager
async def listening(url: str, database: str) -> AsyncIterator[PubSub]:
    async with (
        Redis.from_url(url) as redis,
        redis.pubsub(ignore_subscribe_messages=True) as subscription,
    ):
        await subscription.subscribe(f"kindledger:head:{database}")
        await subscription.get_message(timeout=WITHIN_S)  # the confirmation of the subscription
        yield subscription


async def heard(subscription: PubSub, height: int) -> list[bytes]:
    """Return the messages up to the one with this height."""
    messages: list[bytes] = []

    async def receive() -> list[bytes]:
        message = await subscription.get_message(timeout=1)
        if message is not None:
            messages.append(message["data"])
        return messages

    return await eventually(
        receive,
        lambda received: received[-1:] == [b"%d" % height],
        within_s=WITHIN_S,
        poll_s=0,
        describe=f"the announcement of height {height}",
    )


@asynccontextmanager
async def announcing(url: str, progress: ChannelProgress) -> AsyncIterator[None]:
    redis = redis_client(url)
    running = asyncio.create_task(HeadPublisher(redis, "ledger", progress).run())
    try:
        yield
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await redis.aclose()


def commit(progress: ChannelProgress, height: int) -> None:
    progress.record_commit(Height(height), blocks=1, transactions=1, events=0, undecodable=0)


async def wait_for_failures(progress: ChannelProgress, times: int) -> None:
    """Wait until `times` calls of Redis have failed."""
    await eventually(
        lambda: progress.errors[ErrorSource.REDIS],
        lambda count: count >= times,
        within_s=WITHIN_S,
        describe="the count of Redis errors",
    )


async def test_listeners_hear_of_the_blocks_of_a_daemon(
    store: LedgerStore, client: Client, redis_url: str
) -> None:
    """Blocks are stored before they are announced; of many new heights the last is announced."""
    ledger = Ledger(TRUNK[: HEIGHT - 3])
    name = store.database.name
    redis = redis_client(redis_url)
    async with peer_of(ledger) as peer, listening(redis_url, name) as subscription:
        progress = new_progress()
        indexer = ChannelIndexer(
            store, [client.source(peer)], progress, limits=SMALL, timeouts=QUICK
        )
        daemon = Daemon(
            [
                DaemonChannel(
                    indexer,
                    progress,
                    store.database,
                    background_tasks=(HeadPublisher(redis, name, progress).run,),
                )
            ],
            "test",
        )
        running = asyncio.create_task(daemon.run())
        try:
            heights = await heard(subscription, HEIGHT - 3)
            for height in range(HEIGHT - 2, HEIGHT + 1):
                ledger.append(TRUNK[height - 1])
                assert await heard(subscription, height) == [b"%d" % height]
                checkpoint = await store.checkpoint()
                assert checkpoint is not None
                assert checkpoint.head.number + 1 >= height
            assert heights == sorted(heights, key=int)
        finally:
            daemon.stop()
            await asyncio.wait_for(running, WITHIN_S)
            await redis.aclose()


async def test_announcements_continue_after_redis_was_killed_and_restarted(
    server: RedisServer,
) -> None:
    progress = new_progress()
    progress.resume(BlockNumber(0), Height(5))
    with capture_logs() as logs:
        async with announcing(server.url, progress):
            async with listening(server.url, "ledger") as subscription:
                commit(progress, 6)
                await heard(subscription, 6)
            server.kill()
            for height in (7, 8, 9):
                commit(progress, height)
                await asyncio.sleep(0.1)
            await wait_for_failures(progress, 2)
            server.start()
            async with listening(server.url, "ledger") as subscription:
                commit(progress, 10)
                assert await heard(subscription, 10) in ([b"10"], [b"9", b"10"]), (
                    "only the latest height"
                )
    assert [log["event"] for log in logs] == [
        "announcements_unavailable",
        "announcements_available",
    ]
    assert "redis://" not in str(logs)


async def test_a_redis_that_hangs_delays_neither_indexing_nor_the_end(server: RedisServer) -> None:
    progress = new_progress()
    async with listening(server.url, "ledger") as subscription, announcing(server.url, progress):
        progress.resume(BlockNumber(0), Height(1))
        await heard(subscription, 1)
        server.pause()
        began = time.monotonic()
        for height in range(2, 1_000):
            commit(progress, height)
        assert time.monotonic() - began < WITHIN_S / 2, "commits do not wait for Redis"
        await wait_for_failures(progress, 1)
        assert time.monotonic() - began < WITHIN_S / 2
        commit(progress, 1_000)
        server.resume()
        assert len(await heard(subscription, 1_000)) <= 3
        server.pause()
        commit(progress, 1_001)
        await asyncio.sleep(0.05)
        began = time.monotonic()
    assert time.monotonic() - began < WITHIN_S / 2
