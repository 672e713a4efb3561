"""Streams with slow or many clients, and the reasons for which streams end."""

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from pymongo import AsyncMongoClient
from pymongo.uri_parser import parse_uri

from explorer_api.app import create_app, serve
from explorer_api.options import Options, ServiceLimits, StreamLimits
from ledger.mongodb.collections import BLOCKS
from ledger.mongodb.store import LedgerStore
from tests.eventually import eventually
from tests.explorer_api.command_recorder import recorded_client
from tests.explorer_api.streams import Chain, Received, everything, opened, order, read, receive
from tests.explorer_api.support import CHANNEL, FRESH, Api, running_api

CLIENTS = 300
SHUTDOWN_S = 5.0
"""The service waits so long for connections; streams must end before."""


@asynccontextmanager
async def slow(api: Api) -> AsyncIterator[Api]:
    """Open a client with small buffers for data that it has not read."""

    def small(address: Any) -> socket.socket:
        made = socket.socket(*address[:3])
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        return made

    connector = aiohttp.TCPConnector(socket_factory=small)
    async with aiohttp.ClientSession(connector=connector, read_bufsize=1024) as session:
        yield Api(session, api.base)


async def metric(api: Api, name: str) -> float:
    line = re.search(rf"^{name} (\S+)$", (await api.get("/metrics")).body.decode(), re.MULTILINE)
    assert line
    return float(line[1])


async def test_a_slow_client_gets_lagged_and_can_resume_the_stream(
    client: AsyncMongoClient[Any], chain: Chain, database_name: str
) -> None:
    """Other clients are not affected."""
    expected = everything(range(40))
    options = Options(head_age_s=0.0, stream_buffer_bytes=400_000)
    async with running_api(client, {CHANNEL: database_name}, options) as api, slow(api) as sluggish:
        slow_received, quick_received = Received(), Received()
        async with opened(sluggish) as unread, opened(api) as response:
            await receive(unread, slow_received, "0")
            reading = asyncio.create_task(receive(response, quick_received, "40"))
            for _ in range(40):
                await chain.mint(payload=b"x" * 60_000)
            await reading
            assert quick_received.ids == expected
            await receive(unread, slow_received, None)
        lagged = slow_received.messages[-1]
        assert lagged.name == "lagged"
        assert lagged.data["position"] == lagged.id == slow_received.last_id
        assert order(lagged.id) < order(lagged.data["keptFrom"])
        assert 0 < len(slow_received.ids) < len(expected)
        rest = await read(api, slow_received.last_id, "40")
        assert slow_received.ids + rest.ids == expected
        assert await metric(api, "kindledger_api_streams_lagged_total") == 1


async def test_a_client_that_reads_nothing_is_disconnected(
    client: AsyncMongoClient[Any], chain: Chain, database_name: str
) -> None:
    limits = ServiceLimits(streams=StreamLimits(write_timeout_s=1.0))
    async with (
        running_api(client, {CHANNEL: database_name}, limits=limits) as api,
        slow(api) as sluggish,
    ):
        async with opened(sluggish) as unread, opened(api) as response:
            reading = asyncio.create_task(receive(response, Received(), "30"))
            for _ in range(30):
                await chain.mint(payload=b"x" * 60_000)
            await reading
            await eventually(lambda: metric(api, "kindledger_api_streams"), lambda n: n == 1)
            with pytest.raises(aiohttp.ClientPayloadError):
                await receive(unread, Received(), None)
        assert await metric(api, "kindledger_api_streams_lagged_total") == 1


async def test_many_clients_ask_mongodb_as_much_as_one_and_leave_nothing(
    mongo_uri: str, chain: Chain, database_name: str
) -> None:
    await chain.mint()
    async with (
        recorded_client(mongo_uri) as (client, commands),
        running_api(client, {CHANNEL: database_name}, Options(head_age_s=60.0)) as api,
    ):
        await api.channel()
        tasks = len(asyncio.all_tasks())

        async def finds(clients: int) -> int:
            async with AsyncExitStack() as stack:
                connector = aiohttp.TCPConnector(limit=0)
                session = await stack.enter_async_context(
                    aiohttp.ClientSession(connector=connector)
                )
                crowd = Api(session, api.base)
                responses = [await stack.enter_async_context(opened(crowd)) for _ in range(clients)]
                commands.clear()
                start = chain.height
                await chain.mint(transactions=5)
                deliveries = [Received() for _ in responses]
                await asyncio.gather(
                    *(
                        receive(r, t, str(chain.height))
                        for r, t in zip(responses, deliveries, strict=True)
                    )
                )
                assert all(each.ids == everything([start], 5) for each in deliveries)
                return commands.names.count("find")

        alone = await finds(1)
        assert await finds(CLIENTS) <= alone + 3  # the head may be read once more
        await eventually(lambda: metric(api, "kindledger_api_streams"), lambda n: n == 0)
        assert await metric(api, "kindledger_api_requests_in_progress") == 1  # this one
        await eventually(lambda: len(asyncio.all_tasks()), lambda count: count <= tasks)
        await chain.mint()
        commands.clear()
        await chain.mint()
        await eventually(
            lambda: metric(api, f'kindledger_api_channel_height{{channel="{CHANNEL}"}}'),
            lambda height: height == chain.height,
        )
        assert commands.names.count("find") < alone


async def test_many_clients_that_resume_streams_ask_mongodb_as_much_as_one(
    mongo_uri: str, chain: Chain, database_name: str
) -> None:
    """The clients need more messages than the feed of a restarted service has."""
    limits = ServiceLimits(streams=StreamLimits(recent_transactions=0))
    await chain.mint(20, payload=b"x" * 10_000)

    async def finds(clients: int) -> int:
        async with (
            recorded_client(mongo_uri) as (client, commands),
            running_api(
                client, {CHANNEL: database_name}, Options(head_age_s=60.0), limits=limits
            ) as api,
        ):
            await api.channel()
            commands.clear()
            deliveries = await asyncio.gather(*(read(api, "2", "20") for _ in range(clients)))
            assert all(each.ids == everything(range(2, 20)) for each in deliveries)
            return commands.names.count("find")

    assert await finds(50) <= await finds(1) + 3  # the head may be read once more


async def test_streams_end_at_once_with_the_service(
    client: AsyncMongoClient[Any], chain: Chain, database_name: str
) -> None:
    """Streams whose clients do not read end too."""
    runner, port = await serve(
        create_app(client, {CHANNEL: database_name}, version="1.2.3", options=FRESH), "127.0.0.1", 0
    )
    async with aiohttp.ClientSession() as session:
        api = Api(session, f"http://127.0.0.1:{port}")
        async with slow(api) as sluggish, opened(sluggish), opened(api) as response:
            received = Received()
            reading = asyncio.create_task(receive(response, received, None))
            for _ in range(20):
                await chain.mint(payload=b"x" * 60_000)
            await eventually(lambda: received.last_id, lambda last_id: last_id == "20")
            began = time.monotonic()
            await runner.cleanup()
            assert time.monotonic() - began < SHUTDOWN_S
            await reading  # the stream ended without an error


async def test_streams_end_when_the_database_holds_another_chain(
    api: Api, client: AsyncMongoClient[Any], chain: Chain, database_name: str
) -> None:
    await chain.mint(2)
    async with opened(api) as response:
        received = Received()
        await receive(response, received, "2")
        await client.drop_database(database_name)
        store = LedgerStore(client, database_name)
        await store.prepare()
        await Chain(store, 1).mint(4)
        await receive(response, received, None)
        assert received.ledger_messages == []
    assert (await read(api, "2", "5")).ids == everything(range(2, 5))
    await client[database_name][BLOCKS].delete_one({"_id": 3})
    async with (
        running_api(client, {CHANNEL: database_name}) as another,
        opened(another, "2") as response,
    ):
        received = Received()
        await receive(response, received, None)
        assert received.ledger_messages == []


class Forwarder:
    """Forwards connections to MongoDB until they are cut."""

    def __init__(self, uri: str) -> None:
        self._host, self._port = parse_uri(uri)["nodelist"][0]
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    @property
    def uri(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        await asyncio.gather(self._pipe(reader, far_writer), self._pipe(far_reader, writer))

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()
        self._writers.discard(writer)


async def test_live_streams_survive_an_outage_of_mongodb_and_replays_end(
    mongo_uri: str, chain: Chain, database_name: str
) -> None:
    limits = ServiceLimits(streams=StreamLimits(ping_s=0.1, read_timeout_s=0.5))
    await chain.mint(100)
    forwarder = Forwarder(mongo_uri)
    await forwarder.open()
    options = Options(head_age_s=30.0, seconds_per_request=1.0)
    async with (
        AsyncMongoClient[Any](forwarder.uri) as client,
        running_api(client, {CHANNEL: database_name}, options, limits=limits) as api,
        AsyncExitStack() as stack,
    ):
        await api.channel()
        await forwarder.cut()
        response = await stack.enter_async_context(opened(api))
        assert b": ping" in await response.content.readany() + await response.content.readany()
        await asyncio.sleep(0.3)
        received = Received("100")
        await forwarder.open()
        await chain.mint()
        await receive(response, received, "101")
        await forwarder.cut()
        async with opened(api, "3") as replay:
            ended = Received()
            await receive(replay, ended, None)
            assert [message.name for message in ended.messages] == ["state"]
        await chain.mint()
        assert b": ping" in await response.content.readany()
        await forwarder.open()
        await receive(response, received, "102")
        assert received.ids == everything([100, 101])
        assert (await read(api, "3", "102")).ids == everything(range(3, 102))
    await forwarder.cut()
