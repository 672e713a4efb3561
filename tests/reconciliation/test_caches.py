"""What readers find in Redis after rows were settled, and while Redis or PostgreSQL are away."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from structlog.testing import capture_logs

from devnet.servers import Redis as RedisServer
from reconciliation.application_caches import CacheRefresher

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

HOSTILE = ["*", "camp*", "c?", "c[ab]", "with space\n", "ünï\\code", "a:b"]


@pytest.fixture
async def business(business_database: str) -> AsyncIterator[asyncpg.Connection]:
    """The application, which owns the business schema."""
    connection = await asyncpg.connect(business_database)
    yield connection
    await connection.close()


@pytest.fixture
async def pool(indexer_dsn: str) -> AsyncIterator[Pool]:
    """The daemon's connections, with the daemon's rights."""
    async with asyncpg.create_pool(indexer_dsn, min_size=0, max_size=2) as pool:
        yield pool


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, to be broken."""
    with RedisServer(tmp_path / "redis") as server:
        yield server


@asynccontextmanager
async def refreshing(
    url: str, pool: Pool, *, refresh: bool = True, interval_s: float = 0.05
) -> AsyncIterator[CacheRefresher]:
    """A refresher at work, whose first round is on its way."""
    async with AsyncRedis.from_url(url) as client:
        refresher = CacheRefresher(client, pool, write_live_values=refresh, interval_s=interval_s)
        running = asyncio.create_task(refresher.run())
        try:
            yield refresher
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def eventually(condition: Callable[[], object], limit_s: float = 15.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.01)


async def first_round(redis: Redis) -> None:
    await eventually(lambda: redis.exists("realtime:donations"))


def fill(redis: Redis, keys: Iterable[str]) -> None:
    redis.mset(dict.fromkeys(keys, "cached"))


def present(redis: Redis) -> set[str]:
    return set(map(str, redis.keys()))


def progress(redis: Redis, campaign: str) -> dict[str, Any]:
    written: dict[str, Any] = json.loads(str(redis.get(f"realtime:campaign:{campaign}:progress")))
    return written


def caches(campaign: str) -> set[str]:
    return {
        f"campaign:{campaign}",
        f"campaign:{campaign}:donors",
        f"campaign:{campaign}:stats",
        f"stats:campaign:{campaign}",
    }


SHARED = {
    "campaigns:list:page:1",
    "campaigns:list:open",
    "stats:total_donations",
    "stats:daily:2026-01-02",
}
FOREIGN = {"campaigns:names", "session:campaign:a", "realtime:visitors", "statsd"}


async def add_campaign(
    business: asyncpg.Connection, campaign: str, goal: str = "100.00", raised: str = "0"
) -> None:
    insert = (
        "INSERT INTO campaigns (id, name, goal_amount, raised_amount) VALUES ($1, 'a name', $2, $3)"
    )
    await business.execute(insert, campaign, Decimal(goal), Decimal(raised))


# --- What goes, and what stays ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("campaign", HOSTILE)
async def test_only_the_caches_of_settled_campaigns_go(
    redis_url: str, redis: Redis, pool: Pool, campaign: str
) -> None:
    others = {
        key
        for other in ["camp1", "ca", "cb", "x", *HOSTILE]
        if other != campaign
        for key in caches(other)
    }
    others |= FOREIGN | {"stats:weekly", f"realtime:campaign:{campaign}:progress"}
    async with refreshing(redis_url, pool) as refresher:
        await first_round(redis)
        fill(redis, others | caches(campaign) | SHARED)
        refresher.rows_settled([campaign])
        await eventually(lambda: not present(redis) & SHARED)
        assert present(redis) == others | {"realtime:donations"}


async def test_a_start_empties_every_cache(redis_url: str, redis: Redis, pool: Pool) -> None:
    """Whatever was settled before, by a process that was killed before it could say so."""
    stale = (
        {key for campaign in HOSTILE for key in caches(campaign)}
        | SHARED
        | {"realtime:campaign:a:progress"}
    )
    fill(redis, FOREIGN | stale)
    async with refreshing(redis_url, pool):
        await first_round(redis)
    assert present(redis) == FOREIGN | {"realtime:donations"}


async def test_too_many_campaigns_are_all_campaigns(
    redis_url: str, redis: Redis, pool: Pool
) -> None:
    async with refreshing(redis_url, pool) as refresher:
        await first_round(redis)
        fill(redis, caches("never named") | {"realtime:campaign:a:progress"})
        refresher.rows_settled(f"c{number}" for number in range(10_001))
        await eventually(lambda: present(redis) == {"realtime:donations"})


async def test_without_the_tables_caches_are_emptied_and_nothing_is_written(
    redis_url: str, redis: Redis, pool: Pool, business: asyncpg.Connection
) -> None:
    await business.execute("DROP TABLE donations, campaigns CASCADE")
    fill(redis, caches("a") | SHARED)
    with capture_logs() as logs:
        async with refreshing(redis_url, pool, refresh=False) as refresher:
            await eventually(lambda: not present(redis))
            fill(redis, caches("a") | SHARED)
            refresher.rows_settled(["a"])
            await eventually(lambda: not present(redis))
    assert logs == []


async def test_a_hundred_thousand_keys_do_not_hold_up_others(
    redis_url: str, redis: Redis, pool: Pool
) -> None:
    for part in range(0, 100_000, 10_000):
        fill(redis, (f"campaigns:list:{number}" for number in range(part, part + 10_000)))
    longest = 0.0
    async with refreshing(redis_url, pool):
        while redis.dbsize() != 1:
            before = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - before)
    assert longest < 0.25


# --- What is written --------------------------------------------------------------------------------------------------


async def test_progress_is_what_postgresql_says(
    redis_url: str, redis: Redis, pool: Pool, business: asyncpg.Connection
) -> None:
    figures = {
        "camp*": ("9999999999999.99", "0.01", "0.00"),
        "half": ("300.00", "100.00", "33.33"),
        "more": ("0.30", "1234567890123.45", "411522630041150.00"),
    }
    for campaign, (goal, raised, _) in figures.items():
        await add_campaign(business, campaign, goal, raised)
    await add_campaign(business, "other")
    await add_campaign(business, "no number", raised="NaN")
    before = datetime.now(UTC) - timedelta(seconds=1)
    async with refreshing(redis_url, pool) as refresher:
        await first_round(redis)
        refresher.rows_settled([*figures, "no number", "not there"])
        await eventually(lambda: redis.exists("realtime:campaign:half:progress"))
        await eventually(lambda: redis.exists("realtime:campaign:more:progress"))
    written = {key for key in present(redis) if key.endswith(":progress")}
    assert written == {
        f"realtime:campaign:{campaign}:progress" for campaign in [*figures, "no number"]
    }
    for campaign, (goal, raised, percentage) in figures.items():
        text = str(redis.get(f"realtime:campaign:{campaign}:progress"))
        updated = json.loads(text)["last_updated"]
        assert text == (
            f'{{"raised_amount":{raised},"goal_amount":{goal},"progress_percentage":{percentage},'
            f'"last_updated":"{updated}"}}'
        )
        assert before < datetime.fromisoformat(updated) < datetime.now(UTC) + timedelta(seconds=1)
        assert updated.endswith("Z")
    unknown = progress(redis, "no number")
    assert (unknown["raised_amount"], unknown["progress_percentage"]) == (None, None)
    assert all(0 < _expiry(redis, key) <= 3600 for key in written | {"realtime:donations"})


def _expiry(redis: Redis, key: str) -> int:
    seconds = redis.ttl(key)
    assert isinstance(seconds, int)
    return seconds


async def test_the_newest_donations_are_those_of_postgresql(
    redis_url: str, redis: Redis, pool: Pool, business: asyncpg.Connection
) -> None:
    await add_campaign(business, "a")
    await business.execute(
        """
        INSERT INTO donations (campaign_id, donor_name, amount, status, confirmed_at, blockchain_tx_hash, is_anonymous)
        SELECT 'a', 'donor "' || n || '"', n + 0.10,
               (ARRAY['CONFIRMED', 'CONFIRMED', 'PENDING', 'REFUNDED'])[1 + n % 4],
               '2026-01-02 03:04:05.678901+00'::timestamptz + (n / 10) * interval '1 day', md5(n::text), n % 3 = 0
          FROM generate_series(1, 200) AS n
        """
    )
    await business.execute(
        "INSERT INTO donations (campaign_id, amount, status, confirmed_at) VALUES ('a', 7, 'CONFIRMED', NULL)"
    )
    rows = await business.fetch(
        "SELECT * FROM donations WHERE status = 'CONFIRMED' AND confirmed_at IS NOT NULL"
    )
    newest = sorted(rows, key=lambda row: (-row["confirmed_at"].timestamp(), row["id"]))[:50]
    async with refreshing(redis_url, pool):
        await first_round(redis)
    text = str(redis.get("realtime:donations"))
    assert json.loads(text, parse_float=Decimal) == [
        {
            "id": str(row["id"]),
            "campaign_id": "a",
            "donor_name": None if row["is_anonymous"] else row["donor_name"],
            "amount": row["amount"],
            "donated_at": row["donated_at"].isoformat().replace("+00:00", "Z"),
            "confirmed_at": row["confirmed_at"].isoformat().replace("+00:00", "Z"),
            "blockchain_tx_hash": row["blockchain_tx_hash"],
        }
        for row in newest
    ]


async def test_figures_are_read_after_the_caches_are_empty(
    redis_url: str, redis: Redis, pool: Pool, business: asyncpg.Connection
) -> None:
    """Else what a reader fills in between would be newer than what replaces it."""
    await add_campaign(business, "a")
    async with refreshing(redis_url, pool) as refresher:
        await first_round(redis)
        fill(redis, caches("a"))
        async with business.transaction():
            await business.execute("LOCK TABLE campaigns")
            refresher.rows_settled(["a"])
            await eventually(lambda: not present(redis) & caches("a"))
            await business.execute("UPDATE campaigns SET raised_amount = 1 WHERE id = 'a'")
        await eventually(lambda: redis.exists("realtime:campaign:a:progress"))
    assert progress(redis, "a")["raised_amount"] == 1


# --- How often --------------------------------------------------------------------------------------------------------


async def test_a_burst_is_one_round(server: RedisServer, pool: Pool) -> None:
    with Redis.from_url(server.url) as redis:

        def commands() -> dict[str, Any]:
            statistics: Any = redis.info("commandstats")
            return dict(statistics)

        def rounds() -> int:
            return int(commands().get("cmdstat_set", {"calls": 0})["calls"])

        async with refreshing(server.url, pool, interval_s=1.0) as refresher:
            for number in range(10_000):
                refresher.rows_settled([f"c{number % 100}"])
                if number % 100 == 0:
                    await asyncio.sleep(0.001)
            await asyncio.sleep(0.4)
            assert rounds() == 1
            assert "cmdstat_keys" not in commands(), "it stops the whole server"
            await eventually(lambda: rounds() == 2)
            await asyncio.sleep(1.2)
            assert rounds() == 2

            quiet_until = time.monotonic()
            refresher.rows_settled(["c1"])
            await eventually(lambda: rounds() == 3)
            assert time.monotonic() - quiet_until < 0.5
            refresher.rows_settled([])
            await asyncio.sleep(1.2)
            assert rounds() == 3


# --- Servers that fail ------------------------------------------------------------------------------------------------


Breakage = Callable[[RedisServer], Callable[[], None]]
"""Breaks a Redis; what it returns repairs it."""


def killed(server: RedisServer) -> Callable[[], None]:
    server.kill()
    return server.start


def hung(server: RedisServer) -> Callable[[], None]:
    server.pause()
    return server.resume


def locked(server: RedisServer) -> Callable[[], None]:
    """With another password than the client knows; its open connections are cut."""
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
async def test_a_redis_that_fails_delays_nobody_and_is_true_again_afterwards(
    server: RedisServer, pool: Pool, business: asyncpg.Connection, broken: Breakage
) -> None:
    await add_campaign(business, "a")
    with capture_logs() as logs, Redis.from_url(server.url, decode_responses=True) as redis:
        async with refreshing(server.url, pool) as refresher:
            await first_round(redis)
            fill(redis, caches("a") | SHARED | FOREIGN)
            repair = broken(server)
            before = time.monotonic()
            refresher.rows_settled(["a"])
            assert time.monotonic() - before < 0.05
            await eventually(lambda: logs, limit_s=3)
            await business.execute("UPDATE campaigns SET raised_amount = 2")
            await asyncio.sleep(
                1
            )  # for further rounds, which fail, and that one which read the old figure
            repair()
            await eventually(lambda: redis.exists("realtime:campaign:a:progress") and len(logs) > 1)
            assert present(redis) == FOREIGN | {
                "realtime:donations",
                "realtime:campaign:a:progress",
            }
            assert progress(redis, "a")["raised_amount"] == 2
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("cache_unavailable", "warning"),
        ("cache_available", "info"),
    ]
    assert server.url.rpartition("@")[0].rpartition(":")[2] not in str(logs)


async def test_a_start_without_redis_empties_every_cache_later(
    server: RedisServer, pool: Pool
) -> None:
    with Redis.from_url(server.url, decode_responses=True) as redis:
        fill(redis, caches("a") | SHARED)
        server.pause()
        with capture_logs() as logs:
            async with refreshing(server.url, pool):
                await eventually(lambda: logs)
                server.resume()
                await eventually(lambda: present(redis) == {"realtime:donations"})


async def test_a_full_redis_is_still_emptied_and_no_donation_is_logged(
    server: RedisServer, pool: Pool, business: asyncpg.Connection
) -> None:
    await add_campaign(business, "a")
    await business.execute(
        "INSERT INTO donations (campaign_id, donor_name, amount, status, confirmed_at) "
        "VALUES ('a', 'Jane Doe', 1, 'CONFIRMED', now())"
    )
    with capture_logs() as logs, Redis.from_url(server.url, decode_responses=True) as redis:
        fill(redis, caches("a"))
        full(server)
        async with refreshing(server.url, pool):
            await eventually(lambda: logs)
        assert not present(redis)
    assert logs[0]["error"] == "Redis: command not allowed when used memory > 'maxmemory'."


async def test_a_value_of_another_type_is_in_nobodys_way(
    redis_url: str, redis: Redis, pool: Pool, business: asyncpg.Connection
) -> None:
    await add_campaign(business, "a")
    with capture_logs() as logs:
        async with refreshing(redis_url, pool) as refresher:
            await first_round(redis)
            redis.delete("realtime:donations")
            for key in (
                caches("a") | SHARED | {"realtime:donations", "realtime:campaign:a:progress"}
            ):
                redis.rpush(key, "a list")
            refresher.rows_settled(["a"])
            await eventually(lambda: redis.type("realtime:donations") == "string")
    assert present(redis) == {"realtime:donations", "realtime:campaign:a:progress"}
    assert progress(redis, "a")["goal_amount"] == 100
    assert logs == []


async def test_without_postgresql_caches_are_emptied_and_figures_come_later(
    redis_url: str, redis: Redis, pool: Pool, business: asyncpg.Connection
) -> None:
    await add_campaign(business, "a")
    with capture_logs() as logs:
        async with refreshing(redis_url, pool) as refresher:
            await first_round(redis)
            await business.execute("ALTER TABLE campaigns RENAME TO away")
            fill(redis, caches("a") | SHARED)
            refresher.rows_settled(["a"])
            await eventually(lambda: not present(redis) & (caches("a") | SHARED) and logs)
            fill(redis, SHARED)
            await asyncio.sleep(0.3)  # for further rounds, which fail
            assert present(redis) >= SHARED, "emptied once is enough"
            await business.execute("ALTER TABLE away RENAME TO campaigns")
            await eventually(lambda: redis.exists("realtime:campaign:a:progress") and len(logs) > 1)
    assert [entry["event"] for entry in logs] == ["cache_unavailable", "cache_available"]
    assert logs[1]["count"] > 1
    assert logs[0]["error"].startswith("PostgreSQL: ")
