"""What is kept of answers: never too much, never an old one, computed once; and what asking again costs."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from pymongo import AsyncMongoClient
from redis.asyncio import ConnectionPool, Redis

from cli.assembly.redis import redis_client
from explorer_api import app
from explorer_api.http.problems import ProblemError
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
from explorer_api.options import Options
from explorer_api.routes import CHANNEL as CHANNEL_PATH
from explorer_api.routes import ROUTES
from explorer_api.routing.calls import ChannelCall
from explorer_api.routing.route import ChannelRoute, ListRoute
from explorer_api.schemas.status import Status
from ledger.mongodb.collections import SYNC_STATE
from ledger.mongodb.sync_state import ChannelState, write_sync_state
from runtime.single_flight import SingleFlight
from tests.explorer_api.support import (
    CHANNEL,
    FRESH,
    Api,
    append,
    block,
    running_api,
    sync_state,
    transaction,
    with_event,
)
from tests.explorer_api.watching import watched_client

C = f"/api/v1/channels/{CHANNEL}"

# --- Memory -----------------------------------------------------------------------------------------------------------

MAX_BYTES = 20_000
MAX_AGE_S = 2.0
KEYS = "abcdefghijkl"
ROUTE = "/letters/{letter}"


class CacheMachine(RuleBasedStateMachine):
    """The cache against a list of everything that was put, which a later head, another chain or time makes void."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.cache = ResponseCache(MAX_BYTES, clock=lambda: self.now)
        self.watches = [
            HeadWatch(cast("Any", None), MAX_AGE_S, clock=lambda: self.now) for _ in range(2)
        ]
        self.kept: list[tuple[str, EncodedResponse, HeadWatch, HeadSnapshot, float]] = []

    @initialize()
    def begin(self) -> None:
        for which in range(2):
            self.look(which, chain=0, height=1)

    @rule(which=st.integers(0, 1), chain=st.integers(0, 2), height=st.integers(0, 3))
    def look(self, which: int, chain: int, height: int) -> None:
        """The head is read."""
        name = f"chain {chain}"
        head = {"number": height - 1} if height else None
        self.watches[which].latest = HeadSnapshot(
            head, None, None, self.now, f"{name} at {height}", name, {"at": str(self.now)}
        )

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 3.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(which=st.integers(0, 1))
    def go_away(self, which: int) -> None:
        """The channel is no more."""
        self.watches[which].forget()

    @rule(
        key=st.sampled_from(KEYS),
        which=st.integers(0, 1),
        size=st.sampled_from([0, 1, 500, 1500, 1700, 2500, 100_000]),
        caching=st.sampled_from([NO_CACHE, IMMUTABLE, NO_STORE]),
        seconds=st.sampled_from([None, None, 0.0, 1.0]),
        content=st.integers(0, 255),
    )
    def put(
        self, key: str, which: int, size: int, caching: str, seconds: float | None, content: int
    ) -> None:
        snapshot = self.watches[which].latest
        if snapshot is None:
            return
        rendered = encode_response(ApiResponse(bytes([content]) * size, caching, seconds))
        self.cache.put(key, ROUTE, rendered, self.watches[which], snapshot)
        if caching == NO_STORE or rendered.size + len(key) > MAX_BYTES // 4:
            return
        until = self.now + seconds if seconds is not None else float("inf")
        self.kept = [entry for entry in self.kept if entry[0] != key]
        self.kept.append((key, rendered, self.watches[which], snapshot, until))
        while sum(entry[1].size + len(entry[0]) for entry in self.kept) > MAX_BYTES:
            del self.kept[0]

    @rule(which=st.integers(0, 1), keys=st.permutations(KEYS))
    def fill(self, which: int, keys: str) -> None:
        """More than there is room for."""
        for number, key in enumerate(keys):
            self.put(key, which, 1700, IMMUTABLE, None, number)

    @rule(key=st.sampled_from(KEYS))
    def get(self, key: str) -> None:
        found = self.cache.get(key)
        assert found == self.expected(key)
        if found is not None:
            self.kept.sort(key=lambda entry: entry[0] == key)  # the one used last is forgotten last

    def expected(self, key: str) -> CacheHit | None:
        for name, rendered, watch, snapshot, until in self.kept:
            if name != key or watch.latest is None or self.now >= until:
                continue
            if rendered.headers["Cache-Control"] == IMMUTABLE:
                same = watch.latest.chain == snapshot.chain
            else:
                same = (
                    watch.latest.version == snapshot.version
                    and self.now - watch.latest.read_at <= MAX_AGE_S
                )
            if same:
                return CacheHit(ROUTE, rendered, watch.latest.headers)
        return None

    @invariant()
    def bounded(self) -> None:
        assert (
            self.cache.bytes
            == sum(entry[1].size + len(entry[0]) for entry in self.kept)
            <= MAX_BYTES
        )


CacheMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestCache = CacheMachine.TestCase


# --- One computation --------------------------------------------------------------------------------------------------


class Work:
    """A computation that is told when to end."""

    def __init__(self) -> None:
        self.begun = 0
        self.end = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> str:
        self.begun += 1
        await self.end.wait()
        if self.error is not None:
            raise self.error
        return f"result {self.begun}"


async def asking(
    flights: SingleFlight[str], work: Work, count: int, key: str = "k"
) -> list["asyncio.Task[str]"]:
    tasks = [asyncio.create_task(flights.once((key, "v"), work)) for _ in range(count)]
    await asyncio.sleep(0.01)
    return tasks


async def test_what_many_ask_is_computed_once() -> None:
    flights, work, other = SingleFlight[str](), Work(), Work()
    asked = await asking(flights, work, 50)
    others = await asking(flights, other, 3, "another")
    assert (work.begun, other.begun) == (1, 1)
    work.end.set()
    assert await asyncio.gather(*asked) == ["result 1"] * 50
    other.error = LookupError()
    other.end.set()
    assert await asyncio.gather(*others, return_exceptions=True) == [other.error] * 3
    assert await asyncio.gather(*await asking(flights, work, 2)) == ["result 2", "result 3"], (
        "nothing is kept"
    )
    assert not flights._running


async def test_who_goes_away_spoils_it_for_nobody() -> None:
    flights, work = SingleFlight[str](), Work()
    asked = await asking(flights, work, 10)
    for gone in (
        asked[0],
        asked[5],
        asked[1],
    ):  # whose computation it was, who waits, whose it has become
        gone.cancel()
        await asyncio.sleep(0.01)
    assert work.begun == 3
    for gone in asked[2:]:
        gone.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    assert all(gone.cancelled() for gone in asked)
    assert not flights._running
    work.end.set()
    assert await flights.once(("k", "v"), work) == "result 4"


# --- What asking again costs ------------------------------------------------------------------------------------------


class CountingRedis(Redis):
    """Counts what it is asked."""

    calls = 0

    async def execute_command(self, *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        return await super().execute_command(*arguments, **options)  # type: ignore[no-untyped-call]


KEPT = [
    route
    for route in ROUTES
    if isinstance(route, ChannelRoute | ListRoute) and route.cache_controls != (NO_STORE,)
]


async def test_asking_for_what_is_known_touches_no_database(
    mongo_uri: str, recorded_database: str, redis_url: str, parsed: Any
) -> None:
    redis = CountingRedis(connection_pool=ConnectionPool.from_url(redis_url))
    async with (
        redis,
        watched_client(mongo_uri) as (client, commands),
        running_api(
            client, {CHANNEL: recorded_database}, Options(head_age_s=60.0), redis=redis
        ) as api,
    ):
        tx_id = (await api.channel("/transactions"))["items"][0]["txId"]
        (event,) = (await api.channel("/events", limit=1))["items"]
        values = {
            "channel": CHANNEL,
            "block": 7,
            "txId": tx_id,
            "index": 0,
            "name": event["chaincode"],
        }
        values |= {"namespace": event["chaincode"], "key": "k"}
        paths = [route.example.partition("?")[0].format(**values) for route in KEPT]
        paths += [
            f"{C}/blocks/latest",
            f"{C}/blocks?order=asc&limit=3",
            f"{C}/events?name.eq={event['name']}",
        ]
        paths = [f"{path}?q={tx_id}" if path.endswith("/search") else path for path in paths]
        etags = {}
        for path in paths:
            response = await api.request("GET", path)
            if response.status == 200:
                etags[path] = response.headers["ETag"]
        assert len(etags) > len(KEPT) // 2
        await asyncio.sleep(0.2)
        commands.clear()
        before = redis.calls
        began = time.monotonic()
        for path, etag in list(etags.items()) * 3:
            await api.get(path, 304, {"If-None-Match": etag})
            assert (await api.get(path)).headers["ETag"] == etag
        assert time.monotonic() - began < 1.0
        assert (commands.names, redis.calls) == ([], before)


async def test_an_etag_changes_when_the_answer_does_and_only_then(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    options = Options(head_age_s=0.0, channel_cache_s=0.1)
    async with running_api(client, {CHANNEL: database_name}, options) as api:
        paths = [
            "",
            "/blocks",
            "/blocks/0",
            "/blocks/latest",
            "/blocks?order=asc&limit=1",
            "/transactions",
        ]
        paths += [
            "/transactions/a",
            "/events",
            "/events?name.eq=Minted",
            "/chaincodes",
            "/stats",
            "/blocks/0/transactions",
        ]
        seen: dict[str, dict[str, bytes]] = {path: {} for path in paths}
        last: dict[str, str] = {}

        async def look() -> None:
            for path in paths:
                response = await api.request("GET", C + path)
                if response.status != 200:
                    continue
                etag = response.headers["ETag"]
                assert seen[path].setdefault(etag, response.body) == response.body
                assert len(set(seen[path].values())) == len(seen[path]), (
                    "the same answer has the same one"
                )
                if path in last:
                    again = await api.request("GET", C + path, {"If-None-Match": last[path]})
                    assert (again.status == 304) == (last[path] == etag)
                last[path] = etag

        await look()
        await append(
            client,
            database_name,
            [block(0, [transaction(0, "a"), with_event(1, "b", "Minted", b"{}")])],
        )
        await look()
        await look()
        await append(client, database_name, [block(1, [transaction(0, "a", code=11)])])
        await look()
        await write_sync_state(
            client[database_name], sync_state(state=ChannelState.FOLLOWING, peer_height=5)
        )
        await asyncio.sleep(0.12)
        await look()
        await client[database_name][SYNC_STATE].delete_one({})
        await asyncio.sleep(0.12)
        await look()
        constant = {"/blocks/0", "/blocks/0/transactions"}
        assert {
            path: len(etags) for path, etags in seen.items() if path in constant
        } == dict.fromkeys(constant, 1)
        assert len(seen["/transactions/a"]) == 2, "a later block repeats the id"
        assert len(seen[""]) == 4


# --- Several processes ------------------------------------------------------------------------------------------------


class Costly:
    """A route that takes its time, and counts how often it is computed."""

    def __init__(self) -> None:
        self.computed: list[int] = []
        self.fails = False

    async def answer(self, call: ChannelCall) -> ApiResponse:
        """What it costs."""
        self.computed.append(call.snapshot.height)
        await asyncio.sleep(0.2)
        if self.fails:
            raise ProblemError(404, "gone", "Gone", "There is none.", "Look elsewhere.")
        return ApiResponse({"height": call.snapshot.height}, NO_CACHE)


@pytest.fixture
def costly(monkeypatch: pytest.MonkeyPatch) -> Costly:
    costly = Costly()
    route = ChannelRoute(
        path=f"{CHANNEL_PATH}/costly",
        handler=costly.answer,
        tag="Ledger",
        body_type=Status,
        example=f"{CHANNEL_PATH}/costly",
        costly=True,
    )
    monkeypatch.setattr(app, "ROUTES", (*ROUTES, route))
    return costly


@asynccontextmanager
async def two_apis(
    client: AsyncMongoClient[Any], database: str, url: str
) -> AsyncIterator[list[Api]]:
    async with AsyncExitStack() as stack:
        connections = [redis_client(url) for _ in range(2)]
        for redis in connections:
            stack.push_async_callback(redis.aclose)
        options = Options(head_age_s=60.0)
        starting = [
            running_api(client, {CHANNEL: database}, options, redis=redis) for redis in connections
        ]
        yield [await stack.enter_async_context(api) for api in starting]


async def test_what_is_costly_is_computed_by_one_process(
    client: AsyncMongoClient[Any], database_name: str, redis_url: str, costly: Costly
) -> None:
    await append(client, database_name, [block(0, [])])
    async with (
        two_apis(client, database_name, redis_url) as apis,
        Redis.from_url(redis_url) as operator,
    ):

        async def ask() -> set[tuple[int, str | None, str | None]]:
            requests = [api.request("GET", f"{C}/costly") for api in apis * 20]
            answers = await asyncio.gather(*requests)
            return {
                (a.status, a.headers.get("ETag"), a.headers.get("Ledger-Height")) for a in answers
            }

        began = time.monotonic()
        assert len(await ask()) == 1
        assert time.monotonic() - began < 0.7
        assert costly.computed == [1]
        await asyncio.sleep(0.1)
        await append(client, database_name, [block(1, [])])
        await operator.publish(f"kindledger:head:{database_name}", "2")
        await asyncio.sleep(0.2)
        ((status, _, height),) = await ask()
        assert (status, height, costly.computed) == (200, "2", [1, 2])

        # what fails is not kept, and nobody waits for what will not come
        await append(client, database_name, [block(2, [])])
        await operator.publish(f"kindledger:head:{database_name}", "3")
        await asyncio.sleep(0.2)
        costly.fails = True
        began = time.monotonic()
        ((status, _, _),) = await ask()
        assert status == 404
        assert time.monotonic() - began < 1.5
        costly.fails = False
        ((status, _, _),) = await ask()
        assert status == 200


# --- Another chain ----------------------------------------------------------------------------------------------------


def chain(name: str, height: int, genesis: str) -> list[Any]:
    """Blocks that tell which chain they are of; the first one may be that of several."""
    names = [genesis, *[name] * (height - 1)]
    return [
        block(n, [transaction(0, f"{name} {n}")], name.encode()) for n, name in enumerate(names)
    ]


async def test_a_ledger_that_was_indexed_anew_is_shown_as_it_is(
    client: AsyncMongoClient[Any], database_name: str, redis: Redis
) -> None:
    """A network that was set up again, even from the same first block, of the same height, or lower, or higher."""
    paths = [
        "",
        "/blocks",
        "/blocks?order=asc&limit=2",
        "/blocks/2",
        "/blocks/latest",
        "/blocks/1/transactions",
    ]
    paths += ["/transactions", "/stats", "/stats/series?interval=day&metric=transactions"]
    chains = [
        ("one", 6, "same"),
        ("two", 6, "same"),
        ("three", 4, "same"),
        ("four", 9, "same"),
        ("one", 6, "other"),
    ]
    async with (
        running_api(client, {CHANNEL: database_name}, Options(head_age_s=0.1)) as alone,
        running_api(
            client, {CHANNEL: database_name}, Options(head_age_s=0.1), redis=redis
        ) as sharing,
        running_api(
            client, {CHANNEL: database_name}, Options(head_age_s=0.1), redis=redis
        ) as other,
    ):
        for name, height, genesis in chains:
            await client.drop_database(database_name)
            await append(client, database_name, chain(name, height, genesis))
            await asyncio.sleep(0.2)
            async with running_api(client, {CHANNEL: database_name}, FRESH) as fresh:
                for path in paths * 2:
                    right = await fresh.get(C + path)
                    for api in (alone, sharing, other):
                        given = await api.get(C + path)
                        assert given.json == right.json, (name, path)
                        assert given.headers["Ledger-Height"] == str(height)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    redis = redis_client(redis_url)
    yield redis
    await redis.aclose()


async def test_a_channel_that_went_away_and_came_back_is_another(
    client: AsyncMongoClient[Any], database_name: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where channels are found by themselves: what was kept of it never comes back, however rarely heads are read."""
    monkeypatch.setattr("explorer_api.live.channels.DISCOVERY_SECONDS", 0.2)
    name = f"of.{database_name}"
    path = f"/api/v1/channels/{name}"

    async def index(chain_name: str) -> None:
        await append(client, database_name, chain(chain_name, 3, chain_name))
        await write_sync_state(client[database_name], sync_state(name))

    async def found(status: int) -> None:
        async def there() -> bool:
            return (await api.request("GET", path)).status == status

        await eventually(there)

    async with running_api(client, None, Options(head_age_s=60.0), redis=redis) as api:
        await index("one")
        await found(200)
        kept = [f"{path}/blocks/1", f"{path}/blocks/1/transactions", f"{path}/blocks?number.le=1"]
        old = {url: (await api.get(url)).json for url in kept}
        await client.drop_database(database_name)
        await found(404)
        for url in kept:
            await api.get(url, 404)
        await index("two")
        await found(200)
        for url in kept:
            given = await api.get(url)
            assert given.json != old[url]
            assert given.headers["Ledger-Height"] == "3"


async def eventually(condition: Callable[[], Awaitable[bool]], limit_s: float = 5.0) -> None:
    deadline = time.monotonic() + limit_s
    while not await condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.02)
