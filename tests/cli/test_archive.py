"""The archive of raw blocks as an operator uses it: places, repairs, reindex, and the doctor."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from cli.doctor.checks import Outcome
from cli.errors import Exit
from devnet.servers import Mongod
from ledger.mongodb.collections import BLOCKS, EVENTS, RAW_BLOCKS, REPAIRS, TRANSACTIONS
from ledger.position import pack_position
from runtime.file_lock import lock_file
from tests.cli.support import CHANNEL, RECORDED, Json, kindledger, run_checks, uri_of
from tests.ledger.archives import read_again, segments
from tests.ledger.recorded import recorded

LEDGER = (BLOCKS, TRANSACTIONS, EVENTS)
HEIGHT = 136
NAME = "archived"
AGAIN = "archived_again"


@pytest.fixture(params=[pytest.param("mongodb", marks=pytest.mark.long), "folder"])
def settings(request: pytest.FixtureRequest, guarded_mongod: Mongod, tmp_path: Path) -> Json:
    """The settings of the recorded ledger, which the daemon's user has stored and archived."""
    settings: Json = {
        "mongo": {
            "uri": uri_of(guarded_mongod, "kindledger_indexer"),
            "repair_uri": uri_of(guarded_mongod, "kindledger_repair"),
        },
        "channels": {CHANNEL: {"database": NAME}},
    }
    if request.param == "folder":
        settings["archive"] = {"folder": tmp_path / "archive"}
    with MongoClient[Json](guarded_mongod.uri) as admin:
        admin.drop_database(NAME)
        admin.drop_database(AGAIN)
    run("import", RECORDED, settings=settings)
    return settings


def run(*arguments: str | Path, settings: Json, code: int = Exit.OK) -> Json:
    """Run the command and return its JSON, or else its message."""
    result = kindledger(*arguments, "--json", settings=settings)
    assert result.returncode == code, result.stderr
    document: Json = json.loads(result.stdout) if result.stdout else {}
    return document | {"message": result.stderr}


def contents(admin: "MongoClient[Json]", name: str) -> Json:
    return {each: list(admin[name][each].find().sort("_id")) for each in LEDGER}


def test_a_damaged_archive_is_named_and_repaired_and_gives_the_ledger_again(
    guarded_mongod: Mongod, settings: Json
) -> None:
    """The roles of the documentation suffice for all of it."""
    source = ("--source", str(RECORDED))
    with MongoClient[Json](guarded_mongod.uri) as admin:
        place = _damage(admin, settings)
        found = run("verify", settings=settings, code=Exit.DATA)
        assert found["channels"][0]["kinds"]["rawBlocks"] == 1
        assert place in found["message"]
        refused = run("reindex", "--channel", CHANNEL, "--into", AGAIN, settings=settings, code=65)
        assert place in refused["message"]
        assert run("repair", *source, "--apply", settings=settings)["repaired"] == 1
        (record,) = admin[NAME][REPAIRS].find()
        assert (record["act"], record["collection"]) == ("replace", RAW_BLOCKS)

        event: Json = admin[NAME][EVENTS].find_one_and_delete({}) or {}
        repaired = run("repair", "--source", "archive", "--apply", settings=settings)
        assert (repaired["repaired"], repaired["remaining"]) == (1, 0)
        assert admin[NAME][EVENTS].find_one({"_id": event["_id"]}) == event

        again = run("reindex", "--channel", CHANNEL, "--into", AGAIN, settings=settings)
        assert again["equal"] is True
        assert again["before"] | {"database": AGAIN} == again["after"]
        assert again["after"]["height"] == HEIGHT
        assert f'[channels.{CHANNEL}]\ndatabase = "{AGAIN}"' in again["message"]
        assert contents(admin, AGAIN) == contents(admin, NAME)
        settings["channels"][CHANNEL]["database"] = AGAIN
        verified = run("verify", "--source", "archive", settings=settings)["channels"][0]
        assert (verified["differences"], verified["kinds"]["rawBlocks"]) == (0, 0)


def _damage(admin: "MongoClient[Json]", settings: Json) -> str:
    """Damage what is kept of a block; return what must name it."""
    if "archive" not in settings:
        key = {"_id": pack_position(77, 0)}
        admin[NAME][RAW_BLOCKS].update_one(key, {"$set": {"data": b"altered"}})
        return f"{NAME}.{RAW_BLOCKS} from _id {key['_id']}"
    (path,) = segments(settings["archive"]["folder"] / NAME)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return str(path)


@pytest.mark.parametrize("settings", ["mongodb"], indirect=True)
def test_raw_blocks_move_from_mongodb_to_a_folder(
    guarded_mongod: Mongod, settings: Json, tmp_path: Path
) -> None:
    """A second process is kept from writing to the folder meanwhile."""
    settings["archive"] = {"folder": tmp_path}
    moved = run("repair", "--source", "archive:mongodb", "--apply", settings=settings)
    assert (moved["findings"], moved["repaired"]) == (1, 1)
    assert _kept(tmp_path / NAME) == dict(enumerate(recorded("raft-2.5").blocks))
    lock_file(tmp_path / NAME / "lock")
    refused = run("import", RECORDED, settings=settings, code=Exit.UNAVAILABLE)
    assert "writes to this archive" in refused["message"]
    with MongoClient[Json](guarded_mongod.uri) as admin:
        admin[NAME].drop_collection(RAW_BLOCKS)
    assert run("verify", settings=settings)["channels"][0]["kinds"]["rawBlocks"] == 0


def _kept(folder: Path) -> dict[int, Any]:
    return dict(asyncio.run(read_again(folder)))


@pytest.mark.long
@pytest.mark.parametrize("settings", ["mongodb"], indirect=True)
def test_reindex_refuses_what_it_cannot_do(guarded_mongod: Mongod, settings: Json) -> None:
    """Nothing is written to a database of others, and nothing from an incomplete archive."""
    command = ("reindex", "--channel", CHANNEL, "--into")
    assert "present database" in run(*command, NAME, settings=settings, code=2)["message"]
    assert "MongoDB's own" in run(*command, "admin", settings=settings, code=2)["message"]
    with MongoClient[Json](guarded_mongod.uri) as admin:
        admin[AGAIN][BLOCKS].insert_one({"_id": 0, "of": "another application"})
        refused = run(*command, AGAIN, settings=settings, code=Exit.CONFIGURATION)
        assert "not empty" in refused["message"]
        admin.drop_database(AGAIN)
        admin[NAME][RAW_BLOCKS].delete_many({"_id": {"$gte": pack_position(100, 0)}})
        refused = run(*command, AGAIN, settings=settings, code=Exit.UNAVAILABLE)
        assert "the raw blocks 0 to 99" in refused["message"]
        assert AGAIN not in admin.list_database_names()
        settings["archive"] = {"keep": False}
        done = run(*command, AGAIN, "--source", str(RECORDED), settings=settings)
        assert done["equal"] is True
        assert admin[AGAIN][RAW_BLOCKS].count_documents({}) == 0, "none are kept"
        admin[NAME][BLOCKS].update_one({"_id": HEIGHT - 1}, {"$set": {"digest": "00" * 32}})
        differs = run(*command, AGAIN, "--source", str(RECORDED), settings=settings, code=65)
        assert differs["equal"] is False


async def test_the_doctor_checks_the_place(tmp_path: Path) -> None:
    peers: Json = {"peers": [{"address": "grpc://127.0.0.1:1"}]}

    async def check(**archive: Any) -> tuple[Outcome, str]:
        checks = await run_checks({"archive": archive, "fabric": peers}, limit_s=0.2)
        (found,) = [each for each in checks if each.name == "archive"]
        return found.outcome, found.detail

    assert await check(keep=False) == (Outcome.SKIPPED, "archive.keep is off: no raw block is kept")
    assert await check() == (Outcome.OK, "raw blocks are kept in MongoDB")
    outcome, detail = await check(folder=tmp_path / "new" / "folder")
    assert outcome in (Outcome.OK, Outcome.WARNING)
    assert "GiB free" in detail
    (tmp_path / "file").write_text("")
    assert (await check(folder=tmp_path / "file" / "folder"))[0] is Outcome.FAILED
