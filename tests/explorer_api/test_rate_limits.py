"""Rate limits by client and route, and the addresses by which clients are told apart."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from pymongo import AsyncMongoClient
from redis import Redis

from cli.assembly.redis import redis_client
from devnet.servers import Redis as RedisServer
from explorer_api.options import Options
from tests.explorer_api.raw_http import exchange
from tests.explorer_api.support import CHANNEL, Api, C, running_api

OPTIONS = Options(
    head_age_s=0.0, requests_per_minute=3, trusted_proxies=("127.0.0.0/8", "10.0.0.0/8")
)


@asynccontextmanager
async def limited_apis(
    client: AsyncMongoClient[Any], database: str, *urls: str | None
) -> AsyncIterator[list[Api]]:
    """Run the APIs of several processes, each with its own connection to the Redis at its URL."""
    async with AsyncExitStack() as stack:
        apis = []
        for url in urls:
            redis = redis_client(url) if url is not None else None
            if redis is not None:
                stack.push_async_callback(redis.aclose)
            api = running_api(client, {CHANNEL: database}, OPTIONS, redis=redis)
            apis.append(await stack.enter_async_context(api))
        yield apis


async def statuses(api: Api, address: str | None, path: str, times: int = 1) -> list[int]:
    headers = {"X-Forwarded-For": address} if address is not None else {}
    return [(await api.request("GET", path, headers)).status for _ in range(times)]


@pytest.fixture
def early_in_the_minute() -> None:
    """Wait until a test fits into the rest of the minute: then all counters are reset."""
    remaining_s = 60 - time.time() % 60
    if remaining_s < 10:
        time.sleep(remaining_s)


@pytest.mark.usefixtures("early_in_the_minute")
@pytest.mark.parametrize("has_redis", [False, True])
async def test_each_client_has_a_limit_for_each_route(
    client: AsyncMongoClient[Any], recorded_database: str, redis_url: str, has_redis: bool
) -> None:
    url = redis_url if has_redis else None
    async with limited_apis(client, recorded_database, url) as (api,):
        assert await statuses(api, "192.0.2.1", f"{C}/blocks/7", 3) == [200] * 3
        refused = await api.request("GET", f"{C}/blocks/8", {"X-Forwarded-For": "192.0.2.1"})
        assert refused.status == 429, "another block is the same route"
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert 0 < int(refused.headers["Retry-After"]) <= 60
        assert refused.headers["Retry-After"] in refused.json["hint"]
        assert await statuses(api, "192.0.2.1", f"{C}/blocks/7", 3) == [429] * 3
        assert await statuses(api, "192.0.2.1", "/api/v1/status") == [200], "another route"
        assert await statuses(api, "192.0.2.2", f"{C}/blocks/7") == [200], "another client"
        assert await statuses(api, "192.0.2.3", "/nowhere", 2) == [404] * 2
        assert await statuses(api, "192.0.2.3", "/nowhere/else", 2) == [404, 429], (
            "all paths without a route count together"
        )
        assert await statuses(api, "192.0.2.1", "/live", 5) == [200] * 5
        for local in (None, "127.0.0.9", "::1", "::ffff:127.0.0.1"):
            assert await statuses(api, local, f"{C}/blocks/7", 5) == [200] * 5, local
    if has_redis:
        check_counters(redis_url)


def check_counters(redis_url: str) -> None:
    with Redis.from_url(redis_url) as redis:
        lifetimes = {key.decode().rpartition(":")[0]: redis.ttl(key) for key in redis.keys("*")}
        counts = [redis.get(key) for key in redis.keys("rate_limit:192.0.2.1:*blocks*")]
    assert f"rate_limit:192.0.2.1:{C.replace(CHANNEL, '{channel}')}/blocks/{{block}}" in lifetimes
    assert not [key for key in lifetimes if "127.0.0" in key or "::ffff" in key]
    assert all(0 < seconds <= 120 for seconds in lifetimes.values()), "every counter expires"
    assert counts == [b"3"], "this process refuses further requests without Redis"


@pytest.mark.usefixtures("early_in_the_minute")
@pytest.mark.parametrize("has_redis", [False, True])
async def test_all_spellings_of_an_address_count_together(
    client: AsyncMongoClient[Any], recorded_database: str, redis_url: str, has_redis: bool
) -> None:
    url = redis_url if has_redis else None
    async with limited_apis(client, recorded_database, url) as (api,):
        assert await statuses(api, "2001:DB8:0::1", f"{C}/blocks/7", 3) == [200] * 3
        assert await statuses(api, "2001:db8::1", f"{C}/blocks/7") == [429]
    if has_redis:
        with Redis.from_url(redis_url) as redis:
            keys = {key.decode().rpartition(":")[0] for key in redis.keys("*")}
        assert "rate_limit:2001:db8::1:/api/v1/channels/{channel}/blocks/{block}" in keys


@pytest.mark.usefixtures("early_in_the_minute")
async def test_the_limit_is_for_all_processes_together(
    client: AsyncMongoClient[Any], recorded_database: str, redis_url: str
) -> None:
    async with limited_apis(client, recorded_database, redis_url, redis_url) as (one, two):
        responses = [
            await statuses(api, "192.0.2.1", f"{C}/blocks/7") for api in (one, two, one, two, one)
        ]
        assert [status for (status,) in responses] == [200, 200, 200, 429, 429]


@pytest.mark.usefixtures("early_in_the_minute")
async def test_without_redis_each_process_counts_alone(
    client: AsyncMongoClient[Any], recorded_database: str
) -> None:
    async with limited_apis(client, recorded_database, None, None) as (one, two):
        assert await statuses(one, "192.0.2.1", f"{C}/blocks/7", 4) == [200, 200, 200, 429]
        assert await statuses(two, "192.0.2.1", f"{C}/blocks/7") == [200]


@pytest.mark.usefixtures("early_in_the_minute")
async def test_while_redis_fails_each_process_counts_alone(
    client: AsyncMongoClient[Any], recorded_database: str, tmp_path: Path
) -> None:
    with RedisServer(tmp_path / "redis") as server:
        async with limited_apis(client, recorded_database, server.url) as (api,):
            assert await statuses(api, "192.0.2.1", f"{C}/blocks/7", 2) == [200] * 2
            for address, fault in (
                ("192.0.2.1", server.kill),
                ("192.0.2.2", server.start),
                ("192.0.2.3", server.pause),
            ):
                fault()
                began = time.monotonic()
                expected = [200, 429] if address == "192.0.2.1" else [200, 200, 200, 429]
                assert await statuses(api, address, f"{C}/blocks/7", len(expected)) == expected
                assert time.monotonic() - began < 10
                assert await statuses(api, address, f"{C}/blocks/7") == [429]


SPELLINGS = [
    ["192.0.2.1"] * 3,
    ["192.0.2.2", "198.51.100.7, 192.0.2.2", "127.0.0.1, ::1,192.0.2.2"],
    [
        "192.0.2.3, 10.1.2.3",
        "garbage, 192.0.2.3 ,\t10.0.0.1, 127.0.0.1",
        "192.0.2.3, ::ffff:10.9.9.9",
    ],
    ["::ffff:192.0.2.4", "192.0.2.4", "::FFFF:C000:0204"],
    ["garbage, 10.0.0.1", ", 10.0.0.1", "192.0.2.999, 10.0.0.1"],
    ["fe80::1%eth0", "x, fe80::1%eth1", "fe80::1"],
]
"""Values of X-Forwarded-For; those in one list name the same client."""

GARBAGE = [
    "garbage",
    "",
    ",",
    ", ,",
    "127.0.0.1:80",
    "1" * 5000,
    "é, \u00ff",
    "1,2,3,4",
]
"""Values in which no proxy wrote an address: the client is the connection's own, local address."""


@pytest.mark.usefixtures("early_in_the_minute")
async def test_only_addresses_written_by_trusted_proxies_count(
    client: AsyncMongoClient[Any], recorded_database: str
) -> None:
    async with limited_apis(client, recorded_database, None) as (api,):
        for spellings in SPELLINGS:
            for value in spellings:
                assert await statuses(api, value, f"{C}/blocks/7") == [200], value
            forged = f"203.0.113.9, {spellings[0]}"
            assert await statuses(api, forged, f"{C}/blocks/7") == [429], spellings
        for value in GARBAGE:
            assert await statuses(api, value, f"{C}/blocks/7", 4) == [200] * 4, value


@pytest.mark.usefixtures("early_in_the_minute")
async def test_several_headers_are_one_list(
    client: AsyncMongoClient[Any], recorded_database: str
) -> None:
    async with limited_apis(client, recorded_database, None) as (api,):
        assert await statuses(api, "192.0.2.1", f"{C}/blocks/7", 3) == [200] * 3
        headers = [b"X-Forwarded-For: 203.0.113.1", b"X-Forwarded-For: 192.0.2.1"]
        assert (await exchange(api, f"GET {C}/blocks/7", headers))[0] == 429
        assert (await exchange(api, f"GET {C}/blocks/7", [b"X-Forwarded-For: \xff\xfe"]))[0] == 200


async def test_without_trusted_proxies_the_header_is_ignored(
    client: AsyncMongoClient[Any], recorded_database: str
) -> None:
    options = structs.replace(OPTIONS, trusted_proxies=("10.0.0.0/8",))
    async with running_api(client, {CHANNEL: recorded_database}, options) as api:
        assert await statuses(api, "192.0.2.1", f"{C}/blocks/7", 5) == [200] * 5, (
            "local clients have no limit"
        )
