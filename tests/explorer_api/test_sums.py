"""Sums stay those of the blocks up to a request's head, whatever happens to the head, the ledger and MongoDB."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure

from cli.assembly.redis import redis_client
from explorer_api.live.channel_totals import ChannelTotals, TotalsNotReadyError
from explorer_api.live.heads import HeadSnapshot, HeadWatch
from explorer_api.live.redis_cache import RedisCache
from explorer_api.live.running_totals import RunningTotals
from explorer_api.options import Options
from ledger.model import Block, Timestamp
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.reader import LedgerReader
from ledger.mongodb.store import LedgerStore
from tests.explorer_api.support import (
    CHANNEL,
    Api,
    Json,
    append,
    block,
    running_api,
    transaction,
    with_event,
)

PATIENCE_S = 5.0


def some(number: int, fork: bytes = b"") -> Block:
    """A block whose figures no other one has."""
    when = Timestamp(1_750_000_000 + 1800 * number, 0)
    transactions = [
        transaction(i, f"{fork!r}{number}-{i}", timestamp=when) for i in range(number + 1)
    ]
    return block(
        number, [with_event(number + 1, f"{fork!r}{number}", "Mint", b"{}"), *transactions], fork
    )


def figures(counted: ChannelTotals) -> tuple[int, int, int, int]:
    """Blocks, transactions in three ways, which must be equal, events, and hours."""
    sums = counted.blocks
    ways = {
        sums.totals.transactions,
        sum(sums.statuses.values()),
        sum(c.transactions for c in sums.chaincodes.values()),
    }
    ways.add(sum(totals.transactions for totals in sums.hours.values()))
    (transactions,) = ways
    assert counted.events.get("token", 0) == sums.totals.events
    return sums.totals.blocks, transactions, sums.totals.events, len(sums.hours)


def expected(first: int, height: int) -> tuple[int, int, int, int]:
    numbers = range(first, height)
    return len(numbers), sum(n + 2 for n in numbers), len(numbers), len({n // 2 for n in numbers})


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def running(sums: RunningTotals) -> AsyncIterator[None]:
    task = asyncio.create_task(sums.follow())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_every_head_that_was_seen_keeps_its_sums(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    """Also those that counting passed over, and while older parts are put together."""
    reader, clock = LedgerReader(client, database_name), Clock()
    watch = HeadWatch(reader, max_age_s=0.0)
    sums = RunningTotals(reader, watch, blocks_per_step=4, clock=clock)
    seen: list[HeadSnapshot] = []
    async with running(sums):
        for height in range(3, 16):
            await append(
                client,
                database_name,
                [some(n) for n in range(2 if height == 3 else height - 1, height)],
            )
            seen.append(await watch.read_now())
            if height in (9, 12, 15):  # the others are passed over
                for snapshot in reversed(seen):
                    counted = await sums.up_to(snapshot, PATIENCE_S)
                    assert figures(counted) == expected(2, snapshot.height), snapshot.height
                clock.now += 20.0
        clock.now += 100.0
        await append(client, database_name, [some(15)])
        assert figures(await sums.up_to(await watch.read_now(), PATIENCE_S)) == expected(2, 16)
        with pytest.raises(TotalsNotReadyError):  # so old that it is forgotten
            await sums.up_to(seen[0], 0.1)


async def test_a_request_that_comes_too_early_is_told_how_far_it_is(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    await append(client, database_name, [some(n) for n in range(2, 7)])
    reader = LedgerReader(client, database_name)
    watch = HeadWatch(reader, max_age_s=10.0)
    sums = RunningTotals(reader, watch)
    snapshot = await watch.fresh()
    with pytest.raises(TotalsNotReadyError) as caught:
        await sums.up_to(snapshot, 0.05)
    problem = caught.value
    assert (problem.status, problem.name) == (503, "totals-not-ready")
    assert int(problem.headers["Retry-After"]) > 0
    assert problem.members == {"counted": 0, "blocks": 5}
    waiting = asyncio.create_task(sums.up_to(snapshot, PATIENCE_S))
    async with running(sums):
        assert figures(await waiting) == expected(2, 7)


@pytest.mark.parametrize(
    ("height", "same_beginning"), [(3, True), (5, True), (9, True), (9, False)]
)
async def test_a_ledger_that_is_indexed_anew_is_counted_anew(
    client: AsyncMongoClient[Any], database_name: str, height: int, same_beginning: bool
) -> None:
    """Whether or not its first block is the same one, and whatever its height."""
    await append(client, database_name, [some(n) for n in range(5)])
    reader = LedgerReader(client, database_name)
    watch = HeadWatch(reader, max_age_s=10.0)
    sums = RunningTotals(reader, watch)
    async with running(sums):
        assert figures(await sums.up_to(await watch.fresh(), PATIENCE_S)) == expected(0, 5)
    for name in (TRANSACTIONS, EVENTS, BLOCKS):
        await client[database_name][name].delete_many({})
    fork = [block(n, [transaction(0, f"{n}")], b"fork") for n in range(1, height)]
    await append(client, database_name, [some(0, b"" if same_beginning else b"fork"), *fork])
    async with running(sums):
        assert figures(await sums.up_to(await watch.read_now(), PATIENCE_S))[:2] == (
            height,
            2 + len(fork),
        )


async def test_a_service_that_starts_counts_only_what_no_other_did(
    client: AsyncMongoClient[Any], database_name: str, redis_url: str
) -> None:
    async def count() -> ChannelTotals:
        """By a service that starts now."""
        reader = LedgerReader(client, database_name)
        watch = HeadWatch(reader, max_age_s=10.0)
        sums = RunningTotals(
            reader, watch, RedisCache(redis, f"test:{database_name}"), blocks_per_step=4
        )
        async with running(sums):
            return await sums.up_to(await watch.read_now(), PATIENCE_S)

    async def counted() -> tuple[int, int, int, int]:
        return figures(await count())

    async with redis_client(redis_url) as redis:
        await append(client, database_name, [some(n) for n in range(2, 15)])
        assert await counted() == expected(2, 15)
        keys = await redis.keys(f"test:{database_name}:totals:*")
        assert len(keys) == 3, "2 to 3, 4 to 7, 8 to 11"
        assert all([await redis.ttl(key) > 0 for key in keys])
        blocks, lost = client[database_name][BLOCKS], {"_id": {"$in": [5, 6, 8]}}
        documents = await blocks.find(lost).to_list()
        await blocks.delete_many(lost)
        assert await counted() == expected(2, 15), "what is in Redis is not read again"
        for key in keys:
            await redis.set(key, b"something else")
        assert (await count()).blocks.totals.blocks == 10, "three are lost"
        await blocks.insert_many(documents)
        assert await counted() == expected(2, 15), "and what was counted without them is not kept"
        for name in (TRANSACTIONS, EVENTS, BLOCKS):
            await client[database_name][name].delete_many({})
        await append(
            client, database_name, [some(2), *(block(n, [], b"fork") for n in range(3, 15))]
        )
        assert (await counted())[:3] == (13, 4, 1)


async def test_names_that_clients_make_up_are_bounded(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    names = ["b", "a", "x" * 2000, *(f"made up {n}" for n in range(9)), "a"]
    await append(
        client,
        database_name,
        [block(n, [transaction(0, f"{n}", 9, chaincode_id=c)]) for n, c in enumerate(names)],
    )
    reader = LedgerReader(client, database_name)
    watch = HeadWatch(reader, max_age_s=10.0)
    sums = RunningTotals(reader, watch, blocks_per_step=2, max_names=3)
    async with running(sums):
        counted = (await sums.up_to(await watch.fresh(), PATIENCE_S)).blocks.chaincodes
    assert {name: one.transactions for name, one in counted.items()} == {
        "b": 1,
        "a": 2,
        "made up 0": 1,
        None: 9,
    }


async def test_sums_and_height_agree_while_blocks_arrive(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    await append(client, database_name, [some(0)])
    written = asyncio.Event()

    async def write() -> None:
        for number in range(1, 25):
            await append(client, database_name, [some(number)])
        written.set()

    async def read() -> set[int]:
        heights = set()
        since: Json = {"from": "2025-06-15T00:00:00Z"}
        while not written.is_set():
            stats = await api.channel("/stats")
            blocks, transactions, events, _ = expected(0, stats["height"])
            assert (stats["blocks"], stats["transactions"], stats["events"]) == (
                blocks,
                transactions,
                events,
            )
            assert stats["chaincodes"] == [
                {"name": "token", "transactions": transactions, "events": events}
            ]
            series = await api.channel("/stats/series", **since)
            assert series["total"] == expected(0, series["height"])[1]
            heights |= {stats["height"], series["height"]}
        return heights

    _, *heights = await asyncio.gather(write(), read(), read())
    assert all(len(found) > 2 for found in heights)


class Door:
    """Lets connections through to a server, or shuts it off."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []
        self.open = True

    async def enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.open:
            writer.transport.abort()
            return
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, inner_writer]
        await asyncio.gather(
            _pass(reader, inner_writer), _pass(inner_reader, writer), return_exceptions=True
        )

    def shut(self) -> None:
        self.open = False
        for writer in self._writers:
            writer.transport.abort()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.transport.abort()


@asynccontextmanager
async def door_to(uri: str) -> AsyncIterator[tuple[Door, str]]:
    door = Door(int(uri.partition("://")[2].partition("/")[0].rpartition(":")[2]))
    server = await asyncio.start_server(door.enter, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield (
            door,
            f"mongodb://127.0.0.1:{port}/?directConnection=true&serverSelectionTimeoutMS=200",
        )
    finally:
        door.shut()
        server.close()


async def test_mongodb_away_for_a_while_changes_nothing(
    mongo_uri: str, client: AsyncMongoClient[Any], database_name: str
) -> None:
    await append(client, database_name, [some(n) for n in range(5)])
    options = Options(seconds_per_request=0.5, head_age_s=0.1)
    async with (
        door_to(mongo_uri) as (door, uri),
        AsyncMongoClient[Any](uri) as distant,
        running_api(distant, {CHANNEL: database_name}, options) as api,
    ):
        assert (await api.channel("/stats"))["transactions"] == expected(0, 5)[1]
        door.shut()
        await append(client, database_name, [some(n) for n in range(5, 9)])
        await asyncio.sleep(0.2)
        away = await api.request("GET", f"/api/v1/channels/{CHANNEL}/stats")
        assert away.status == 503
        door.open = True
        async with asyncio.timeout(10):
            while (
                back := await api.request("GET", f"/api/v1/channels/{CHANNEL}/stats")
            ).status == 503:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert (back.json["height"], back.json["transactions"]) == (9, expected(0, 9)[1])


async def test_an_error_reaches_the_request_that_waits(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    """As where the daemon still builds an index, and is soon done."""
    await append(client, database_name, [some(n) for n in range(5)])
    await client[database_name][EVENTS].drop_index("chaincodeId_1__id_1")
    reader = LedgerReader(client, database_name)
    watch = HeadWatch(reader, max_age_s=10.0)
    sums = RunningTotals(reader, watch)
    snapshot = await watch.fresh()
    async with running(sums):
        with pytest.raises(OperationFailure):
            await sums.up_to(snapshot, PATIENCE_S)
        await LedgerStore(client, database_name).prepare()
        assert figures(await sums.up_to(snapshot, PATIENCE_S)) == expected(0, 5)
