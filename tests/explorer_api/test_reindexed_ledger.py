"""A ledger that is dropped and indexed again: no response shows the earlier chain."""

import asyncio
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from explorer_api.options import Options, ServiceLimits
from ledger.head_topic import head_topic
from ledger.model import Block
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import write_sync_state
from tests.eventually import LIMIT_S, eventually
from tests.explorer_api.support import (
    CHANNEL,
    FRESH,
    Api,
    C,
    append,
    block,
    running_api,
    sync_state,
    transaction,
)
from tests.indexer.repairing import cut_off

PATHS = [
    "",
    "/blocks",
    "/blocks?order=asc&limit=2",
    "/blocks/2",
    "/blocks/latest",
    "/blocks/1/transactions",
    "/transactions",
    "/stats",
    "/stats/series?interval=day&metric=transactions",
]
CHAINS = [
    ("one", 6, "same"),
    ("two", 6, "same"),
    ("three", 4, "same"),
    ("four", 9, "same"),
    ("one", 6, "other"),
]
"""The name, the height and the first block of each chain: several begin with the same block."""


def chain(name: str, height: int, genesis: str) -> list[Block]:
    """Return blocks whose hashes and ids contain `name`; those of the first contain `genesis`."""
    names = [genesis, *[name] * (height - 1)]
    return [
        block(n, [transaction(0, f"{name} {n}")], name.encode()) for n, name in enumerate(names)
    ]


async def test_a_reindexed_ledger_is_shown_as_it_is(
    client: AsyncMongoClient[Any], database_name: str, redis: Redis
) -> None:
    """The new chain may have the same first block, and the same, a lower or a higher height."""
    channels, options = {CHANNEL: database_name}, Options(head_age_s=0.1)
    async with (
        running_api(client, channels, options) as alone,
        running_api(client, channels, options, redis=redis) as sharing,
        running_api(client, channels, options, redis=redis) as other,
    ):
        for name, height, genesis in CHAINS:
            await client.drop_database(database_name)
            await append(client, database_name, chain(name, height, genesis))
            await asyncio.sleep(0.2)
            async with running_api(client, channels, FRESH) as fresh:
                for path in PATHS * 2:
                    expected = await fresh.get(C + path)
                    for api in (alone, sharing, other):
                        response = await api.get(C + path)
                        assert response.json == expected.json, (name, path)
                        assert response.headers["Ledger-Height"] == str(height)


async def test_a_truncated_ledger_is_shown_with_its_lower_height(
    client: AsyncMongoClient[Any], database_name: str, redis: Redis
) -> None:
    """An operator cuts off blocks: a stream ends, and a new one gets the blocks in their place."""
    channels, options = {CHANNEL: database_name}, Options(head_age_s=0.1)
    await append(client, database_name, chain("lie", 6, "same"))
    async with (
        running_api(client, channels, options, redis=redis) as api,
        api.session.get(f"{api.base}{C}/stream") as stream,
        asyncio.timeout(LIMIT_S),
    ):
        for path in PATHS:
            await api.get(C + path)
        await stream.content.readuntil(b"\n\n")
        await cut_off(LedgerStore(client, database_name), 2)
        assert b"event:" not in await stream.content.read(), "the stream ends without a message"
        async with running_api(client, channels, FRESH) as fresh:
            for path in PATHS * 2:
                response = await api.get(C + path)
                assert response.json == (await fresh.get(C + path)).json, path
                assert response.headers["Ledger-Height"] == "3"
        async with api.session.get(f"{api.base}{C}/stream") as resumed:
            await resumed.content.readuntil(b"\n\n")
            await append(client, database_name, chain("lie", 4, "same")[3:])
            await redis.publish(head_topic(database_name), "4")
            await resumed.content.readuntil(b"event: block\nid: 4\n")


LIMITS = ServiceLimits(discovery_s=0.2)


async def index(client: AsyncMongoClient[Any], database: str, channel: str, name: str) -> None:
    """Store a chain of that name, and the report by which the channel is discovered."""
    await append(client, database, chain(name, 3, name))
    await write_sync_state(client[database], sync_state(channel))


async def wait_for_status(api: Api, path: str, status: int) -> None:
    await eventually(
        lambda: api.request("GET", path),
        lambda response: response.status == status,
        describe=f"status {status}",
    )


async def test_a_discovered_channel_that_is_indexed_again_is_another_one(
    client: AsyncMongoClient[Any], database_name: str, redis: Redis
) -> None:
    """Its cached responses are not used again, although the head is read rarely."""
    name = f"of.{database_name}"
    path = f"/api/v1/channels/{name}"
    options = Options(head_age_s=60.0)
    async with running_api(client, None, options, redis=redis, limits=LIMITS) as api:
        await index(client, database_name, name, "one")
        await wait_for_status(api, path, 200)
        cached = [f"{path}/blocks/1", f"{path}/blocks/1/transactions", f"{path}/blocks?number.le=1"]
        before = {url: (await api.get(url)).json for url in cached}
        await client.drop_database(database_name)
        await wait_for_status(api, path, 404)
        for url in cached:
            await api.get(url, 404)
        await index(client, database_name, name, "two")
        await wait_for_status(api, path, 200)
        for url in cached:
            response = await api.get(url)
            assert response.json != before[url]
            assert response.headers["Ledger-Height"] == "3"


@pytest.mark.parametrize("head_age_s", [0.1, 60.0])
async def test_streams_end_with_their_channel_and_its_successor_has_others(
    client: AsyncMongoClient[Any], database_name: str, redis: Redis, head_age_s: float
) -> None:
    """In the second case only the discovery of channels notices that the channel is gone."""
    name = f"of.{database_name}"
    path = f"/api/v1/channels/{name}"
    options = Options(head_age_s=head_age_s)
    async with running_api(client, None, options, redis=redis, limits=LIMITS) as api:
        await index(client, database_name, name, "one")
        await wait_for_status(api, path, 200)
        async with api.session.get(f"{api.base}{path}/stream") as stream, asyncio.timeout(LIMIT_S):
            await stream.content.readuntil(b"\n\n")
            await client.drop_database(database_name)
            assert b"event:" not in await stream.content.read(), "the stream ends without a message"
        await wait_for_status(api, path, 404)
        await index(client, database_name, name, "two")
        await wait_for_status(api, path, 200)
        async with api.session.get(f"{api.base}{path}/stream") as stream, asyncio.timeout(LIMIT_S):
            await stream.content.readuntil(b"\n\n")
            await append(client, database_name, chain("two", 4, "two")[3:])
            await redis.publish(head_topic(database_name), "4")
            await stream.content.readuntil(b"event: block\nid: 4\n")
