"""Helpers of the tests of Redis faults: an API that uses Redis for everything, and its checks."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pymongo import AsyncMongoClient
from redis import Redis

from cli.assembly.redis import redis_client
from explorer_api.options import Options, ServiceLimits
from tests.explorer_api.support import CHANNEL, Api, C, running_api

OPTIONS = Options(
    head_age_s=20.0, cache_bytes=0, requests_per_minute=10_000, trusted_proxies=("127.0.0.0/8",)
)
"""Nothing is cached in memory, so that every response is looked up in Redis."""

PAUSE_S = 0.3
LIMITS = ServiceLimits(redis_pause_s=PAUSE_S, notification_retry_s=0.2)
"""Shorter than in operation, so that Redis is tried again soon."""

REMOTE = {"X-Forwarded-For": "192.0.2.1"}
"""A client whose requests are counted by the rate limiter."""

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
REQUEST_LIMIT_S = 3.0
"""The most time for one request, delays by Redis included; a call of Redis has a quarter second."""
CONCURRENT_LIMIT_S = 15.0
"""The most time for forty concurrent requests, which also share the processor."""

Summary = tuple[Any, ...]


@asynccontextmanager
async def api_with_redis(
    client: AsyncMongoClient[Any],
    database: str,
    url: str | None,
    limits: ServiceLimits = LIMITS,
) -> AsyncIterator[Api]:
    redis = redis_client(url) if url is not None else None
    channels = {CHANNEL: database}
    async with running_api(client, channels, OPTIONS, redis=redis, limits=limits) as api:
        yield api
    if redis is not None:
        await redis.aclose()


async def summarise(api: Api, path: str) -> Summary:
    """Return all of a response that must not depend on Redis."""
    response = await api.request("GET", path, REMOTE)
    body = {**response.json, "requestId": None}
    return response.status, response.headers.get("ETag"), response.headers["Cache-Control"], body


async def responses_without_redis(
    client: AsyncMongoClient[Any], database: str
) -> dict[str, Summary]:
    async with api_with_redis(client, database, None) as api:
        return {path: await summarise(api, path) for path in PATHS}


async def check_responses(api: Api, expected: dict[str, Summary], rounds: int = 3) -> None:
    """Check that responses are right and quick, one after another and concurrently."""
    slowest = (0.0, "")
    for path in list(expected) * rounds:
        began = time.monotonic()
        assert await summarise(api, path) == expected[path]
        slowest = max(slowest, (time.monotonic() - began, path))
    began = time.monotonic()
    paths = list(expected) * 5
    responses = await asyncio.gather(*(summarise(api, path) for path in paths))
    assert responses == [expected[path] for path in paths]
    assert slowest[0] < REQUEST_LIMIT_S, slowest
    assert time.monotonic() - began < CONCURRENT_LIMIT_S


async def is_served_from_redis(api: Api, redis: Redis) -> bool:
    """Return whether the API responds with a response that is only in Redis."""
    await api.request("GET", SERIES)
    cached = [key for key in keys_of(redis) if b":api:" in key and not key.endswith(b":lock")]
    if not cached:
        return False
    hits_before = await redis_hits(api)
    await api.request("GET", SERIES)
    return await redis_hits(api) > hits_before


def keys_of(redis: Redis) -> list[bytes]:
    return sorted(map(bytes, redis.keys("*")))  # type: ignore[arg-type]


async def redis_hits(api: Api) -> int:
    text = (await api.get("/metrics")).body.decode()
    (line,) = [line for line in text.splitlines() if 'cache="redis",result="hit"' in line]
    return int(float(line.rpartition(" ")[2]))


async def shows_height(api: Api, height: int) -> bool:
    return (await api.request("GET", f"{C}/blocks")).headers["Ledger-Height"] == str(height)
