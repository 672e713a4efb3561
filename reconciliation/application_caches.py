"""Keeps the caches of KindLedger's applications in Redis true: after rows were settled, outside every transaction."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import TypeVar

import asyncpg
import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from reconciliation.errors import FAILURES
from runtime.cancellation import raise_if_cancelled
from runtime.throttled_log import ThrottledLog

T = TypeVar("T")

_REDIS_CALL_S = 1.0
_POSTGRES_CALL_S = 5.0
_ROUND_S = 60.0
_EXPIRY_S = 3600
"""A daemon that is gone leaves no figure behind for longer."""
_MOST_CAMPAIGNS = 10_000
_BATCH = 500

_SHARED_CACHES = ("campaigns:list:*", "stats:daily:*")
"""Patterns of what any donation may change; which day a row counts for is the application's affair."""
_ALL_CACHES = ("campaign:*", "campaigns:list:*", "stats:*", "realtime:campaign:*:progress")

_JSON = msgspec.json.Encoder(decimal_format="number")


class CacheRefresher:
    """Invalidates the caches of settled campaigns, and writes the live figures that applications show.

    At most one round in `interval_s` seconds, the first at once when it was quiet. What fails is repeated in the
    next round, and delays nobody. `redis` must not decode responses: others may keep keys that are no text. With
    `refresh` the tables `campaigns` and `donations` must have KindLedger's columns; without, caches are only emptied.
    """

    def __init__(
        self,
        redis: Redis,
        pool: "asyncpg.Pool[asyncpg.Record]",
        *,
        refresh: bool,
        interval_s: float = 5.0,
    ) -> None:
        self._redis, self._pool, self._refresh, self._interval_s = redis, pool, refresh, interval_s
        self._all_stale = (
            True  # a process that was killed after a commit has told nobody what it settled
        )
        self._stale: set[str] = set()
        self._outdated: set[str] = set()
        self._wanted = asyncio.Event()
        self._failures = ThrottledLog("cache_unavailable", "cache_available")

    def settled(self, campaigns: Iterable[str]) -> None:
        """Notes that rows of these campaigns changed; call it after the commit."""
        self._stale.update(campaigns)
        self._bound(self._stale)
        if self._stale:
            self._wanted.set()

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await self.once()
            raise_if_cancelled()
            await asyncio.sleep(self._interval_s)
            await self._wanted.wait()

    async def once(self) -> None:
        """One round. What fails is logged, and wanted again."""
        # Caches are emptied before the figures are read: what a reader fills in between is at most as new as the
        # figures that replace it, and whatever is settled after they were read starts another round.
        self._wanted.clear()
        try:
            async with _within(_ROUND_S, "Redis and PostgreSQL"):
                await self._invalidate()
                if self._refresh:
                    await self._write_figures()
        except _FailedError as error:
            self._wanted.set()
            self._failures.failed(error=str(error))
        else:
            self._failures.recovered()

    async def _invalidate(self) -> None:
        everything, campaigns = self._all_stale, self._stale
        if not (everything or campaigns):
            return
        self._all_stale, self._stale = False, set()
        try:
            for keys in _batches(_keys(campaigns)):
                await self._unlink(keys)
            for pattern in _ALL_CACHES if everything else _SHARED_CACHES:
                await self._unlink_matching(pattern)
        except BaseException:
            self._all_stale |= everything
            self.settled(campaigns)
            raise
        if self._refresh:
            self._outdated |= campaigns
            self._bound(self._outdated)

    def _bound(self, campaigns: set[str]) -> None:
        """Too many to be named are all that there are."""
        if len(campaigns) > _MOST_CAMPAIGNS:
            campaigns.clear()
            self._all_stale = True
            self._wanted.set()

    async def _unlink(self, keys: Sequence[str | bytes]) -> None:
        if keys:
            async with _within(_REDIS_CALL_S, "Redis"):
                await self._redis.unlink(*keys)

    async def _unlink_matching(self, pattern: str) -> None:
        cursor = None
        while cursor != 0:
            async with _within(_REDIS_CALL_S, "Redis"):
                cursor, keys = await self._redis.scan(cursor or 0, match=pattern, count=_BATCH)
            await self._unlink(keys)

    async def _write_figures(self) -> None:
        while self._outdated:
            campaigns = list(islice(self._outdated, _BATCH))
            figures = {
                _progress_key(row.pop("id")): row
                for row in await self._select(_PROGRESS, campaigns)
            }
            await self._write(figures)
            self._outdated.difference_update(campaigns)
        await self._write({"realtime:donations": await self._select(_NEWEST_DONATIONS)})

    async def _select(self, query: str, *parameters: object) -> list[dict[str, object]]:
        # The time limit of `acquire` also holds for giving the connection back, which waits for a cancelled query.
        async with (
            _within(_POSTGRES_CALL_S, "PostgreSQL"),
            self._pool.acquire(timeout=_POSTGRES_CALL_S) as connection,
        ):
            return [dict(row) for row in await connection.fetch(query, *parameters)]

    async def _write(self, values: Mapping[str, object]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for key, value in values.items():
            pipeline.set(key, _JSON.encode(value), ex=_EXPIRY_S)
        # An error that the pipeline raises itself would quote what was to be written, donors included.
        async with _within(_REDIS_CALL_S, "Redis"):
            for reply in await pipeline.execute(raise_on_error=False):
                if isinstance(reply, RedisError):
                    raise reply


class _FailedError(Exception):
    """A server failed, or did not answer in time."""


@asynccontextmanager
async def _within(limit_s: float, server: str) -> AsyncIterator[None]:
    """Raises `_FailedError` for whatever goes wrong with the server, and after `limit_s` seconds."""
    try:
        async with asyncio.timeout(limit_s):
            yield
    except (RedisError, *FAILURES) as error:
        raise _FailedError(f"{server}: {str(error) or f'not done within {limit_s:g} s'}") from error


def _keys(campaigns: Iterable[str]) -> Iterator[str]:
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


# NUMERIC has NaN, which passes for a positive amount; JSON has no such number.
_PROGRESS = """
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
