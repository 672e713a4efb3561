"""Runs a cache refresher, and fills and reads the caches in Redis."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from typing import Any, TypeAlias

import asyncpg
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from reconciliation.application_caches import CacheRefresher
from tests.eventually import eventually

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

HOSTILE_NAMES = ["*", "camp*", "c?", "c[ab]", "with space\n", "ünï\\code", "a:b"]


@asynccontextmanager
async def refreshing(
    url: str,
    pool: Pool,
    *,
    write_live_values: bool = True,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> AsyncIterator[CacheRefresher]:
    """Run a refresher while the context lasts. Its first refresh begins at once."""
    async with AsyncRedis.from_url(url) as client:
        refresher = CacheRefresher(
            client, pool, write_live_values=write_live_values, interval_s=0.05, sleep=sleep
        )
        running = asyncio.create_task(refresher.run())
        try:
            yield refresher
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


class Interval:
    """An interval between two refreshes that lasts until the test ends it."""

    def __init__(self) -> None:
        self.begun = 0
        self._ended = asyncio.Event()

    async def sleep(self, _: float) -> None:
        """Return when the test ends the interval."""
        self.begun += 1
        await self._ended.wait()
        self._ended.clear()

    def end(self) -> None:
        """End the interval."""
        self._ended.set()


async def wait_for_first_refresh(redis: Redis) -> None:
    """Wait until the first refresh has written its last value."""
    await eventually(lambda: redis.exists("realtime:donations"), describe="the first refresh ends")


def fill(redis: Redis, keys: Iterable[str]) -> None:
    redis.mset(dict.fromkeys(keys, "cached"))


def present_keys(redis: Redis) -> set[str]:
    return set(map(str, redis.keys()))


def progress(redis: Redis, campaign: str) -> dict[str, Any]:
    """Return the live values of a campaign."""
    written: dict[str, Any] = json.loads(str(redis.get(f"realtime:campaign:{campaign}:progress")))
    return written


def cache_keys(campaign: str) -> set[str]:
    """Return the keys of the caches of a campaign."""
    return {
        f"campaign:{campaign}",
        f"campaign:{campaign}:donors",
        f"campaign:{campaign}:stats",
        f"stats:campaign:{campaign}",
    }


SHARED_KEYS = {
    "campaigns:list:page:1",
    "campaigns:list:open",
    "stats:total_donations",
    "stats:daily:2026-01-02",
}
FOREIGN_KEYS = {"campaigns:names", "session:campaign:a", "realtime:visitors", "statsd"}


async def add_campaign(
    application: asyncpg.Connection, campaign: str, goal: str = "100.00", raised: str = "0"
) -> None:
    insert = (
        "INSERT INTO campaigns (id, name, goal_amount, raised_amount) VALUES ($1, 'a name', $2, $3)"
    )
    await application.execute(insert, campaign, Decimal(goal), Decimal(raised))
