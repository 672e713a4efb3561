"""No fault of Redis makes a response wrong or slow, and Redis is used again after it."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from pymongo import AsyncMongoClient
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from structlog.testing import capture_logs
from yarl import URL

from cli.assembly.redis import redis_client
from devnet.servers import Redis as RedisServer
from explorer_api.live.redis_cache import RedisCache
from explorer_api.options import ServiceLimits
from ledger.head_topic import head_topic
from tests.eventually import eventually
from tests.explorer_api.api_tasks import tasks_of_the_api
from tests.explorer_api.proxies import Proxy, proxied
from tests.explorer_api.redis_data import REPLACEMENTS
from tests.explorer_api.redis_faults import (
    LIMITS,
    PAUSE_S,
    REMOTE,
    SERIES,
    api_with_redis,
    check_responses,
    is_served_from_redis,
    keys_of,
    responses_without_redis,
    shows_height,
)
from tests.explorer_api.support import Api, append, block, transaction

RESPONSE_KEY = b"kindledger:api:"
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that the tests break."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(server: RedisServer) -> Iterator[Redis]:
    """The operator's connection to that Redis, which works and is empty."""
    server.start()
    with Redis.from_url(server.url) as client:
        client.flushall()
        yield client


def kill(server: RedisServer, redis: Redis) -> None:
    server.kill()


def hang(server: RedisServer, redis: Redis) -> None:
    server.pause()


def fill(server: RedisServer, redis: Redis) -> None:
    redis.flushall()
    redis.config_set("maxmemory-policy", "noeviction")
    redis.config_set("maxmemory", "1mb")


def change_password(server: RedisServer, redis: Redis) -> None:
    redis.config_set("requirepass", "another")
    redis.client_kill_filter(_type="normal")
    redis.client_kill_filter(_type="pubsub")


def become_replica(server: RedisServer, redis: Redis) -> None:
    """Make it a read-only replica of an unavailable primary."""
    redis.flushall()
    redis.replicaof("127.0.0.1", "1")


def restart(server: RedisServer, redis: Redis) -> None:
    """Start again with the original configuration."""
    server.kill()
    server.start()
    redis.close()


def resume(server: RedisServer, redis: Redis) -> None:
    server.resume()


def allow_more_memory(server: RedisServer, redis: Redis) -> None:
    redis.config_set("maxmemory", "0")


def become_primary(server: RedisServer, redis: Redis) -> None:
    redis.replicaof("NO", "ONE")


Act = Callable[[RedisServer, Redis], None]
FAULTS: dict[str, tuple[Act, Act]] = {
    "killed": (kill, restart),
    "hung": (hang, resume),
    "full": (fill, allow_more_memory),
    "another password": (change_password, restart),
    "read-only": (become_replica, become_primary),
}


@pytest.mark.parametrize(
    "fault",
    [
        "killed",
        "hung",
        "full",
        *(pytest.param(f, marks=pytest.mark.long) for f in ("another password", "read-only")),
    ],
)
async def test_responses_do_not_depend_on_redis(
    client: AsyncMongoClient[Any], database_name: str, server: RedisServer, redis: Redis, fault: str
) -> None:
    break_redis, mend_redis = FAULTS[fault]
    await append(client, database_name, [block(n, [transaction(0, f"{n}")]) for n in range(20)])
    expected = await responses_without_redis(client, database_name)
    with capture_logs() as logs:
        async with api_with_redis(client, database_name, server.url) as api:
            await check_responses(api, expected)
            await eventually(lambda: is_served_from_redis(api, redis))
            break_redis(server, redis)
            await check_responses(api, expected)
            await asyncio.sleep(1.2 * PAUSE_S)  # then a call is tried again
            await check_responses(api, expected)
            health = await api.get("/health")
            mend_redis(server, redis)
            await eventually(lambda: is_served_from_redis(api, redis))
            await check_responses(api, expected)
            await check_notifications(api, client, database_name, redis)
            assert health.json["status"] == "degraded" or fault in ("full", "read-only")
            assert (await api.get("/health")).json["status"] == "ok"
    events = Counter(entry["event"] for entry in logs)
    assert set(events) <= {"cache_unavailable", "announcements_unavailable"}, logs
    assert set(events.values()) == {1}, "at most once a minute"
    assert server.url.split(":")[2].partition("@")[0] not in str(logs)


async def check_notifications(
    api: Api, client: AsyncMongoClient[Any], database: str, redis: Redis
) -> None:
    """Check that a notification makes a new block shown, long before the head is read again."""
    assert (await api.channel("/blocks/latest"))["number"] == 19
    await append(client, database, [block(20, [])])

    async def is_shown() -> bool:
        redis.publish(head_topic(database), "21")
        return await shows_height(api, 21)

    await eventually(is_shown, within_s=15)


async def test_the_documented_rights_in_redis_suffice(
    client: AsyncMongoClient[Any], database_name: str, server: RedisServer, redis: Redis
) -> None:
    documented = re.findall(
        r"(?m)^ACL SETUSER (kindledger_\w+) on >PASSWORD (.*)$", OPERATIONS.read_text()
    )
    rights = {user: rules.split() for user, rules in documented}
    assert rights.keys() == {"kindledger_daemon", "kindledger_api"}
    for user, rules in rights.items():
        redis.execute_command("ACL", "SETUSER", user, "reset", "on", ">secret", *rules)  # type: ignore[no-untyped-call]
    redis.acl_log_reset()
    await append(client, database_name, [block(n, [transaction(0, f"{n}")]) for n in range(20)])
    expected = await responses_without_redis(client, database_name)

    def url(user: str) -> str:
        return str(URL(server.url).with_user(user).with_password("secret"))

    with capture_logs() as logs:
        async with api_with_redis(client, database_name, url("kindledger_api")) as api:
            await check_responses(api, expected)
            await eventually(lambda: is_served_from_redis(api, redis))
            assert (await api.get("/health")).json["status"] == "ok"
            assert any(key.startswith(b"rate_limit:") for key in keys_of(redis))
            await append(client, database_name, [block(20, [])])
            async with redis_client(url("kindledger_daemon")) as daemon:
                await daemon.scan(match="campaigns:list:*")
                await daemon.set("realtime:donations", b"1", ex=60)
                await daemon.unlink("realtime:donations")
                await daemon.publish(head_topic(database_name), "21")
            await eventually(lambda: shows_height(api, 21), within_s=15)
    assert logs == []
    assert {entry["object"] for entry in redis.acl_log()} <= {"client"}, (
        "the library sends its name and version if it may"
    )


async def test_a_service_starts_and_stops_while_redis_hangs(
    client: AsyncMongoClient[Any], recorded_database: str, server: RedisServer, redis: Redis
) -> None:
    server.pause()
    try:
        async with api_with_redis(client, recorded_database, server.url) as api:
            assert (await api.request("GET", SERIES, REMOTE)).status == 200
            stopped_at = time.monotonic()
        assert time.monotonic() - stopped_at < 5
        assert not tasks_of_the_api()
    finally:
        server.resume()


@asynccontextmanager
async def api_behind_proxy(
    client: AsyncMongoClient[Any],
    database: str,
    server: RedisServer,
    limits: ServiceLimits = LIMITS,
) -> AsyncIterator[tuple[Api, Proxy]]:
    async with proxied(server.port) as proxy:
        url = server.url.replace(f":{server.port}/", f":{proxy.port}/")
        async with api_with_redis(client, database, url, limits) as api:
            yield api, proxy


@pytest.mark.parametrize("delay_s", [pytest.param(0.05, marks=pytest.mark.long), 0.11])
@pytest.mark.usefixtures("redis")
async def test_a_slow_redis_makes_no_response_slow(
    client: AsyncMongoClient[Any], recorded_database: str, server: RedisServer, delay_s: float
) -> None:
    """Each delay makes some calls, but not all of them, exceed their time limit."""
    expected = await responses_without_redis(client, recorded_database)
    async with api_behind_proxy(client, recorded_database, server) as (api, proxy):
        proxy.delay_s = delay_s
        await check_responses(api, expected, rounds=1)
        proxy.delay_s = 0.0
        await asyncio.sleep(1.2 * PAUSE_S)
        await check_responses(api, expected)


async def test_a_half_open_connection_is_replaced(
    client: AsyncMongoClient[Any], database_name: str, server: RedisServer, redis: Redis
) -> None:
    """As after a firewall lost its state: neither data nor an error arrives."""
    await append(client, database_name, [block(0, [])])
    limits = structs.replace(LIMITS, notification_silence_s=0.15, notification_retry_s=1.0)
    async with api_behind_proxy(client, database_name, server, limits) as (api, proxy):
        assert await shows_height(api, 1)
        await asyncio.sleep(0.6)
        connections = proxy.connections
        assert connections <= 2, "a connection that is only idle is kept"
        proxy.silent = True
        await eventually(lambda: proxy.connections, lambda count: count > connections)
        proxy.silent = False
        await append(client, database_name, [block(1, [])])

        async def is_shown() -> bool:
            redis.publish(head_topic(database_name), "2")
            return await shows_height(api, 2)

        await eventually(is_shown, within_s=15)


async def stored_data(api: Api, redis: Redis, expected: dict[str, Any]) -> dict[bytes, bytes]:
    """Send requests until Redis holds responses and counters; return all its data."""

    async def read() -> dict[bytes, bytes]:
        await check_responses(api, expected, rounds=1)
        keys = [key for key in keys_of(redis) if b":lock" not in key]
        values = [(key, redis.get(key)) for key in keys]
        return {key: value for key, value in values if isinstance(value, bytes)}

    def is_complete(data: dict[bytes, bytes]) -> bool:
        responses = [key for key in data if key.startswith(RESPONSE_KEY)]
        return len(responses) >= 3 and len(data) > len(responses)

    return await eventually(read, is_complete, describe="responses and counters in Redis")


async def test_foreign_and_damaged_data_is_ignored(
    client: AsyncMongoClient[Any], recorded_database: str, server: RedisServer, redis: Redis
) -> None:
    expected = await responses_without_redis(client, recorded_database)
    async with api_with_redis(client, recorded_database, server.url) as api:
        stored = await stored_data(api, redis, expected)
        responses = [key for key in stored if key.startswith(RESPONSE_KEY)]
        for key, other_key in zip(responses, responses[1:] + responses[:1], strict=True):
            redis.set(key, stored[other_key])
        await check_responses(api, expected, rounds=1)
        for replacements in REPLACEMENTS:
            redis.flushall()
            for key, replace in zip(stored, cycle(replacements)):
                replace(redis, key, stored[key])
            replacements[-1](redis, responses[0] + b":lock", b"theirs")
            await check_responses(api, expected, rounds=1)
        await asyncio.sleep(1.2 * PAUSE_S)
        await check_responses(api, expected, rounds=1)
        redis.flushall()
        await eventually(lambda: is_served_from_redis(api, redis))


async def test_a_failed_computation_releases_its_lock(server: RedisServer, redis: Redis) -> None:
    """Neither this process nor another one waits for it."""
    connections = [AsyncRedis.from_url(server.url) for _ in range(2)]
    caches = [RedisCache(connection, "test") for connection in connections]

    async def fail() -> Any:
        raise LookupError

    async def hang() -> Any:
        await asyncio.sleep(60)

    for step in range(4):
        cache = caches[step % 2]
        with pytest.raises(LookupError):
            await cache.get_or_compute("v", "key", fail)
        assert not keys_of(redis), "no lock is left"
        cancelled = asyncio.create_task(cache.get_or_compute("v", "key", hang))
        await eventually(lambda: keys_of(redis), describe="the lock")
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        assert not keys_of(redis), "no lock is left"
    for connection in connections:
        await connection.aclose()
