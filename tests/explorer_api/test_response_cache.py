"""Responses cached in memory: bounded, never outdated, and returned without a database call."""

import asyncio
import time
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from pymongo import AsyncMongoClient
from redis.asyncio import ConnectionPool, Redis

from explorer_api.http.responses import (
    IMMUTABLE,
    NO_CACHE,
    NO_STORE,
    ApiResponse,
    CacheHit,
    EncodedResponse,
    encode_response,
)
from explorer_api.live.heads import HeadSnapshot, HeadWatch
from explorer_api.live.response_cache import ResponseCache
from explorer_api.options import Options, ServiceLimits
from explorer_api.routes import ROUTES
from explorer_api.routing.route import ChannelRoute, ListRoute
from ledger.mongodb.collections import SYNC_STATE
from ledger.mongodb.sync_state import ChannelState, write_sync_state
from tests.explorer_api.command_recorder import recorded_client
from tests.explorer_api.examples import FINGERPRINT
from tests.explorer_api.support import (
    CHANNEL,
    Api,
    C,
    append,
    block,
    running_api,
    sync_state,
    transaction,
    with_event,
)

MAX_BYTES = 20_000
MAX_AGE_S = 2.0
KEYS = "abcdefghijkl"
ROUTE = "/letters/{letter}"


class CacheMachine(RuleBasedStateMachine):
    """Compares the cache with a list of all responses that were cached.

    A response becomes invalid by a later head, another chain, or time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.cache = ResponseCache(MAX_BYTES, clock=lambda: self.now)
        self.watches = [
            HeadWatch(cast("Any", None), MAX_AGE_S, clock=lambda: self.now) for _ in range(2)
        ]
        self.entries: list[tuple[str, EncodedResponse, HeadWatch, HeadSnapshot, float]] = []

    @initialize()
    def begin(self) -> None:
        for which in range(2):
            self.read_head(which, chain=0, height=1)

    @rule(which=st.integers(0, 1), chain=st.integers(0, 2), height=st.integers(0, 3))
    def read_head(self, which: int, chain: int, height: int) -> None:
        name = f"chain {chain}"
        head = {"number": height - 1} if height else None
        headers = {"read": f"{name} at {height}, {self.now}"}
        self.watches[which].latest = HeadSnapshot(
            head, None, None, self.now, f"{name} at {height}", name, headers
        )

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 3.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(which=st.integers(0, 1))
    def remove_channel(self, which: int) -> None:
        self.watches[which].forget()

    @rule(
        key=st.sampled_from(KEYS),
        which=st.integers(0, 1),
        size=st.sampled_from([0, 1, 500, 1500, 1700, 2500, 100_000]),
        cache_control=st.sampled_from([NO_CACHE, IMMUTABLE, NO_STORE]),
        seconds=st.sampled_from([None, None, 0.0, 1.0]),
        content=st.integers(0, 255),
    )
    def put(
        self,
        key: str,
        which: int,
        size: int,
        cache_control: str,
        seconds: float | None,
        content: int,
    ) -> None:
        watch = self.watches[which]
        snapshot = watch.latest
        if snapshot is None:
            return
        response = encode_response(ApiResponse(bytes([content]) * size, cache_control, seconds))
        self.cache.put(key, ROUTE, response, watch, snapshot)
        if cache_control == NO_STORE or response.size + len(key) > MAX_BYTES // 4:
            return
        expires_at = self.now + seconds if seconds is not None else float("inf")
        self.entries = [entry for entry in self.entries if entry[0] != key]
        self.entries.append((key, response, watch, snapshot, expires_at))
        while sum(entry[1].size + len(entry[0]) for entry in self.entries) > MAX_BYTES:
            del self.entries[0]

    @rule(which=st.integers(0, 1), keys=st.permutations(KEYS))
    def fill(self, which: int, keys: str) -> None:
        """Cache more responses than there is room for."""
        for number, key in enumerate(keys):
            self.put(key, which, 1700, IMMUTABLE, None, number)

    @rule(key=st.sampled_from(KEYS))
    def get(self, key: str) -> None:
        hit = self.cache.get(key)
        assert hit == self.expected(key)
        if hit is not None:  # the response that was used last is dropped last
            self.entries.sort(key=lambda entry: entry[0] == key)

    def expected(self, key: str) -> CacheHit | None:
        for entry_key, response, watch, snapshot, expires_at in self.entries:
            latest = watch.latest
            if entry_key != key or latest is None or self.now >= expires_at:
                continue
            if response.headers["Cache-Control"] == IMMUTABLE:
                is_valid = latest.chain == snapshot.chain
            else:
                is_recent = self.now - latest.read_at <= MAX_AGE_S
                is_valid = latest.version == snapshot.version and is_recent
            if is_valid:
                return CacheHit(ROUTE, response, latest.headers)
        return None

    @invariant()
    def bounded(self) -> None:
        size = sum(entry[1].size + len(entry[0]) for entry in self.entries)
        assert self.cache.bytes == size <= MAX_BYTES


CacheMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestCache = CacheMachine.TestCase


class CountingRedis(Redis):
    """Counts its commands."""

    calls = 0

    async def execute_command(self, *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        return await super().execute_command(*arguments, **options)  # type: ignore[no-untyped-call]


CACHEABLE = [
    route
    for route in ROUTES
    if isinstance(route, ChannelRoute | ListRoute) and route.cache_controls != (NO_STORE,)
]


async def test_a_repeated_request_asks_no_database(
    mongo_uri: str, recorded_database: str, redis_url: str
) -> None:
    redis = CountingRedis(connection_pool=ConnectionPool.from_url(redis_url))
    async with (
        redis,
        recorded_client(mongo_uri) as (client, commands),
        running_api(
            client, {CHANNEL: recorded_database}, Options(head_age_s=60.0), redis=redis
        ) as api,
    ):
        etags = {}
        for path in await cacheable_paths(api):
            response = await api.request("GET", path)
            if response.status == 200:
                etags[path] = response.headers["ETag"]
        assert len(etags) > len(CACHEABLE) // 2
        await asyncio.sleep(0.2)
        commands.clear()
        redis_calls = redis.calls
        began = time.monotonic()
        for path, etag in list(etags.items()) * 3:
            await api.get(path, 304, {"If-None-Match": etag})
            assert (await api.get(path)).headers["ETag"] == etag
        assert time.monotonic() - began < 10
        assert (commands.names, redis.calls) == ([], redis_calls)


async def cacheable_paths(api: Api) -> list[str]:
    """Return paths of the recorded ledger, at least one for each cacheable route."""
    tx_id = (await api.channel("/transactions"))["items"][0]["txId"]
    (event,) = (await api.channel("/events", limit=1))["items"]
    values = {
        "channel": CHANNEL,
        "block": 7,
        "txId": tx_id,
        "index": 0,
        "name": event["chaincode"],
        "namespace": event["chaincode"],
        "key": "k",
        "fingerprint": FINGERPRINT,
    }
    paths = [route.example.partition("?")[0].format(**values) for route in CACHEABLE]
    paths += [
        f"{C}/blocks/latest",
        f"{C}/blocks?order=asc&limit=3",
        f"{C}/events?name.eq={event['name']}",
    ]
    return [f"{path}?q={tx_id}" if path.endswith("/search") else path for path in paths]


ETAG_PATHS = [
    "",
    "/blocks",
    "/blocks/0",
    "/blocks/latest",
    "/blocks?order=asc&limit=1",
    "/transactions",
    "/transactions/a",
    "/events",
    "/events?name.eq=Minted",
    "/chaincodes",
    "/stats",
    "/blocks/0/transactions",
]
REPORT_S = 0.1


async def test_an_etag_changes_exactly_when_the_body_does(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    bodies: dict[str, dict[str, bytes]] = {path: {} for path in ETAG_PATHS}
    """The body of each ETag, by path."""
    last_etags: dict[str, str] = {}

    async def request_all(api: Api) -> None:
        for path in ETAG_PATHS:
            response = await api.request("GET", C + path)
            if response.status != 200:
                continue
            etag = response.headers["ETag"]
            assert bodies[path].setdefault(etag, response.body) == response.body
            assert len(set(bodies[path].values())) == len(bodies[path]), "equal bodies, one ETag"
            if path in last_etags:
                headers = {"If-None-Match": last_etags[path]}
                again = await api.request("GET", C + path, headers)
                assert (again.status == 304) == (last_etags[path] == etag)
            last_etags[path] = etag

    limits = ServiceLimits(channel_cache_s=REPORT_S)
    async with running_api(client, {CHANNEL: database_name}, limits=limits) as api:
        await request_all(api)
        transactions = [transaction(0, "a"), with_event(1, "b", "Minted", b"{}")]
        await append(client, database_name, [block(0, transactions)])
        await request_all(api)
        await request_all(api)
        await append(client, database_name, [block(1, [transaction(0, "a", code=11)])])
        await request_all(api)
        report = sync_state(state=ChannelState.FOLLOWING, peer_height=5)
        await write_sync_state(client[database_name], report)
        await asyncio.sleep(1.2 * REPORT_S)
        await request_all(api)
        await client[database_name][SYNC_STATE].delete_one({})
        await asyncio.sleep(1.2 * REPORT_S)
        await request_all(api)
    assert len(bodies["/blocks/0"]) == len(bodies["/blocks/0/transactions"]) == 1
    assert len(bodies["/transactions/a"]) == 2, "a later block repeats the id"
    assert len(bodies[""]) == 4
