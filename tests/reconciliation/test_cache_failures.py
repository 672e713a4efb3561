"""The caches in Redis while Redis or PostgreSQL fail, and after they work again."""

import asyncio
import time
from collections.abc import Callable

import asyncpg
import pytest
from redis import Redis
from structlog.testing import capture_logs

from devnet.servers import Redis as RedisServer
from tests.eventually import eventually
from tests.reconciliation.cache_refreshing import (
    FOREIGN_KEYS,
    SHARED_KEYS,
    Pool,
    add_campaign,
    cache_keys,
    fill,
    present_keys,
    progress,
    refreshing,
    wait_for_first_refresh,
)

Breakage = Callable[[RedisServer], Callable[[], None]]
"""A function that breaks a Redis, and returns the function that repairs it."""


def killed(server: RedisServer) -> Callable[[], None]:
    server.kill()
    return server.start


def hung(server: RedisServer) -> Callable[[], None]:
    server.pause()
    return server.resume


def locked(server: RedisServer) -> Callable[[], None]:
    """Change the password, and close the open connections."""
    client = Redis.from_url(server.url)
    password = server.url.rpartition("@")[0].rpartition(":")[2]
    client.config_set("requirepass", "changed")
    client.client_kill_filter(_type="normal", skipme=True)

    def unlock() -> None:
        client.config_set("requirepass", password)
        client.close()

    return unlock


def full(server: RedisServer) -> Callable[[], None]:
    client = Redis.from_url(server.url)
    client.config_set("maxmemory", 1)

    def make_room() -> None:
        client.config_set("maxmemory", 0)
        client.close()

    return make_room


@pytest.mark.parametrize("broken", [killed, hung, locked, full])
async def test_a_redis_that_fails_delays_nothing_and_is_refreshed_afterwards(
    redis_server: RedisServer, daemon_pool: Pool, application: asyncpg.Connection, broken: Breakage
) -> None:
    await add_campaign(application, "a")
    with capture_logs() as logs, Redis.from_url(redis_server.url, decode_responses=True) as redis:
        async with refreshing(redis_server.url, daemon_pool) as refresher:
            await wait_for_first_refresh(redis)
            fill(redis, cache_keys("a") | SHARED_KEYS | FOREIGN_KEYS)
            repair = broken(redis_server)
            before = time.monotonic()
            refresher.rows_settled(["a"])
            assert time.monotonic() - before < 0.5, "less than the timeout of a call"
            await eventually(lambda: logs, within_s=15.0)
            await application.execute("UPDATE campaigns SET raised_amount = 2")
            await asyncio.sleep(1)  # for further refreshes, which fail
            repair()
            await eventually(lambda: redis.exists("realtime:campaign:a:progress") and len(logs) > 1)
            assert present_keys(redis) == FOREIGN_KEYS | {
                "realtime:donations",
                "realtime:campaign:a:progress",
            }
            assert progress(redis, "a")["raised_amount"] == 2
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("cache_unavailable", "warning"),
        ("cache_available", "info"),
    ]
    assert redis_server.url.rpartition("@")[0].rpartition(":")[2] not in str(logs)


async def test_after_a_start_without_redis_every_cache_is_invalidated(
    redis_server: RedisServer, daemon_pool: Pool
) -> None:
    with Redis.from_url(redis_server.url, decode_responses=True) as redis:
        fill(redis, cache_keys("a") | SHARED_KEYS)
        redis_server.pause()
        with capture_logs() as logs:
            async with refreshing(redis_server.url, daemon_pool):
                await eventually(lambda: logs)
                redis_server.resume()
                await eventually(lambda: present_keys(redis) == {"realtime:donations"})


async def test_caches_in_a_full_redis_are_invalidated_and_no_donor_is_logged(
    redis_server: RedisServer, daemon_pool: Pool, application: asyncpg.Connection
) -> None:
    await add_campaign(application, "a")
    await application.execute(
        "INSERT INTO donations (campaign_id, donor_name, amount, status, confirmed_at) "
        "VALUES ('a', 'Jane Doe', 1, 'CONFIRMED', now())"
    )
    with capture_logs() as logs, Redis.from_url(redis_server.url, decode_responses=True) as redis:
        fill(redis, cache_keys("a"))
        full(redis_server)
        async with refreshing(redis_server.url, daemon_pool):
            await eventually(lambda: logs)
        assert not present_keys(redis)
    assert logs[0]["error"] == "Redis: command not allowed when used memory > 'maxmemory'."


async def test_a_value_of_another_type_is_replaced(
    redis_url: str, redis: Redis, daemon_pool: Pool, application: asyncpg.Connection
) -> None:
    await add_campaign(application, "a")
    with capture_logs() as logs:
        async with refreshing(redis_url, daemon_pool) as refresher:
            await wait_for_first_refresh(redis)
            redis.delete("realtime:donations")
            for key in (
                cache_keys("a")
                | SHARED_KEYS
                | {"realtime:donations", "realtime:campaign:a:progress"}
            ):
                redis.rpush(key, "a list")
            refresher.rows_settled(["a"])
            await eventually(lambda: redis.type("realtime:donations") == "string")
    assert present_keys(redis) == {"realtime:donations", "realtime:campaign:a:progress"}
    assert progress(redis, "a")["goal_amount"] == 100
    assert logs == []


async def test_without_postgresql_caches_are_invalidated_and_values_written_later(
    redis_url: str, redis: Redis, daemon_pool: Pool, application: asyncpg.Connection
) -> None:
    await add_campaign(application, "a")
    with capture_logs() as logs:
        async with refreshing(redis_url, daemon_pool) as refresher:
            await wait_for_first_refresh(redis)
            await application.execute("ALTER TABLE campaigns RENAME TO renamed")
            fill(redis, cache_keys("a") | SHARED_KEYS)
            refresher.rows_settled(["a"])
            await eventually(
                lambda: not present_keys(redis) & (cache_keys("a") | SHARED_KEYS) and logs
            )
            fill(redis, SHARED_KEYS)
            await asyncio.sleep(0.3)  # for further refreshes, which fail
            assert present_keys(redis) >= SHARED_KEYS, "they are invalidated once"
            await application.execute("ALTER TABLE renamed RENAME TO campaigns")
            await eventually(lambda: redis.exists("realtime:campaign:a:progress") and len(logs) > 1)
    assert [entry["event"] for entry in logs] == ["cache_unavailable", "cache_available"]
    assert logs[1]["count"] > 1
    assert logs[0]["error"].startswith("PostgreSQL: ")
