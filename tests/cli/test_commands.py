"""The commands as an operator runs them: their output, their exit codes and their signals."""

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import msgspec
import pytest
from pymongo import AsyncMongoClient, MongoClient

from cli.output.summary import summarise
from devnet.peer import Ledger, Peer, ServerTls
from devnet.peer.channel_config import organisations
from devnet.servers import Mongod
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from tests.cli.support import (
    CHANNEL,
    RECORDED,
    SERVER,
    SUMMARY,
    TLS_AUTHORITY,
    Files,
    Json,
    forged_blocks,
    kindledger,
    running,
)
from tests.eventually import eventually


def settings_of(mongo_uri: str, database: str, **more: Any) -> Json:
    return {"mongo": {"uri": mongo_uri}, "channels": {CHANNEL: {"database": database}}, **more}


@pytest.fixture(scope="module")
def indexed(mongo_uri: str) -> Iterator[Json]:
    """Settings of a database that holds the recorded ledger, for tests that do not change it."""
    name = f"cli{uuid4().hex[:16]}"
    settings = settings_of(mongo_uri, name)
    result = kindledger("import", RECORDED, "--json", settings=settings)
    assert (result.returncode, json.loads(result.stdout)) == (
        0,
        SUMMARY | {"database": name, "alreadyStored": 0},
    ), result.stderr
    assert "136 new blocks, 838 transactions, 694 events" in result.stderr
    yield settings
    with MongoClient[Json](mongo_uri) as client:
        client.drop_database(name)


def test_a_second_import_writes_nothing(indexed: Json) -> None:
    again = kindledger("import", RECORDED, settings=indexed)
    assert again.returncode == 0, again.stderr
    assert "0 new blocks, 0 transactions, 0 events" in again.stderr
    assert "136 blocks were already stored" in again.stderr
    shown = {
        line.rsplit(maxsplit=1)[0].strip(): line.split()[-1]
        for line in again.stdout.splitlines()
        if line.strip()
    }
    assert (shown["transactions"], shown["VALID"], shown["events"]) == ("838", "802", "694"), (
        "data is on stdout"
    )


async def test_a_summary_is_the_same_in_parts(indexed: Json, mongo_uri: str) -> None:
    name = indexed["channels"][CHANNEL]["database"]
    async with AsyncMongoClient[Json](mongo_uri, tz_aware=True) as client:
        for blocks in (1, 50, 136, 1000):
            summary = await summarise(client[name], CHANNEL, blocks_in_a_query=blocks)
            assert msgspec.to_builtins(summary) == SUMMARY | {"database": name}


async def test_a_block_with_a_wrong_number_does_not_delay_the_summary(
    mongo_uri: str, database_name: str
) -> None:
    wrong_number = 2**42
    async with AsyncMongoClient[Json](mongo_uri, tz_aware=True) as client:
        await client[database_name][BLOCKS].insert_many(
            {"_id": number, "transactionCount": 3, "eventCount": 1} for number in (5, wrong_number)
        )
        summary = await summarise(client[database_name], CHANNEL)
    assert (summary.start_block, summary.height) == (5, wrong_number + 1)
    assert (summary.transactions, summary.events) == (6, 2)


def test_status_shows_the_height_and_the_report_of_each_channel(indexed: Json) -> None:
    channels = indexed["channels"] | {"never": {"start_block": 0}}
    result = kindledger("status", "--json", settings=indexed | {"channels": channels})
    assert (result.returncode, result.stderr) == (0, "")
    stored, never = json.loads(result.stdout)["channels"]
    assert (stored["channel"], stored["committedHeight"]) == (CHANNEL, 136)
    assert (stored["sync"]["committedHeight"], stored["sync"]["state"]) == (136, "stopped")
    assert (never["channel"], never["committedHeight"], never["sync"]) == ("never", 0, None)


def test_verify_finds_every_difference(indexed: Json, mongo_uri: str, database_name: str) -> None:
    sound = kindledger("verify", "--source", str(RECORDED), "--json", settings=indexed)
    assert sound.returncode == 0, sound.stderr
    (report,) = json.loads(sound.stdout)["channels"]
    assert (report["height"], report["differences"], report["shown"]) == (136, 0, [])
    with MongoClient[Json](mongo_uri) as client:
        stored = client[indexed["channels"][CHANNEL]["database"]]
        copy = client[database_name]
        for name in (BLOCKS, TRANSACTIONS, EVENTS):
            list(stored[name].aggregate([{"$out": {"db": database_name, "coll": name}}]))
        copy[TRANSACTIONS].create_index("txId", unique=True)
        changed = copy[TRANSACTIONS].find_one_and_update(
            {"status": "VALID", "args": {"$ne": []}}, {"$set": {"args": ["forged"]}}
        )
        assert changed is not None
        copy[EVENTS].delete_one({"_id": {"$ne": changed["_id"]}})
    settings = settings_of(mongo_uri, database_name)
    itself = kindledger("verify", settings=settings)
    assert (itself.returncode, itself.stdout) == (65, "")
    assert (itself.stderr.count(EVENTS), itself.stderr.count(TRANSACTIONS)) == (2, 1)
    against = kindledger("verify", "--source", str(RECORDED), "--json", settings=settings)
    assert against.returncode == 65
    (report,) = json.loads(against.stdout)["channels"]
    assert report["differences"] == len(report["shown"]) == 5
    assert f"block {changed['blockNumber']}: {TRANSACTIONS}: {changed['_id']}: args" in " ".join(
        against.stderr.split()
    )


def test_verify_fails_if_no_block_was_verified(
    indexed: Json, mongo_uri: str, tmp_path: Path
) -> None:
    def ended(*arguments: str | Path) -> tuple[int, str]:
        result = kindledger("verify", *arguments, settings=indexed)
        return result.returncode, " ".join(result.stderr.split())

    code, said = ended("--channel", "nope")
    assert (code, "nope: no block of it is stored" in said) == (78, True), said
    code, said = ended("--source", tmp_path)
    assert (code, "no block file" in said) == (65, True), said
    code, said = ended("--source", RECORDED, "--channel", "nope")
    assert (code, "holds blocks of channel kindledger, not of nope" in said) == (78, True), said
    with MongoClient[Json](mongo_uri) as client:
        assert "nope" not in client.list_database_names()
        state = client[indexed["channels"][CHANNEL]["database"]]["sync_state"].find_one()
        assert state is not None
        assert (state.get("verification") or {}).get("differences", 0) == 0


def test_an_unavailable_mongodb_exits_69(closed_port: int) -> None:
    result = kindledger("status", settings={"mongo": {"uri": f"mongodb://127.0.0.1:{closed_port}"}})
    assert (result.returncode, result.stdout) == (69, "")
    assert "kindledger doctor" in result.stderr


async def get_json(session: aiohttp.ClientSession, url: str) -> Json:
    async with session.get(url) as response:
        body: Json = await response.json()
        assert response.status == 200, body
        return body


async def test_run_follows_a_peer_and_serves_what_it_indexes(
    mongo_uri: str, database_name: str, files: Files
) -> None:
    blocks = forged_blocks(12)
    ledger = Ledger(blocks[:10])
    tls = ServerTls(SERVER, TLS_AUTHORITY.certificate)
    async with (
        Peer({CHANNEL: ledger}, tls=tls, organisations=organisations(blocks[0])) as peer,
        aiohttp.ClientSession() as session,
    ):
        fabric = files.fabric(f"grpcs://localhost:{peer.port}")
        settings = settings_of(mongo_uri, database_name, fabric=fabric, api={"port": 0})
        async with running("run", "--with-api", settings=settings) as daemon:
            api = (await daemon.wait_for_event("api_started"))["url"].removesuffix("/status")
            await wait_for_height(session, api, 10)
            ledger.append(blocks[10])
            ledger.append(blocks[11])
            newest = await wait_for_height(session, api, 12)
            assert newest["number"] == 11
            assert (await wait_until_following(session, api))["peer"] == f"localhost:{peer.port}"
            daemon.process.send_signal(signal.SIGTERM)
            output, _ = await daemon.process.communicate()
            assert (daemon.process.returncode, output) == (143, b"")
        against = await asyncio.to_thread(
            kindledger, "verify", "--no-signatures", "--source", "peer", settings=settings
        )
        assert (against.returncode, "no difference" in against.stderr) == (0, True), against.stderr
        async with running("api", settings=settings) as alone:
            api = (await alone.wait_for_event("api_started"))["url"].removesuffix("/status")
            assert (await get_json(session, f"{api}/channels/{CHANNEL}/blocks/latest")) == newest
            alone.process.send_signal(signal.SIGINT)
            await alone.process.wait()
            assert alone.process.returncode == 130


async def test_the_api_ends_in_time_while_mongodb_hangs(tmp_path: Path) -> None:
    with Mongod(tmp_path) as mongod:
        async with (
            running("api", settings=settings_of(mongod.uri, "ledger", api={"port": 0})) as api,
            aiohttp.ClientSession() as session,
        ):
            url = (await api.wait_for_event("api_started"))["url"].removesuffix("/status")
            await get_json(
                session, f"{url}/channels"
            )  # opens a session, which is ended at the close
            mongod.pause()
            try:
                api.process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(5):
                    assert await api.process.wait() == 143
            finally:
                mongod.resume()


async def wait_until_following(session: aiohttp.ClientSession, api: str) -> Json:
    """Return the status of the only channel when it has caught up with its peer."""

    async def status() -> Json:
        (channel,) = (await get_json(session, f"{api}/status"))["channels"]
        return dict(channel)

    return await eventually(status, lambda channel: channel["state"] == "following")


async def wait_for_height(session: aiohttp.ClientSession, api: str, height: int) -> Json:
    """Return the newest block when the channel has this height."""

    async def newest() -> Json:
        async with session.get(f"{api}/channels/{CHANNEL}/blocks/latest") as response:
            block: Json = await response.json()
            return block

    return await eventually(newest, lambda block: block.get("number", -1) + 1 >= height)
