"""A shown head never goes back, misses no block, and survives foreign or unknown data."""

import asyncio
from typing import Any

from bson.datetime_ms import DatetimeMS
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from explorer_api.options import Options
from ledger.head_topic import head_topic
from ledger.mongodb.collections import BLOCKS, SYNC_STATE
from ledger.mongodb.sync_state import ChannelState, write_sync_state
from tests.eventually import LIMIT_S, eventually
from tests.explorer_api.api_tasks import tasks_of_the_api
from tests.explorer_api.head_reading import (
    RARELY_READ,
    seconds_until_shown,
    shown_height,
    store_block,
)
from tests.explorer_api.proxies import door_to
from tests.explorer_api.support import CHANNEL, Api, C, Response, running_api, sync_state

PATHS = [
    "/blocks/latest",
    "/blocks/latest",
    "/blocks",
    "/blocks/0",
    "/blocks/999",
    "/blocks?limit=1",
    "",
]


async def test_the_height_never_falls_while_blocks_arrive(
    client: AsyncMongoClient[Any], database_name: str, redis: Redis
) -> None:
    await store_block(client, database_name, 0)
    options = Options(head_age_s=0.05)
    async with running_api(client, {CHANNEL: database_name}, options, redis=redis) as api:
        all_stored = asyncio.Event()
        readers = [asyncio.create_task(heights_until(all_stored, api, path)) for path in PATHS]
        for number in range(1, 30):
            await store_block(client, database_name, number)
            await redis.publish(head_topic(database_name), str(number + 1))
            await asyncio.sleep(0.01)
        await seconds_until_shown(api, 30)
        all_stored.set()
        for heights in await asyncio.gather(*readers):
            assert heights == sorted(heights)
            assert heights[-1] == 30
            assert len(set(heights)) > 5


async def heights_until(end: asyncio.Event, api: Api, path: str) -> list[int]:
    """Request the path until the event, and once more; return the heights of the responses."""
    heights: list[int] = []
    is_last = False
    while not is_last:
        is_last = end.is_set()
        response = await api.request("GET", C + path)
        heights.append(int(response.headers["Ledger-Height"]))
        if path.endswith("latest"):
            assert response.json["number"] + 1 == heights[-1]
    return heights


async def test_a_block_above_a_stale_head_is_found(
    client: AsyncMongoClient[Any], database_name: str, redis: Redis
) -> None:
    await store_block(client, database_name, 0)
    async with running_api(client, {CHANNEL: database_name}, RARELY_READ, redis=redis) as api:
        assert await shown_height(api) == 1
        for number in range(1, 6):
            await store_block(client, database_name, number)
            response = await api.get(f"{C}/blocks/{number}")
            height = response.headers["Ledger-Height"]
            assert (response.json["number"], height) == (number, str(number + 1))


async def test_a_problem_tells_the_head_that_was_read_for_it(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    """A block that is missing below a stale head is looked for below the newest head."""
    await store_block(client, database_name, 0)
    async with running_api(client, {CHANNEL: database_name}, Options(head_age_s=60.0)) as api:
        assert await shown_height(api) == 1
        state = sync_state(state=ChannelState.FOLLOWING, peer_height=9)
        await write_sync_state(client[database_name], state)
        response = await api.problem(f"{C}/blocks/5", 404, "block-not-indexed-yet")
        assert response.json["peerHeight"] == 9
        assert response.headers["Ledger-Height"] == str(response.json["height"]) == "1"
        assert response.headers["Ledger-Peer-Height"] == "9"


async def test_a_problem_tells_the_last_known_head_when_the_head_cannot_be_read(
    client: AsyncMongoClient[Any], database_name: str, mongo_uri: str, redis: Redis
) -> None:
    """A block above a stale head is not known to be missing while MongoDB is unavailable."""
    await store_block(client, database_name, 0)
    async with (
        door_to(mongo_uri) as (door, uri),
        AsyncMongoClient[Any](uri) as cut_client,
        running_api(cut_client, {CHANNEL: database_name}, RARELY_READ, redis=redis) as api,
    ):
        assert await shown_height(api) == 1
        door.shut()
        response = await api.problem(f"{C}/blocks/5", 503, "database-unavailable")
        assert response.headers["Ledger-Height"] == "1"
        assert response.headers["Ledger-Peer-Height"] == "1"


async def test_a_stopped_api_leaves_no_task(
    client: AsyncMongoClient[Any], recorded_database: str, redis: Redis
) -> None:
    """The API is stopped at different moments of its calls."""
    for step in range(20):
        channels, options = {CHANNEL: recorded_database}, Options(head_age_s=0.0)
        async with asyncio.timeout(LIMIT_S):
            async with running_api(
                client, channels, options, redis=redis if step % 2 else None
            ) as api:
                await api.get("/live")
                await asyncio.sleep(step / 2000)
                assert "restart_on_failure" in tasks_of_the_api()
            assert not tasks_of_the_api()


async def test_a_report_of_an_unknown_version_hides_no_block(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    """A newer daemon may report states that this program does not know."""
    async with running_api(client, {CHANNEL: database_name}, Options(head_age_s=0.2)) as api:
        await store_block(client, database_name, 0)
        await write_sync_state(client[database_name], sync_state(state=ChannelState.FOLLOWING))
        await seconds_until_shown(api, 1)
        await client[database_name][SYNC_STATE].update_one({}, {"$set": {"state": "hibernating"}})
        await asyncio.sleep(0.3)
        await store_block(client, database_name, 1)
        await seconds_until_shown(api, 2)
        assert (await api.channel())["state"] is None


async def test_the_state_of_a_channel_is_updated_without_new_blocks(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    await store_block(client, database_name, 0)
    state = sync_state(state=ChannelState.FOLLOWING, peer_height=1)
    await write_sync_state(client[database_name], state)
    async with running_api(client, {CHANNEL: database_name}, Options(head_age_s=0.4)) as api:
        first = await api.get(C)
        assert (first.json["state"], first.json["lagBlocks"]) == ("following", 0)
        state = sync_state(state=ChannelState.WAITING, peer_height=3)
        await write_sync_state(client[database_name], state)

        def shows_new_state(response: Response) -> bool:
            return response.status == 200 and (
                response.json["state"],
                response.json["lagBlocks"],
            ) == ("waiting", 2)

        known = {"If-None-Match": first.headers["ETag"]}
        await eventually(lambda: api.request("GET", C, known), shows_new_state)


async def test_a_foreign_document_stops_no_background_task(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    """A wrongly configured database holds another application's documents, also as block 0."""
    blocks = client[database_name][BLOCKS]
    await blocks.insert_one({"_id": 0, "number": "one"})
    async with running_api(client, {CHANNEL: database_name}, RARELY_READ) as api:
        for path in (C, f"{C}/blocks", "/ready"):
            assert (await api.request("GET", path)).status >= 500
        await blocks.delete_one({})
        await store_block(client, database_name, 0)
        await seconds_until_shown(api, 1)
        await store_block(client, database_name, 1)
        await seconds_until_shown(api, 2)


async def test_foreign_databases_hide_no_channel(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    foreign = client[f"{database_name}x"]
    await foreign[SYNC_STATE].insert_one({"state": "theirs", "at": DatetimeMS(2**62)})
    await store_block(client, database_name, 0)
    await write_sync_state(client[database_name], sync_state(f"of.{database_name}"))
    try:
        async with running_api(client, None) as api:
            names = [row["name"] for row in (await api.get("/api/v1/channels")).json["items"]]
            assert f"of.{database_name}" in names
    finally:
        await client.drop_database(foreign.name)
