"""The commands as an operator runs them: processes, their output, their exit codes and their signals."""

import asyncio
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from click.testing import CliRunner
from pymongo import MongoClient

from cli.command_line import kindledger as command_line
from devnet.peer import Ledger, Peer, ServerTls
from devnet.peer.channel_config import organisations
from devnet.servers import Mongod
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from tests.cli.support import (
    CHANNEL,
    RECORDED,
    SERVER,
    TLS_AUTHORITY,
    Files,
    Json,
    forged_blocks,
    kindledger,
    running,
)

SUMMARY = {
    "channel": CHANNEL,
    "startBlock": 0,
    "height": 136,
    "transactions": 838,
    "statuses": {
        "VALID": 802,
        "MVCC_READ_CONFLICT": 23,
        "ENDORSEMENT_POLICY_FAILURE": 7,
        "DUPLICATE_TXID": 3,
        "PHANTOM_READ_CONFLICT": 3,
    },
    "events": 694,
}
"""What the recorded ledger holds."""


def settings_of(mongo_uri: str, database: str, **more: Any) -> Json:
    return {"mongo": {"uri": mongo_uri}, "channels": {CHANNEL: {"database": database}}, **more}


@pytest.fixture(scope="module")
def indexed(mongo_uri: str) -> Iterator[Json]:
    """Settings of a database that holds the recorded ledger, for tests that do not change it."""
    name = f"cli{uuid4().hex[:16]}"
    settings = settings_of(mongo_uri, name)
    result = kindledger("import", RECORDED, "--json", settings=settings)
    assert (result.returncode, json.loads(result.stdout)) == (0, SUMMARY | {"database": name}), (
        result.stderr
    )
    assert "136 new blocks, 838 transactions, 694 events" in result.stderr
    yield settings
    with MongoClient[Json](mongo_uri) as client:
        client.drop_database(name)


def test_help_names_every_command_and_exit_code() -> None:
    result = CliRunner().invoke(command_line, ["--help"])
    assert result.exit_code == 0
    assert command_line.commands.keys() >= {
        "run",
        "api",
        "import",
        "status",
        "verify",
        "doctor",
        "config",
        "demo",
    }
    words = set(re.findall(r"\w+", result.stdout))
    assert {
        *command_line.commands,
        "KINDLEDGER_CONFIG",
        "65",
        "69",
        "75",
        "78",
        "130",
        "143",
    } <= words
    assert CliRunner().invoke(command_line, ["imprt"]).exit_code == 2


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


def test_status_tells_where_each_channel_stands(indexed: Json) -> None:
    channels = indexed["channels"] | {"never": {"start_block": 0}}
    result = kindledger("status", "--json", settings=indexed | {"channels": channels})
    assert (result.returncode, result.stderr) == (0, "")
    stored, never = json.loads(result.stdout)["channels"]
    assert (stored["channel"], stored["committedHeight"]) == (CHANNEL, 136)
    assert (stored["sync"]["committedHeight"], stored["sync"]["state"]) == (136, "stopped")
    assert (never["channel"], never["committedHeight"], never["sync"]) == ("never", 0, None)


def test_verify_finds_no_difference_and_then_each(
    indexed: Json, mongo_uri: str, database_name: str
) -> None:
    sound = kindledger("verify", "--source", str(RECORDED), "--json", settings=indexed)
    assert sound.returncode == 0, sound.stderr
    (report,) = json.loads(sound.stdout)["channels"]
    assert (report["height"], report["differences"], report["shown"]) == (136, 0, [])
    with MongoClient[Json](mongo_uri) as client:
        stored = client[indexed["channels"][CHANNEL]["database"]]
        copy = client[database_name]
        for name in (BLOCKS, TRANSACTIONS, EVENTS):
            list(stored[name].aggregate([{"$out": {"db": database_name, "coll": name}}]))
        changed = copy[TRANSACTIONS].find_one_and_update(
            {"status": "VALID", "args": {"$ne": []}}, {"$set": {"args": ["forged"]}}
        )
        assert changed is not None
        copy[EVENTS].delete_one({"_id": {"$ne": changed["_id"]}})
    settings = settings_of(mongo_uri, database_name)
    itself = kindledger("verify", settings=settings)
    assert (itself.returncode, itself.stdout) == (65, "")
    assert (itself.stderr.count(EVENTS), itself.stderr.count(TRANSACTIONS)) == (1, 0), (
        "only the blocks tell the other"
    )
    against = kindledger("verify", "--source", str(RECORDED), "--json", settings=settings)
    assert against.returncode == 65
    (report,) = json.loads(against.stdout)["channels"]
    assert report["differences"] == len(report["shown"]) == 3
    assert f"block {changed['blockNumber']}: {TRANSACTIONS}: {changed['_id']}: args" in " ".join(
        against.stderr.split()
    )


def test_verify_is_not_green_where_nothing_was_verified(
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


def test_the_demo_indexes_the_recorded_ledger_by_itself() -> None:
    result = kindledger(
        "demo", "--once", "--json", settings={"mongo": {"uri": "mongodb://mongo.invalid"}}
    )
    assert (result.returncode, json.loads(result.stdout)) == (0, SUMMARY | {"database": CHANNEL}), (
        result.stderr
    )


def test_a_mongodb_that_is_away_exits_69(closed_port: int) -> None:
    away = kindledger("status", settings={"mongo": {"uri": f"mongodb://127.0.0.1:{closed_port}"}})
    assert (away.returncode, away.stdout) == (69, "")
    assert "kindledger doctor" in away.stderr


async def answer(session: aiohttp.ClientSession, url: str) -> Json:
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
            await reached(session, api, 10)
            ledger.append(blocks[10])
            ledger.append(blocks[11])
            newest = await reached(session, api, 12)
            assert newest["number"] == 11
            assert (await following(session, api))["peer"] == f"localhost:{peer.port}"
            daemon.process.send_signal(signal.SIGTERM)
            output, _ = await daemon.process.communicate()
            assert (daemon.process.returncode, output) == (143, b"")
        against = await asyncio.to_thread(
            kindledger, "verify", "--source", "peer", settings=settings
        )
        assert (against.returncode, "no difference" in against.stderr) == (0, True), against.stderr
        async with running("api", settings=settings) as alone:
            api = (await alone.wait_for_event("api_started"))["url"].removesuffix("/status")
            assert (await answer(session, f"{api}/channels/{CHANNEL}/blocks/latest")) == newest
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
            await answer(session, f"{url}/channels")  # leaves a session that a goodbye would end
            mongod.pause()
            try:
                api.process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(5):
                    assert await api.process.wait() == 143
            finally:
                mongod.resume()


async def following(session: aiohttp.ClientSession, api: str) -> Json:
    """What the daemon says of the only channel once it has caught up; it says something once a second."""
    async with asyncio.timeout(30):
        while True:
            (channel,) = (await answer(session, f"{api}/status"))["channels"]
            if channel["state"] == "following":
                return dict(channel)
            await asyncio.sleep(0.1)


async def reached(session: aiohttp.ClientSession, api: str, height: int) -> Json:
    """The newest block once so many are stored."""
    async with asyncio.timeout(30):
        while True:
            async with session.get(f"{api}/channels/{CHANNEL}/blocks/latest") as response:
                newest: Json = await response.json()
            if response.status == 200 and newest["number"] + 1 >= height:
                return newest
            await asyncio.sleep(0.05)
