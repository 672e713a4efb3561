"""Keeps the caches of KindLedger's applications in Redis up to date after rows were settled."""

import asyncio
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from itertools import islice
from typing import TypeVar

import asyncpg
import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from reconciliation.errors import POSTGRES_ERRORS
from runtime.cancellation import raise_if_cancelled
from runtime.throttled_log import ThrottledLog

T = TypeVar("T")

_REDIS_TIMEOUT_S = 1.0
_POSTGRES_TIMEOUT_S = 5.0
_REFRESH_TIMEOUT_S = 60.0
_EXPIRY_S = 3600
"""The time after which a live value expires, so that it does not stay if the daemon has stopped."""
_MAX_CAMPAIGNS = 10_000
_BATCH = 500

_DONATIONS_KEY = "realtime:donations"
_SHARED_CACHES = ("campaigns:list:*", "stats:daily:*")
"""Patterns of the caches that any donation may change.

All days are invalidated, because the application decides for which day a donation counts.
"""
_ALL_CACHES = ("campaign:*", "campaigns:list:*", "stats:*", "realtime:campaign:*:progress")

_JSON = msgspec.json.Encoder(decimal_format="number")


class CacheRefresher:
    """Invalidates the caches of settled campaigns, and writes the live values of the applications.

    A refresh takes place at most once in `interval_s` seconds; the first follows at once. A refresh
    that fails is repeated, and delays nothing else. `redis` must not decode responses, because
    other programs may use keys that are not text. With `write_live_values` the tables `campaigns`
    and `donations` must have KindLedger's columns; without it, caches are only invalidated.
    """

    def __init__(
        self,
        redis: Redis,
        pool: "asyncpg.Pool[asyncpg.Record]",
        *,
        write_live_values: bool,
        interval_s: float = 5.0,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._redis, self._pool = redis, pool
        self._write_live_values = write_live_values
        self._interval_s, self._sleep = interval_s, sleep
        # A process that was killed after a commit has not invalidated the caches of its campaigns.
        self._invalidate_all = True
        self._campaigns_to_invalidate: set[str] = set()
        self._campaigns_to_write: set[str] = set()
        self._refresh_needed = asyncio.Event()
        self._failures = ThrottledLog("cache_unavailable", "cache_available")

    def rows_settled(self, campaigns: Iterable[str]) -> None:
        """Note that rows of these campaigns were settled. Call it after the commit."""
        self._campaigns_to_invalidate.update(campaigns)
        self._limit(self._campaigns_to_invalidate)
        if self._campaigns_to_invalidate:
            self._refresh_needed.set()

    async def run(self) -> None:
        """Refresh the caches until cancelled."""
        while True:
            await self.refresh()
            raise_if_cancelled()
            await self._sleep(self._interval_s)
            await self._refresh_needed.wait()

    async def refresh(self) -> None:
        """Refresh the caches once. A failure is logged, and the next refresh repeats the work."""
        # The caches are invalidated before the live values are read. So a cache that a reader fills
        # meanwhile is not newer than the live values; a later settlement causes another refresh.
        self._refresh_needed.clear()
        try:
            async with _server_timeout(_REFRESH_TIMEOUT_S, "Redis and PostgreSQL"):
                await self._invalidate()
                if self._write_live_values:
                    await self._write_values()
        except _ServerFailedError as error:
            self._refresh_needed.set()
            self._failures.failed(error=str(error))
        else:
            self._failures.recovered()

    async def _invalidate(self) -> None:
        invalidate_all, campaigns = self._invalidate_all, self._campaigns_to_invalidate
        if not (invalidate_all or campaigns):
            return
        self._invalidate_all, self._campaigns_to_invalidate = False, set()
        try:
            for keys in _batches(_cache_keys(campaigns)):
                await self._unlink(keys)
            for pattern in _ALL_CACHES if invalidate_all else _SHARED_CACHES:
                await self._unlink_matching(pattern)
        except BaseException:
            self._invalidate_all |= invalidate_all
            self.rows_settled(campaigns)
            raise
        if self._write_live_values:
            self._campaigns_to_write |= campaigns
            self._limit(self._campaigns_to_write)

    def _limit(self, campaigns: set[str]) -> None:
        """If there are too many campaigns, forget them and invalidate all caches instead."""
        if len(campaigns) > _MAX_CAMPAIGNS:
            campaigns.clear()
            self._invalidate_all = True
            self._refresh_needed.set()

    async def _unlink(self, keys: Sequence[str | bytes]) -> None:
        if keys:
            async with _server_timeout(_REDIS_TIMEOUT_S, "Redis"):
                await self._redis.unlink(*keys)

    async def _unlink_matching(self, pattern: str) -> None:
        cursor = None
        while cursor != 0:
            async with _server_timeout(_REDIS_TIMEOUT_S, "Redis"):
                cursor, keys = await self._redis.scan(cursor or 0, match=pattern, count=_BATCH)
            await self._unlink(keys)

    async def _write_values(self) -> None:
        while self._campaigns_to_write:
            campaigns = list(islice(self._campaigns_to_write, _BATCH))
            rows = await self._select(_CAMPAIGN_PROGRESS, campaigns)
            await self._write({_progress_key(row.pop("id")): row for row in rows})
            self._campaigns_to_write.difference_update(campaigns)
        await self._write({_DONATIONS_KEY: await self._select(_NEWEST_DONATIONS)})

    async def _select(self, query: str, *parameters: object) -> list[dict[str, object]]:
        # The timeout of `acquire` also limits the return of the connection to the pool, which waits
        # for a cancelled query.
        async with (
            _server_timeout(_POSTGRES_TIMEOUT_S, "PostgreSQL"),
            self._pool.acquire(timeout=_POSTGRES_TIMEOUT_S) as connection,
        ):
            return [dict(row) for row in await connection.fetch(query, *parameters)]

    async def _write(self, values: Mapping[str, object]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for key, value in values.items():
            pipeline.set(key, _JSON.encode(value), ex=_EXPIRY_S)
        # Without `raise_on_error` the error does not quote the values, which name donors.
        async with _server_timeout(_REDIS_TIMEOUT_S, "Redis"):
            for reply in await pipeline.execute(raise_on_error=False):
                if isinstance(reply, RedisError):
                    raise reply


class _ServerFailedError(Exception):
    """Redis or PostgreSQL failed, or did not answer in time."""


@asynccontextmanager
async def _server_timeout(limit_s: float, server: str) -> AsyncIterator[None]:
    """Raise `_ServerFailedError` for every failure of the server, and after `limit_s` seconds."""
    try:
        async with asyncio.timeout(limit_s):
            yield
    except (RedisError, *POSTGRES_ERRORS) as error:
        reason = str(error) or f"not done within {limit_s:g} s"
        raise _ServerFailedError(f"{server}: {reason}") from error


def _cache_keys(campaigns: Iterable[str]) -> Iterator[str]:
    yield "stats:total_donations"
    for campaign in campaigns:
        yield f"campaign:{campaign}"
        yield f"campaign:{campaign}:donors"
        yield f"campaign:{campaign}:stats"
        yield f"stats:campaign:{campaign}"


def _progress_key(campaign: object) -> str:
    return f"realtime:campaign:{campaign}:progress"


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    remaining = iter(items)
    while batch := list(islice(remaining, _BATCH)):
        yield batch


# NUMERIC has the value NaN, which passes a check for positive amounts; JSON has no such number.
_CAMPAIGN_PROGRESS = """
SELECT id,
       NULLIF(raised_amount, 'NaN') AS raised_amount,
       NULLIF(goal_amount, 'NaN') AS goal_amount,
       NULLIF(round(100 * raised_amount / NULLIF(goal_amount, 0), 2), 'NaN') AS progress_percentage,
       now() AS last_updated
  FROM campaigns
 WHERE id = ANY($1)
"""

_NEWEST_DONATIONS = """
SELECT id,
       campaign_id,
       CASE WHEN NOT is_anonymous THEN donor_name END AS donor_name,
       NULLIF(amount, 'NaN') AS amount,
       donated_at::timestamptz AS donated_at,
       confirmed_at::timestamptz AS confirmed_at,
       blockchain_tx_hash
  FROM donations
 WHERE status = 'CONFIRMED' AND confirmed_at IS NOT NULL
 ORDER BY donations.confirmed_at DESC, id
 LIMIT 50
"""
