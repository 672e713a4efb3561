"""The totals are exactly those of the blocks up to a request's head.

The head, the ledger and MongoDB change meanwhile.
"""

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
from tests.clock import Clock
from tests.eventually import eventually
from tests.explorer_api.proxies import door_to
from tests.explorer_api.support import (
    CHANNEL,
    Api,
    C,
    Json,
    append,
    block,
    running_api,
    transaction,
    with_event,
)

STATS = f"{C}/stats"
WAIT_S = 30.0


def numbered_block(number: int, fork: bytes = b"") -> Block:
    """Return a block whose totals differ from those of every other block."""
    when = Timestamp(1_750_000_000 + 1800 * number, 0)
    transactions = [
        transaction(i, f"{fork!r}{number}-{i}", timestamp=when) for i in range(number + 1)
    ]
    return block(
        number, [with_event(number + 1, f"{fork!r}{number}", "Mint", b"{}"), *transactions], fork
    )


def summarise(totals: ChannelTotals) -> tuple[int, int, int, int]:
    """Return the numbers of blocks, transactions, events and hours; all breakdowns must agree."""
    blocks = totals.blocks
    (transactions,) = {
        blocks.totals.transactions,
        sum(blocks.statuses.values()),
        sum(chaincode.transactions for chaincode in blocks.chaincodes.values()),
        sum(hour.transactions for hour in blocks.hours.values()),
    }
    assert totals.events.get("token", 0) == blocks.totals.events
    return blocks.totals.blocks, transactions, blocks.totals.events, len(blocks.hours)


def expected(first: int, height: int) -> tuple[int, int, int, int]:
    numbers = range(first, height)
    return len(numbers), sum(n + 2 for n in numbers), len(numbers), len({n // 2 for n in numbers})


@asynccontextmanager
async def following(totals: RunningTotals) -> AsyncIterator[None]:
    task = asyncio.create_task(totals.follow())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_totals_of_every_recent_head_stay_known(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    """This includes heads at which no part ends, and holds after older parts were merged."""
    reader, clock = LedgerReader(client, database_name), Clock()
    watch = HeadWatch(reader, max_age_s=0.0)
    totals = RunningTotals(reader, watch, blocks_per_step=4, clock=clock)
    seen: list[HeadSnapshot] = []
    async with following(totals):
        for height in range(3, 16):
            await append(
                client,
                database_name,
                [numbered_block(n) for n in range(2 if height == 3 else height - 1, height)],
            )
            seen.append(await watch.read_now())
            if height in (9, 12, 15):  # no part ends at the other heights
                for snapshot in reversed(seen):
                    up_to_head = await totals.up_to(snapshot, WAIT_S)
                    assert summarise(up_to_head) == expected(2, snapshot.height), snapshot.height
                clock.now += 20.0
        clock.now += 100.0
        await append(client, database_name, [numbered_block(15)])
        assert summarise(await totals.up_to(await watch.read_now(), WAIT_S)) == expected(2, 16)
        with pytest.raises(TotalsNotReadyError):  # the parts up to it are merged
            await totals.up_to(seen[0], 0.1)


async def test_an_early_request_gets_the_progress(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    await append(client, database_name, [numbered_block(n) for n in range(2, 7)])
    reader = LedgerReader(client, database_name)
    watch = HeadWatch(reader, max_age_s=10.0)
    totals = RunningTotals(reader, watch)
    snapshot = await watch.recent()
    with pytest.raises(TotalsNotReadyError) as caught:
        await totals.up_to(snapshot, 0.05)
    problem = caught.value
    assert (problem.status, problem.name) == (503, "totals-not-ready")
    assert int(problem.headers["Retry-After"]) > 0
    assert problem.members == {"counted": 0, "blocks": 5}
    waiting = asyncio.create_task(totals.up_to(snapshot, WAIT_S))
    async with following(totals):
        assert summarise(await waiting) == expected(2, 7)


@pytest.mark.parametrize(
    ("height", "same_beginning"), [(3, True), (5, True), (9, True), (9, False)]
)
async def test_a_reindexed_ledger_is_counted_again(
    client: AsyncMongoClient[Any], database_name: str, height: int, same_beginning: bool
) -> None:
    """The new ledger may have the same first block, and any height."""
    await append(client, database_name, [numbered_block(n) for n in range(5)])
    reader = LedgerReader(client, database_name)
    watch = HeadWatch(reader, max_age_s=10.0)
    totals = RunningTotals(reader, watch)
    async with following(totals):
        assert summarise(await totals.up_to(await watch.recent(), WAIT_S)) == expected(0, 5)
    for name in (TRANSACTIONS, EVENTS, BLOCKS):
        await client[database_name][name].delete_many({})
    fork = [block(n, [transaction(0, f"{n}")], b"fork") for n in range(1, height)]
    await append(
        client, database_name, [numbered_block(0, b"" if same_beginning else b"fork"), *fork]
    )
    async with following(totals):
        assert summarise(await totals.up_to(await watch.read_now(), WAIT_S))[:2] == (
            height,
            2 + len(fork),
        )


async def test_a_new_process_counts_only_what_is_not_in_redis(
    client: AsyncMongoClient[Any], database_name: str, redis_url: str
) -> None:
    async def count() -> ChannelTotals:
        """Count in a process that starts now."""
        reader = LedgerReader(client, database_name)
        watch = HeadWatch(reader, max_age_s=10.0)
        totals = RunningTotals(
            reader, watch, RedisCache(redis, f"test:{database_name}"), blocks_per_step=4
        )
        async with following(totals):
            return await totals.up_to(await watch.read_now(), WAIT_S)

    async def counted() -> tuple[int, int, int, int]:
        return summarise(await count())

    async with redis_client(redis_url) as redis:
        await append(client, database_name, [numbered_block(n) for n in range(2, 15)])
        assert await counted() == expected(2, 15)
        keys = await redis.keys(f"test:{database_name}:totals:*")
        assert len(keys) == 3, "2 to 3, 4 to 7, 8 to 11"
        assert all([await redis.ttl(key) > 0 for key in keys])
        blocks, lost = client[database_name][BLOCKS], {"_id": {"$in": [5, 6, 8]}}
        documents = await blocks.find(lost).to_list()
        await blocks.delete_many(lost)
        assert await counted() == expected(2, 15), "ranges in Redis are not read again"
        for key in keys:
            await redis.set(key, b"something else")
        assert (await count()).blocks.totals.blocks == 10, "three blocks are lost"
        await blocks.insert_many(documents)
        assert await counted() == expected(2, 15), "an incomplete range is not stored in Redis"
        for name in (TRANSACTIONS, EVENTS, BLOCKS):
            await client[database_name][name].delete_many({})
        await append(
            client,
            database_name,
            [numbered_block(2), *(block(n, [], b"fork") for n in range(3, 15))],
        )
        assert (await counted())[:3] == (13, 4, 1)


async def test_the_number_of_counted_names_is_bounded(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    names = ["b", "a", "x" * 2000, *(f"invented {n}" for n in range(9)), "a"]
    await append(
        client,
        database_name,
        [block(n, [transaction(0, f"{n}", 9, chaincode_id=c)]) for n, c in enumerate(names)],
    )
    reader = LedgerReader(client, database_name)
    watch = HeadWatch(reader, max_age_s=10.0)
    totals = RunningTotals(reader, watch, blocks_per_step=2, max_names=3)
    async with following(totals):
        counted = (await totals.up_to(await watch.recent(), WAIT_S)).blocks.chaincodes
    assert {name: one.transactions for name, one in counted.items()} == {
        "b": 1,
        "a": 2,
        "invented 0": 1,
        None: 9,
    }


async def test_totals_and_height_agree_while_blocks_arrive(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    await append(client, database_name, [numbered_block(0)])
    written = asyncio.Event()

    async def write() -> None:
        for number in range(1, 25):
            await append(client, database_name, [numbered_block(number)])
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
    assert all(len(read_heights) > 2 for read_heights in heights)


async def test_an_outage_of_mongodb_changes_no_total(
    mongo_uri: str, client: AsyncMongoClient[Any], database_name: str
) -> None:
    await append(client, database_name, [numbered_block(n) for n in range(5)])
    options = Options(seconds_per_request=2.0, head_age_s=0.1)
    async with (
        door_to(mongo_uri) as (door, uri),
        AsyncMongoClient[Any](uri) as distant,
        running_api(distant, {CHANNEL: database_name}, options) as api,
    ):
        assert (await api.channel("/stats"))["transactions"] == expected(0, 5)[1]
        door.shut()
        await append(client, database_name, [numbered_block(n) for n in range(5, 9)])
        await asyncio.sleep(0.2)
        assert (await api.request("GET", STATS)).status == 503
        door.open = True
        response = await eventually(
            lambda: api.request("GET", STATS), lambda response: response.status != 503
        )
        assert (response.json["height"], response.json["transactions"]) == (9, expected(0, 9)[1])


async def test_an_error_reaches_the_waiting_request(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    """For example, while the daemon still builds an index."""
    await append(client, database_name, [numbered_block(n) for n in range(5)])
    await client[database_name][EVENTS].drop_index("chaincodeId_1__id_1")
    reader = LedgerReader(client, database_name)
    watch = HeadWatch(reader, max_age_s=10.0)
    totals = RunningTotals(reader, watch)
    snapshot = await watch.recent()
    async with following(totals):
        with pytest.raises(OperationFailure):
            await totals.up_to(snapshot, WAIT_S)
        await LedgerStore(client, database_name).prepare()
        assert summarise(await totals.up_to(snapshot, WAIT_S)) == expected(0, 5)
