"""The caches in Redis after rows were settled: invalidated caches, and written live values."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from redis import Redis
from structlog.testing import capture_logs

from devnet.servers import Redis as RedisServer
from tests.eventually import eventually
from tests.reconciliation.cache_refreshing import (
    FOREIGN_KEYS,
    HOSTILE_NAMES,
    SHARED_KEYS,
    Interval,
    Pool,
    add_campaign,
    cache_keys,
    fill,
    present_keys,
    progress,
    refreshing,
    wait_for_first_refresh,
)


@pytest.mark.parametrize("campaign", HOSTILE_NAMES)
async def test_only_the_caches_of_settled_campaigns_are_invalidated(
    redis_url: str, redis: Redis, daemon_pool: Pool, campaign: str
) -> None:
    others = {
        key
        for other in ["camp1", "ca", "cb", "x", *HOSTILE_NAMES]
        if other != campaign
        for key in cache_keys(other)
    }
    others |= FOREIGN_KEYS | {"stats:weekly", f"realtime:campaign:{campaign}:progress"}
    async with refreshing(redis_url, daemon_pool) as refresher:
        await wait_for_first_refresh(redis)
        fill(redis, others | cache_keys(campaign) | SHARED_KEYS)
        refresher.rows_settled([campaign])
        await eventually(lambda: not present_keys(redis) & SHARED_KEYS)
        assert present_keys(redis) == others | {"realtime:donations"}


async def test_a_start_invalidates_every_cache(
    redis_url: str, redis: Redis, daemon_pool: Pool
) -> None:
    """A process that was killed after a commit may have left them as they were."""
    stale = (
        {key for campaign in HOSTILE_NAMES for key in cache_keys(campaign)}
        | SHARED_KEYS
        | {"realtime:campaign:a:progress"}
    )
    fill(redis, FOREIGN_KEYS | stale)
    async with refreshing(redis_url, daemon_pool):
        await wait_for_first_refresh(redis)
    assert present_keys(redis) == FOREIGN_KEYS | {"realtime:donations"}


async def test_too_many_campaigns_invalidate_every_cache(
    redis_url: str, redis: Redis, daemon_pool: Pool
) -> None:
    async with refreshing(redis_url, daemon_pool) as refresher:
        await wait_for_first_refresh(redis)
        fill(redis, cache_keys("never named") | {"realtime:campaign:a:progress"})
        refresher.rows_settled(f"c{number}" for number in range(10_001))
        await eventually(lambda: present_keys(redis) == {"realtime:donations"})


async def test_without_the_tables_caches_are_only_invalidated(
    redis_url: str, redis: Redis, daemon_pool: Pool, application: asyncpg.Connection
) -> None:
    await application.execute("DROP TABLE donations, campaigns CASCADE")
    fill(redis, cache_keys("a") | SHARED_KEYS)
    with capture_logs() as logs:
        async with refreshing(redis_url, daemon_pool, write_live_values=False) as refresher:
            await eventually(lambda: not present_keys(redis))
            fill(redis, cache_keys("a") | SHARED_KEYS)
            refresher.rows_settled(["a"])
            await eventually(lambda: not present_keys(redis))
    assert logs == []


async def test_a_hundred_thousand_keys_do_not_block_the_event_loop(
    redis_url: str, redis: Redis, daemon_pool: Pool
) -> None:
    for part in range(0, 100_000, 10_000):
        fill(redis, (f"campaigns:list:{number}" for number in range(part, part + 10_000)))
    longest_s = 0.0
    async with refreshing(redis_url, daemon_pool):
        while redis.dbsize() != 1:
            before_s = time.process_time()
            await asyncio.sleep(0.001)
            longest_s = max(longest_s, time.process_time() - before_s)
    assert longest_s < 0.25


async def test_progress_is_what_postgresql_says(
    redis_url: str, redis: Redis, daemon_pool: Pool, application: asyncpg.Connection
) -> None:
    values = {
        "camp*": ("9999999999999.99", "0.01", "0.00"),
        "half": ("300.00", "100.00", "33.33"),
        "more": ("0.30", "1234567890123.45", "411522630041150.00"),
    }
    for campaign, (goal, raised, _) in values.items():
        await add_campaign(application, campaign, goal, raised)
    await add_campaign(application, "other")
    await add_campaign(application, "no number", raised="NaN")
    before = datetime.now(UTC) - timedelta(seconds=1)
    async with refreshing(redis_url, daemon_pool) as refresher:
        await wait_for_first_refresh(redis)
        refresher.rows_settled([*values, "no number", "not there"])
        await eventually(lambda: redis.exists("realtime:campaign:half:progress"))
        await eventually(lambda: redis.exists("realtime:campaign:more:progress"))
    written = {key for key in present_keys(redis) if key.endswith(":progress")}
    assert written == {
        f"realtime:campaign:{campaign}:progress" for campaign in [*values, "no number"]
    }
    for campaign, (goal, raised, percentage) in values.items():
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
    redis_url: str, redis: Redis, daemon_pool: Pool, application: asyncpg.Connection
) -> None:
    await add_campaign(application, "a")
    await application.execute(
        """
        INSERT INTO donations (
            campaign_id, donor_name, amount, status, confirmed_at, blockchain_tx_hash, is_anonymous
        )
        SELECT 'a', 'donor "' || n || '"', n + 0.10,
               (ARRAY['CONFIRMED', 'CONFIRMED', 'PENDING', 'REFUNDED'])[1 + n % 4],
               '2026-01-02 03:04:05.678901+00'::timestamptz + (n / 10) * interval '1 day',
               md5(n::text), n % 3 = 0
          FROM generate_series(1, 200) AS n
        """
    )
    await application.execute(
        "INSERT INTO donations (campaign_id, amount, status, confirmed_at) "
        "VALUES ('a', 7, 'CONFIRMED', NULL)"
    )
    rows = await application.fetch(
        "SELECT * FROM donations WHERE status = 'CONFIRMED' AND confirmed_at IS NOT NULL"
    )
    newest = sorted(rows, key=lambda row: (-row["confirmed_at"].timestamp(), row["id"]))[:50]
    async with refreshing(redis_url, daemon_pool):
        await wait_for_first_refresh(redis)
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


async def test_live_values_are_read_after_the_caches_are_invalidated(
    redis_url: str, redis: Redis, daemon_pool: Pool, application: asyncpg.Connection
) -> None:
    """In the other order a cache could be newer than the live values."""
    await add_campaign(application, "a")
    async with refreshing(redis_url, daemon_pool) as refresher:
        await wait_for_first_refresh(redis)
        fill(redis, cache_keys("a"))
        async with application.transaction():
            await application.execute("LOCK TABLE campaigns")
            refresher.rows_settled(["a"])
            await eventually(lambda: not present_keys(redis) & cache_keys("a"))
            await application.execute("UPDATE campaigns SET raised_amount = 1 WHERE id = 'a'")
        await eventually(lambda: redis.exists("realtime:campaign:a:progress"))
    assert progress(redis, "a")["raised_amount"] == 1


async def test_a_burst_causes_one_refresh(redis_server: RedisServer, daemon_pool: Pool) -> None:
    """Settlements within an interval share a refresh at its end; later ones cause one at once."""
    interval = Interval()
    with Redis.from_url(redis_server.url) as redis:

        def commands() -> dict[str, Any]:
            statistics: Any = redis.info("commandstats")
            return dict(statistics)

        def refreshes() -> int:
            """Return the number of refreshes: without campaigns, each of them sets one value."""
            return int(commands().get("cmdstat_set", {"calls": 0})["calls"])

        async def wait_for_refresh(number: int) -> None:
            """Wait until so many refreshes have ended, and the interval after the last began."""
            await eventually(
                lambda: (refreshes(), interval.begun), lambda counts: counts == (number, number)
            )

        async with refreshing(redis_server.url, daemon_pool, sleep=interval.sleep) as refresher:
            await wait_for_refresh(1)
            for number in range(10_000):
                refresher.rows_settled([f"c{number % 100}"])
                if number % 100 == 0:
                    await asyncio.sleep(0.001)
            assert refreshes() == 1
            interval.end()
            await wait_for_refresh(2)
            assert "cmdstat_keys" not in commands(), "KEYS would stop the whole server"

            interval.end()
            await asyncio.sleep(0.2)
            assert refreshes() == 2, "no settlement, no refresh"
            refresher.rows_settled(["c1"])
            await wait_for_refresh(3)
            refresher.rows_settled([])
            interval.end()
            await asyncio.sleep(0.2)
            assert refreshes() == 3, "no settlement, no refresh"
