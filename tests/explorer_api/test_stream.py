"""The live stream of a channel: its messages, where it can be resumed, and its limits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from explorer_api.options import ChunkLimits, Options, ServiceLimits, StreamLimits
from explorer_api.streams.chunks import Chunk
from explorer_api.streams.feed import Feed
from explorer_api.streams.replays import Replays
from ledger.mongodb.store import LedgerStore
from ledger.position import MAX_BLOCK_NUMBER
from tests.eventually import LIMIT_S, eventually
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
from tests.explorer_api.support import CHANNEL, Api, running_api


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
        state = {
            "height": 3,
            "agreedHeight": 3,
            "peerHeight": None,
            "lagBlocks": None,
            "state": None,
        }
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


def fast_pings(ping_s: float = 0.05, **limits: Any) -> ServiceLimits:
    return ServiceLimits(streams=StreamLimits(ping_s=ping_s, **limits))


async def test_a_ping_moves_the_position_where_the_filter_takes_nothing(
    client: AsyncMongoClient[Any], chain: Chain, database_name: str
) -> None:
    await chain.mint(3)
    query = {"types": "event", "event": "Burn"}
    async with running_api(client, {CHANNEL: database_name}, limits=fast_pings()) as api:
        async with opened(api, query=query) as response:
            received = Received()
            await receive(response, received, "3")
            await chain.mint(2)
            await receive(response, received, "5")
            assert received.ledger_messages == []
        async with opened(api, received.last_id, query) as response:
            again = Received()
            await receive(response, again, "5")
            assert again.messages[0].id == "5"


async def test_a_client_that_waits_for_earlier_messages_is_pinged(
    client: AsyncMongoClient[Any],
    chain: Chain,
    database_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Many clients may wait for their turn, and proxies close silent connections."""
    await chain.mint(3)
    may_read, read_chunk = asyncio.Event(), Replays.chunk

    async def read_later(*arguments: Any, **named: Any) -> Chunk:
        await may_read.wait()
        return await read_chunk(*arguments, **named)

    monkeypatch.setattr(Replays, "chunk", read_later)
    limits = fast_pings(recent_blocks=1)
    async with (
        running_api(client, {CHANNEL: database_name}, limits=limits) as api,
        opened(api, "1") as response,
        asyncio.timeout(LIMIT_S),
    ):
        received, text = Received(), b""
        while text.count(b": ping\nid: 1\n") < 3:
            text += await response.content.readany()
        may_read.set()
        received.feed(text)
        await receive(response, received, "3")
        assert received.ids == everything(range(1, 3))


async def test_a_stream_can_be_resumed_only_within_the_blocks_that_are_kept(
    client: AsyncMongoClient[Any],
    store: LedgerStore,
    database_name: str,
    redis_url: str,
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
    no_recent_blocks = ServiceLimits(streams=StreamLimits(recent_transactions=0))
    async with Redis.from_url(redis_url) as redis:
        slow_to_hear = Options(head_age_s=60.0)
        async with running_api(
            client,
            {CHANNEL: database_name},
            slow_to_hear,
            redis=redis,
            limits=no_recent_blocks,
        ) as api:
            assert (await read(api, "5", "9")).ids == everything(range(5, 9))
            await chain.mint()
            assert (await read(api, "10", "10")).messages[0].data["height"] == 10


@pytest.mark.parametrize("late", [False, True])
async def test_a_ledger_that_is_empty_may_begin_anywhere(
    client: AsyncMongoClient[Any],
    store: LedgerStore,
    database_name: str,
    monkeypatch: pytest.MonkeyPatch,
    late: bool,
) -> None:
    """It does not matter whether the feed begins to read before or after the first block."""
    may_begin, follow = asyncio.Event(), Feed.follow

    async def follow_later(feed: Feed) -> None:
        await may_begin.wait()
        await follow(feed)

    monkeypatch.setattr(Feed, "follow", follow_later)
    async with (
        running_api(client, {CHANNEL: database_name}) as api,
        opened(api) as response,
    ):
        received = Received()
        await receive(response, received, "0")
        if not late:
            may_begin.set()
            await asyncio.sleep(0.1)
        await Chain(store, 7).mint(2)
        may_begin.set()
        await receive(response, received, "9")
        assert received.ids == everything([7, 8])


async def test_wrong_parameters_are_refused(live: Api) -> None:
    for query in (
        "types=blocks",
        "types=",
        "types=block,block",
        "chaincode=" + "x" * 1024,
        "limit=1",
    ):
        response = await live.request("GET", f"{STREAM}?{query}")
        assert (response.status, response.json["parameter"]) == (400, query.partition("=")[0])


async def test_the_number_of_streams_is_limited(
    client: AsyncMongoClient[Any], chain: Chain, database_name: str
) -> None:
    """The limits are for all streams and for each address; a closed stream makes room."""
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
        await eventually(
            lambda: come("192.0.2.3"),
            lambda response: response.status == 200,
            describe="a stream can be opened again",
        )
        assert (await come("192.0.2.1")).status == 429


async def test_a_large_block_is_told_piece_by_piece(live: Api, chain: Chain) -> None:
    """To a connected client, and to one that resumes the stream in the middle of the block."""
    expected = everything([3], 600)
    async with opened(live) as response:
        received = Received()
        await receive(response, received, "3")
        await chain.mint(transactions=600, payload=b"x" * 1000)
        await receive(response, received, "4")
        assert received.ids == expected
    for index in (0, 200, 201, 1199):
        assert (await read(live, expected[index], "4")).ids == expected[index + 1 :]


async def test_the_only_client_disconnects_and_resumes_the_stream(
    client: AsyncMongoClient[Any], chain: Chain, database_name: str
) -> None:
    """Between the two connections, the feed reads no more of the block."""
    await chain.mint(3)
    limits = ServiceLimits(streams=StreamLimits(chunks=ChunkLimits(max_bytes=1000)))
    async with running_api(client, {CHANNEL: database_name}, limits=limits) as api:
        async with opened(api) as response:
            received = Received()
            await receive(response, received, "3")
            await chain.mint(transactions=100, payload=b"x" * 1000)
            while not received.ids:
                received.feed(await response.content.readany())
        await asyncio.sleep(0.1)
        again = await read(api, received.last_id, "4")
        assert received.ids + again.ids == everything([3], 100)
