"""F9: whatever Redis does, answers are right and quick, and all is well again by itself when Redis is."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from hashlib import sha256
from itertools import cycle
from pathlib import Path
from typing import Any

import msgspec
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
from explorer_api.options import Options, ServiceLimits
from tests.explorer_api.proxies import Proxy, proxied
from tests.explorer_api.support import CHANNEL, Api, append, block, running_api, transaction
from tests.explorer_api.watching import tasks_of_the_api

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
C = f"/api/v1/channels/{CHANNEL}"
OPTIONS = Options(
    head_age_s=20.0, cache_bytes=0, requests_per_minute=10_000, trusted_proxies=("127.0.0.0/8",)
)
"""Nothing is kept in memory, so that all that can be kept in Redis is looked for there."""
LIMITS = ServiceLimits(redis_pause_s=0.3, notification_retry_s=0.2)
"""Shorter than in operation, so that Redis is tried again soon."""
REMOTE = {"X-Forwarded-For": "192.0.2.1"}
"""A client whose requests are counted."""

SERIES = f"{C}/stats/series?interval=hour"
PATHS = [
    SERIES,
    f"{SERIES}&metric=events",
    f"{C}/stats/series?interval=day&metric=blocks",
    f"{C}/stats/series?interval=fortnight",
    f"{C}/blocks/7",
    f"{C}/blocks/latest",
    "/api/v1/channels",
    "/nowhere",
]
WITHIN_S = 1.5
"""So long a request may take because of Redis."""
ALL_WITHIN_S = 6.0
"""Sixty at once share the processor too."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis to be broken."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(server: RedisServer) -> Iterator[Redis]:
    """The operator's connection to that Redis, which works, and holds nothing."""
    server.start()
    with Redis.from_url(server.url) as client:
        client.flushall()
        yield client


@asynccontextmanager
async def api_with(
    client: AsyncMongoClient[Any],
    database: str,
    url: str | None,
    limits: ServiceLimits = LIMITS,
) -> AsyncIterator[Api]:
    redis = redis_client(url) if url is not None else None
    async with running_api(client, {CHANNEL: database}, OPTIONS, redis=redis, limits=limits) as api:
        yield api
    if redis is not None:
        await redis.aclose()


async def answer(api: Api, path: str) -> tuple[Any, ...]:
    response = await api.request("GET", path, REMOTE)
    body = {**response.json, "requestId": None}
    return response.status, response.headers.get("ETag"), response.headers["Cache-Control"], body


async def right_and_quick(api: Api, right: dict[str, tuple[Any, ...]], rounds: int = 3) -> None:
    """One request after another, and many at once."""
    slowest = (0.0, "")
    for path in list(right) * rounds:
        began = time.monotonic()
        assert await answer(api, path) == right[path]
        slowest = max(slowest, (time.monotonic() - began, path))
    began = time.monotonic()
    paths = list(right) * 5
    assert await asyncio.gather(*(answer(api, path) for path in paths)) == [
        right[path] for path in paths
    ]
    assert slowest[0] < WITHIN_S, slowest
    assert time.monotonic() - began < ALL_WITHIN_S


async def eventually(condition: Callable[[], Any], limit_s: float = 5.0) -> None:
    deadline = time.monotonic() + limit_s
    while not await condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.02)


async def served_from_redis(api: Api, redis: Redis) -> bool:
    """Whether an answer that only Redis has is given."""
    await api.request("GET", SERIES)
    kept = [key for key in keys_of(redis) if b":api:" in key and not key.endswith(b":lock")]
    if not kept:
        return False
    before = await hits(api)
    await api.request("GET", SERIES)
    return await hits(api) > before


def keys_of(redis: Redis) -> list[bytes]:
    return sorted(map(bytes, redis.keys("*")))  # type: ignore[arg-type]


async def hits(api: Api) -> int:
    text = (await api.get("/metrics")).body.decode()
    (line,) = [line for line in text.splitlines() if 'cache="redis",result="hit"' in line]
    return int(float(line.rpartition(" ")[2]))


async def right_answers(client: AsyncMongoClient[Any], database: str) -> dict[str, tuple[Any, ...]]:
    async with api_with(client, database, None) as api:
        return {path: await answer(api, path) for path in PATHS}


# --- Redis itself -----------------------------------------------------------------------------------------------------


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
    """Of a primary that is away: it can be read, and takes nothing."""
    redis.flushall()
    redis.replicaof("127.0.0.1", "1")


def restart(server: RedisServer, redis: Redis) -> None:
    """And all is as it was."""
    server.kill()
    server.start()
    redis.close()


def resume(server: RedisServer, redis: Redis) -> None:
    server.resume()


def empty(server: RedisServer, redis: Redis) -> None:
    redis.config_set("maxmemory", "0")


def become_primary(server: RedisServer, redis: Redis) -> None:
    redis.replicaof("NO", "ONE")


Act = Callable[[RedisServer, Redis], None]
FAULTS: dict[str, tuple[Act, Act]] = {
    "killed": (kill, restart),
    "hung": (hang, resume),
    "full": (fill, empty),
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
async def test_answers_do_not_depend_on_redis(
    client: AsyncMongoClient[Any], database_name: str, server: RedisServer, redis: Redis, fault: str
) -> None:
    breaks, mends = FAULTS[fault]
    await append(client, database_name, [block(n, [transaction(0, f"{n}")]) for n in range(20)])
    right = await right_answers(client, database_name)
    async with api_with(client, database_name, server.url) as api:
        await right_and_quick(api, right)
        assert await served_from_redis(api, redis)
        with capture_logs() as logs:
            breaks(server, redis)
            await right_and_quick(api, right)
            await asyncio.sleep(0.35)  # then it is tried again
            await right_and_quick(api, right)
            health = await api.get("/health")
            mends(server, redis)
            await eventually(lambda: served_from_redis(api, redis))
            await right_and_quick(api, right)
            await asyncio.sleep(0.3)  # until it listens again

            # of a new block it hears again, long before it would look
            assert (await api.channel("/blocks/latest"))["number"] == 19
            await append(client, database_name, [block(20, [])])
            redis.publish(f"kindledger:head:{database_name}", "21")
            await eventually(lambda: _height_is(api, 21), 2)
        assert health.json["status"] == "degraded" or fault in ("full", "read-only")
        assert (await api.get("/health")).json["status"] == "ok"
    events = Counter(entry["event"] for entry in logs)
    assert set(events) <= {"cache_unavailable", "announcements_unavailable"}, logs
    assert set(events.values()) == {1}, "at most once a minute"
    assert server.url.split(":")[2].partition("@")[0] not in str(logs)


async def test_the_documented_user_of_redis_is_enough(
    client: AsyncMongoClient[Any], database_name: str, server: RedisServer, redis: Redis
) -> None:
    documented = re.findall(
        r"(?m)^ACL SETUSER (kindledger_\w+) on >PASSWORD (.*)$", OPERATIONS.read_text()
    )
    rights = {user: given.split() for user, given in documented}
    assert rights.keys() == {"kindledger_daemon", "kindledger_api"}
    for user, given in rights.items():
        redis.execute_command("ACL", "SETUSER", user, "reset", "on", ">secret", *given)  # type: ignore[no-untyped-call]
    redis.acl_log_reset()
    await append(client, database_name, [block(n, [transaction(0, f"{n}")]) for n in range(20)])
    right = await right_answers(client, database_name)

    def url(user: str) -> str:
        return str(URL(server.url).with_user(user).with_password("secret"))

    with capture_logs() as logs:
        async with api_with(client, database_name, url("kindledger_api")) as api:
            await right_and_quick(api, right)
            assert await served_from_redis(api, redis)
            assert (await api.get("/health")).json["status"] == "ok"
            assert any(key.startswith(b"rate_limit:") for key in keys_of(redis))
            await append(client, database_name, [block(20, [])])
            async with redis_client(url("kindledger_daemon")) as daemon:
                await daemon.scan(match="campaigns:list:*")
                await daemon.set("realtime:donations", b"1", ex=60)
                await daemon.unlink("realtime:donations")
                await daemon.publish(f"kindledger:head:{database_name}", "21")
            await eventually(lambda: _height_is(api, 21), 2)
    assert logs == []
    assert {entry["object"] for entry in redis.acl_log()} <= {"client"}, (
        "the library introduces itself if it may"
    )


async def _height_is(api: Api, height: int) -> bool:
    return (await api.request("GET", f"{C}/blocks")).headers["Ledger-Height"] == str(height)


async def test_a_service_ends_at_once_while_redis_hangs(
    client: AsyncMongoClient[Any], recorded_database: str, server: RedisServer, redis: Redis
) -> None:
    """And begins."""
    server.pause()
    try:
        async with api_with(client, recorded_database, server.url) as api:
            assert (await api.request("GET", SERIES, REMOTE)).status == 200
            ended = time.monotonic()
        assert time.monotonic() - ended < WITHIN_S
        assert not tasks_of_the_api()
    finally:
        server.resume()


# --- The way to it ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def api_behind_proxy(
    client: AsyncMongoClient[Any],
    database: str,
    server: RedisServer,
    limits: ServiceLimits = LIMITS,
) -> AsyncIterator[tuple[Api, Proxy]]:
    async with proxied(server.port) as proxy:
        url = server.url.replace(f":{server.port}/", f":{proxy.port}/")
        async with api_with(client, database, url, limits) as api:
            yield api, proxy


@pytest.mark.parametrize("delay_s", [pytest.param(0.05, marks=pytest.mark.long), 0.11])
@pytest.mark.usefixtures("redis")
async def test_a_slow_redis_makes_no_slow_answers(
    client: AsyncMongoClient[Any], recorded_database: str, server: RedisServer, delay_s: float
) -> None:
    """Such as in another place: not so slow that each call fails, or just that slow."""
    right = await right_answers(client, recorded_database)
    async with api_behind_proxy(client, recorded_database, server) as (api, proxy):
        proxy.delay_s = delay_s
        await right_and_quick(api, right, rounds=1)
        proxy.delay_s = 0.0
        await asyncio.sleep(0.35)
        await right_and_quick(api, right)


async def test_a_connection_that_died_in_silence_is_noticed(
    client: AsyncMongoClient[Any],
    database_name: str,
    server: RedisServer,
    redis: Redis,
) -> None:
    """As after a firewall has forgotten it: nothing comes, and nothing says so."""
    await append(client, database_name, [block(0, [])])
    limits = structs.replace(LIMITS, notification_silence_s=0.15)
    async with api_behind_proxy(client, database_name, server, limits) as (api, proxy):
        assert await _height_is(api, 1)
        await asyncio.sleep(0.6)
        quiet = proxy.connections
        proxy.silent = True
        await asyncio.sleep(0.6)
        proxy.silent = False
        assert proxy.connections > quiet, "another one is tried"
        await append(client, database_name, [block(1, [])])

        async def heard() -> bool:
            redis.publish(f"kindledger:head:{database_name}", "2")
            return await _height_is(api, 2)

        await eventually(heard, 3)
        assert quiet <= 2, "one that is only quiet is kept"


# --- What lies in it --------------------------------------------------------------------------------------------------


def as_list(redis: Redis, key: bytes, value: bytes) -> None:
    redis.delete(key)
    redis.rpush(key, "theirs")


def as_garbage(redis: Redis, key: bytes, value: bytes) -> None:
    redis.set(key, b"\xff garbage \0")


def as_nothing(redis: Redis, key: bytes, value: bytes) -> None:
    redis.set(key, b"")


def truncated(redis: Redis, key: bytes, value: bytes) -> None:
    redis.set(key, value[: len(value) // 2])


def flipped(redis: Redis, key: bytes, value: bytes) -> None:
    redis.set(key, bytes(byte ^ 1 for byte in value))


def of_another_version(redis: Redis, key: bytes, value: bytes) -> None:
    """Whole, and what another program would keep."""
    encoded = msgspec.msgpack.encode({"body": b"{}", "status": 200, "etag": "e", "kind": "json"})
    redis.set(key, sha256(encoded).digest()[:16] + encoded)


def huge(redis: Redis, key: bytes, value: bytes) -> None:
    redis.set(key, b"x" * (8 << 20))


SPOILS = ((truncated, as_nothing, huge), (as_garbage, flipped, of_another_version), (as_list,))


async def test_what_is_not_ours_is_not_believed(
    client: AsyncMongoClient[Any], recorded_database: str, server: RedisServer, redis: Redis
) -> None:
    right = await right_answers(client, recorded_database)
    async with api_with(client, recorded_database, server.url) as api:
        await right_and_quick(api, right, rounds=1)
        kept = {key: bytes(redis.get(key) or b"") for key in keys_of(redis) if b":lock" not in key}  # type: ignore[arg-type]
        answers = [key for key in kept if key.startswith(b"kindledger:api:")]
        assert len(answers) >= 3
        assert len(kept) > len(answers), "and counts of requests"
        for key, elsewhere in zip(answers, answers[1:] + answers[:1], strict=True):
            redis.set(key, kept[elsewhere])
        await right_and_quick(api, right, rounds=1)
        for spoils in SPOILS:
            redis.flushall()
            for key, spoil in zip(kept, cycle(spoils)):
                spoil(redis, key, kept[key])
            spoils[-1](redis, answers[0] + b":lock", b"theirs")
            await right_and_quick(api, right, rounds=1)
        await asyncio.sleep(0.35)
        await right_and_quick(api, right, rounds=1)
        redis.flushall()
        await eventually(lambda: served_from_redis(api, redis))


async def test_a_computation_that_failed_keeps_nobody_waiting(
    client: AsyncMongoClient[Any], recorded_database: str, server: RedisServer, redis: Redis
) -> None:
    """Neither here nor in another process."""
    connections = [AsyncRedis.from_url(server.url) for _ in range(2)]
    caches = [RedisCache(connection, "test") for connection in connections]

    async def fails() -> Any:
        raise LookupError

    async def hangs() -> Any:
        await asyncio.sleep(60)

    for step in range(4):
        began = time.monotonic()
        with pytest.raises(LookupError):
            await caches[step % 2].through("v", "question", fails)
        gone = asyncio.create_task(caches[step % 2].through("v", "question", hangs))
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert time.monotonic() - began < 0.3
    for connection in connections:
        await connection.aclose()
