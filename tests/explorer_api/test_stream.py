import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from explorer_api.options import Options
from explorer_api.resources import stream
from explorer_api.streams import chunk_reader, feed, replays
from explorer_api.streams.messages import KINDS, Chunk
from ledger.model import VALID, Chaincode, ChaincodeEvent, Transaction
from ledger.mongodb.store import LedgerStore
from ledger.position import MAX_BLOCK_NUMBER
from tests.explorer_api.streams import (
    STREAM,
    Chain,
    Message,
    Received,
    everything,
    opened,
    order,
    read,
    receive,
)
from tests.explorer_api.support import CHANNEL, Api, Json, action, running_api, transaction

Spec = tuple[str, str | None, int, str]
Session = tuple[list[list[Spec]], dict[str, str], int]

_PAYLOADS = {
    "json": b'{"a":1.5}',
    "text": b"plain",
    "binary": b"\xff\0",
    "long": b"x" * 3000,
    "too long": b"x" * 70_000,
}
_SPECS = st.tuples(
    st.sampled_from(["token", "campaign"]),
    st.sampled_from([None, "Mint", "Burn"]),
    st.sampled_from([VALID, VALID, VALID, 11]),
    st.sampled_from(list(_PAYLOADS)),
)
_QUERIES = st.fixed_dictionaries(
    {},
    optional={
        "types": st.lists(
            st.sampled_from(["block", "transaction", "event"]), min_size=1, unique=True
        ).map(",".join),
        "chaincode": st.sampled_from(["token", "campaign", "none"]),
        "event": st.sampled_from(["Mint", "Burn"]),
    },
)
_BLOCKS = st.lists(st.lists(_SPECS, min_size=1, max_size=5), max_size=4)
_SESSIONS = st.lists(st.tuples(_BLOCKS, _QUERIES, st.integers(0, 12_000)), min_size=1, max_size=4)


@pytest.fixture
async def live(
    client: AsyncMongoClient[Any], chain: Chain, database_name: str
) -> AsyncIterator[Api]:
    """The API over a chain of three blocks."""
    await chain.mint(3)
    async with running_api(client, {CHANNEL: database_name}) as api:
        yield api


async def test_a_stream_says_what_it_is_and_where_it_begins(live: Api, chain: Chain) -> None:
    async with opened(live, query={"types": "block,event"}) as response:
        received = Received()
        await receive(response, received, "3")
        await chain.mint()
        await receive(response, received, "4")
        state = {"height": 3, "peerHeight": None, "lagBlocks": None, "state": None}
        assert received.messages[0] == Message("state", "3", state)
        assert received.ids == ["3.0.e", "4"]
        head = await live.request("HEAD", STREAM)
        assert (head.status, head.body) == (200, b"")
        expected = {
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
            "X-Content-Type-Options": "nosniff",
            "Ledger-Height": "3",
        }
        for name, value in expected.items():
            assert response.headers[name] == value
            assert head.headers[name] == value.replace("3", "4")
        assert len(response.headers["X-Request-ID"]) == 32
        assert "Content-Encoding" not in response.headers


async def test_a_ping_moves_the_position_where_the_filter_takes_nothing(
    live: Api, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "PING_S", 0.05)
    query = {"types": "event", "event": "Burn"}
    async with opened(live, query=query) as response:
        received = Received()
        await receive(response, received, "3")
        await chain.mint(2)
        await receive(response, received, "5")
        assert received.told == []
    async with opened(live, received.last_id, query) as response:
        again = Received()
        await receive(response, again, "5")
        assert again.messages[0].id == "5"


async def test_who_waits_for_history_is_pinged(
    live: Api, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many may wait for their turn; proxies end what is silent."""
    monkeypatch.setattr(feed, "_RECENT_BLOCKS", 1)
    monkeypatch.setattr(stream, "PING_S", 0.05)
    may_read = asyncio.Event()

    async def reading(*arguments: Any) -> Chunk:
        await may_read.wait()
        return await chunk_reader.read_chunk(*arguments)

    monkeypatch.setattr(replays, "read_chunk", reading)
    async with opened(live, "1") as response, asyncio.timeout(10):
        received, text = Received(), b""
        while text.count(b": ping\nid: 1\n") < 3:
            text += await response.content.readany()
        may_read.set()
        received.feed(text)
        await receive(response, received, "3")
        assert received.ids == everything(range(1, 3))


async def test_where_a_stream_can_be_resumed(
    client: AsyncMongoClient[Any],
    store: LedgerStore,
    database_name: str,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chain = Chain(store, 5)
    await chain.mint(4)
    options = Options(head_age_s=0.0, replay_blocks=2)
    async with running_api(client, {CHANNEL: database_name}, options) as api:
        for last_id in ("7", "7.0.t", "7.4.e", "8.1048575.e", "9"):
            resumed = await read(api, last_id, "9")
            assert resumed.messages[0].id == last_id
            assert resumed.ids == [
                id_ for id_ in everything(range(5, 9)) if order(id_) > order(last_id)
            ]
        refusals = {
            "replay-too-old": ("0", "6", "6.0.e"),
            "replay-ahead": ("9.0.t", "10", str(MAX_BLOCK_NUMBER)),
        }
        for name, last_ids in refusals.items():
            for last_id in last_ids:
                problem = await api.problem(f"{STREAM}?lastEventId={last_id}", 409, name)
                assert problem.headers["Ledger-Height"] == "9"
        no_ids = (
            "",
            "07",
            "7.0",
            "7.0.x",
            "7.0.t.",
            "+7",
            "-1",
            "7.00.t",
            "7.1048576.t",
            "x",
            "7, 8",
        )
        for text in (*no_ids, str(MAX_BLOCK_NUMBER + 1)):
            problem = await api.problem(
                f"{STREAM}?{urlencode({'lastEventId': text})}", 400, "invalid-parameter"
            )
            assert problem.json["parameter"] == "lastEventId"
            refused = await api.request("GET", STREAM, {"Last-Event-ID": text})
            assert (refused.status, refused.json["parameter"]) == (400, "Last-Event-ID")
        both = await read(api, "8", "9", {"lastEventId": "7"})  # as browsers come back
        assert both.messages[0].id == "8"
    async with running_api(client, {CHANNEL: database_name}) as api:
        assert (await read(api, "5", "9")).ids == everything(range(5, 9))
        await api.problem(
            f"{STREAM}?lastEventId=4", 409, "replay-too-old"
        )  # what is stored begins with block 5
    monkeypatch.setattr(feed, "_RECENT_TRANSACTIONS", 0)
    async with Redis.from_url(redis_url) as redis:
        slow_to_hear = Options(head_age_s=60.0)
        async with running_api(client, {CHANNEL: database_name}, slow_to_hear, redis=redis) as api:
            assert (await read(api, "5", "9")).ids == everything(range(5, 9))
            await chain.mint()
            assert (await read(api, "10", "10")).messages[0].data["height"] == 10


@pytest.mark.parametrize("late", [False, True])
async def test_a_ledger_that_is_empty_may_begin_anywhere(
    api: Api, store: LedgerStore, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """Whether or not the shared messages are read from before its first block on."""
    may_begin, patiently = asyncio.Event(), feed._patiently

    async def reading(read: Any) -> Any:
        await may_begin.wait()
        return await patiently(read)

    monkeypatch.setattr(feed, "_patiently", reading)
    async with opened(api) as response:
        received = Received()
        await receive(response, received, "0")
        if not late:
            may_begin.set()
            await asyncio.sleep(0.1)
        await Chain(store, 7).mint(2)
        may_begin.set()
        await receive(response, received, "9")
        assert received.ids == everything([7, 8])


async def test_parameters_that_are_refused(live: Api) -> None:
    for query in (
        "types=blocks",
        "types=",
        "types=block,block",
        "chaincode=" + "x" * 1024,
        "limit=1",
    ):
        response = await live.request("GET", f"{STREAM}?{query}")
        assert (response.status, response.json["parameter"]) == (400, query.partition("=")[0])


async def test_only_so_many_streams(
    client: AsyncMongoClient[Any], chain: Chain, database_name: str
) -> None:
    """In all, and from one address; who leaves makes room."""
    options = Options(
        head_age_s=0.0, streams=3, streams_per_client=2, trusted_proxies=("127.0.0.0/8",)
    )
    async with (
        running_api(client, {CHANNEL: database_name}, options) as api,
        AsyncExitStack() as stack,
    ):

        async def come(address: str) -> aiohttp.ClientResponse:
            headers = {"X-Forwarded-For": address}
            return await stack.enter_async_context(
                api.session.get(api.base + STREAM, headers=headers)
            )

        first = await come("192.0.2.1")
        assert [
            (await come(address)).status for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2")
        ] == [200, 429, 200]
        refused = await come("192.0.2.3")
        assert refused.status == 429
        assert int(refused.headers["Retry-After"]) > 0
        assert (await refused.json(content_type=None))["type"].endswith(":too-many-streams")
        first.close()
        async with asyncio.timeout(2):
            while (await come("192.0.2.3")).status != 200:
                pass
        assert (await come("192.0.2.1")).status == 429


async def test_a_large_block_is_told_piece_by_piece(live: Api, chain: Chain) -> None:
    """To a client that is there, and to one that comes back in the middle of it."""
    expected = everything([3], 600)
    async with opened(live) as response:
        received = Received()
        await receive(response, received, "3")
        await chain.mint(transactions=600, payload=b"x" * 1000)
        await receive(response, received, "4")
        assert received.ids == expected
    for place in (0, 200, 201, 1199):
        assert (await read(live, expected[place], "4")).ids == expected[place + 1 :]


async def test_a_client_that_was_alone_leaves_and_comes_back(
    live: Api, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile nothing more was read of the block."""
    monkeypatch.setattr(chunk_reader, "CHUNK_BYTES", 1000)
    async with opened(live) as response:
        received = Received()
        await receive(response, received, "3")
        await chain.mint(transactions=100, payload=b"x" * 1000)
        while not received.ids:
            received.feed(await response.content.readany())
    await asyncio.sleep(0.1)
    again = await read(live, received.last_id, "4")
    assert received.ids + again.ids == everything([3], 100)


@pytest.fixture
async def apis(
    client: AsyncMongoClient[Any], store: LedgerStore, database_name: str
) -> AsyncIterator[list[Api]]:
    """Of the same channel; one has hardly a buffer, one a small one."""
    async with AsyncExitStack() as stack:
        options = [
            Options(head_age_s=0.0, stream_buffer_bytes=size) for size in (1, 10_000, 1 << 25)
        ]
        yield [
            await stack.enter_async_context(running_api(client, {CHANNEL: database_name}, each))
            for each in options
        ]


@settings(max_examples=20, database=None)
@given(sessions=_SESSIONS, which=st.integers(0, 2), small=st.booleans())
async def test_each_message_comes_once_and_in_order_wherever_streams_are_cut(
    apis: list[Api],
    store: LedgerStore,
    monkeypatch: pytest.MonkeyPatch,
    sessions: list[Session],
    which: int,
    small: bool,
) -> None:
    await comes_once(apis[which], store, monkeypatch, sessions, small)


@pytest.mark.long
@pytest.mark.timeout(900)
@settings(max_examples=400, derandomize=True, database=None)
@given(sessions=_SESSIONS, which=st.integers(0, 2), small=st.booleans())
async def test_each_message_comes_once_and_in_order_at_length(
    apis: list[Api],
    store: LedgerStore,
    monkeypatch: pytest.MonkeyPatch,
    sessions: list[Session],
    which: int,
    small: bool,
) -> None:
    """The same, for minutes."""
    await comes_once(apis[which], store, monkeypatch, sessions, small)


async def comes_once(
    api: Api,
    store: LedgerStore,
    monkeypatch: pytest.MonkeyPatch,
    sessions: list[Session],
    small: bool,
) -> None:
    """A client loses its connection now and then, and comes back with its last id and perhaps other filters.

    Meanwhile the chain grows. Messages come from the buffer, from MongoDB, and from one after the other.
    """
    monkeypatch.setattr(stream, "PING_S", 0.02)
    monkeypatch.setattr(chunk_reader, "CHUNK_BYTES", 1000 if small else 1 << 16)
    for module in (feed, stream):
        monkeypatch.setattr(module, "FIRST_LIMITS", dict.fromkeys(KINDS, 1 if small else 100))
    chain = Chain(store, (await api.channel("/blocks", limit=1))["height"])
    first, last_id = chain.height, str(chain.height)
    had: list[tuple[dict[str, str], str, Received]] = []

    async def session(query: dict[str, str], cut: int | None, until: int) -> str:
        received = await read_cut(api, last_id, query, cut, str(until))
        had.append((query, last_id, received))
        assert received.last_id is not None
        return received.last_id

    for blocks, query, cut in sessions:
        numbered = enumerate(blocks, chain.height)
        made = [
            [made_of(i, f"{n}-{i}", spec) for i, spec in enumerate(specs)] for n, specs in numbered
        ]
        growing = asyncio.create_task(chain.grow(made)) if made else None
        last_id = await session(query, cut, chain.height + len(made))
        if growing is not None:
            await growing
    while last_id != str(chain.height):
        last_id = await session({}, None, chain.height)

    expected = await listed(api, first)
    for query, start, received in had:
        assert received.last_id is not None
        between = [m for m in expected if order(start) < order(m.id) <= order(received.last_id)]
        assert received.told == [m for m in between if selected(m, query)]


def made_of(index: int, tx_id: str, spec: Spec) -> Transaction:
    chaincode, name, code, payload = spec
    event = ChaincodeEvent(chaincode, tx_id, name, _PAYLOADS[payload]) if name is not None else None
    actions = (action(chaincode=Chaincode(chaincode, "1.0"), event=event),)
    return transaction(index, tx_id, code, chaincode_id=chaincode, actions=actions)


async def read_cut(
    api: Api, last_id: str, query: dict[str, str], cut: int | None, until: str
) -> Received:
    """What came until that id had come, the stream ended, or after so many bytes."""
    received = Received(last_id)
    left = cut if cut is not None else 1 << 30
    async with opened(api, last_id, query) as response, asyncio.timeout(10):
        while received.last_id != until and left > 0:
            data = (await response.content.readany())[:left]
            if not data:
                break
            left -= len(data)
            received.feed(data)
    return received


async def listed(api: Api, first: int) -> list[Message]:
    """What the lists say of blocks from `first` on, as a stream tells it."""
    blocks = await api.items("/blocks", order="asc", number__ge=first)
    transactions = await api.items("/transactions", order="asc", block__ge=first)
    events = await api.items("/events", order="asc", block__ge=first)
    found = [Message("block", str(row["number"] + 1), row) for row in blocks]
    found += [
        Message("transaction", f"{row['block']}.{row['txIndex']}.t", row) for row in transactions
    ]
    found += [
        Message("event", f"{row['block']}.{row['txIndex']}.e", shortened(row)) for row in events
    ]
    return sorted(found, key=lambda message: order(message.id))


def shortened(row: Json) -> Json:
    payload = row["payload"]
    if not isinstance(payload, str) or len(payload) <= 1 << 16:
        return row
    omitted = {"sha256": sha256(payload.encode()).hexdigest(), "size": len(payload)}
    return row | {"payload": omitted, "encoding": "omitted"}


def selected(message: Message, query: dict[str, str]) -> bool:
    if message.name not in query.get("types", "block,transaction,event").split(","):
        return False
    if message.name != "block" and query.get("chaincode") not in (None, message.data["chaincode"]):
        return False
    return message.name != "event" or query.get("event") in (None, message.data["name"])
