"""`kindledger repair` as an operator uses it: what it shows, changes, refuses and returns."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from cli.commands import repair as repair_command
from cli.commands.repair import Options
from cli.configuration.settings import Settings
from cli.errors import Exit, exit_on_failure
from devnet.servers import Mongod
from ledger.mongodb.collections import BLOCKS, EVENTS, REPAIRS, SYNC_STATE, TRANSACTIONS
from tests.block_files import write_block_files
from tests.cli.reconciling import HEIGHT, LONG_AGO, reconcile, report
from tests.cli.support import RECORDED, Json, kindledger, uri_of
from tests.indexer.test_block_signatures import without_signatures
from tests.indexer.test_commit_hashes import metadata_chain, written
from tests.ledger.recorded import recorded
from tests.reconciliation.gateway import Gateway
from tests.reconciliation.growing_ledger import CHANNEL, GrowingLedger, forged_chain, submitted

LEDGER = (BLOCKS, TRANSACTIONS, EVENTS)


def repair(*arguments: str, settings: Json, code: Exit = Exit.OK) -> Json:
    """Run the command and return its JSON."""
    result = kindledger("repair", *arguments, "--json", settings=settings)
    assert result.returncode == code, result.stderr
    document: Json = json.loads(result.stdout) if result.stdout else {"message": result.stderr}
    return document


@pytest.fixture
def stored(guarded_mongod: Mongod) -> Json:
    """The settings of a recorded ledger that the daemon's user has stored."""
    name = "repaired"
    settings: Json = {
        "mongo": {"uri": uri_of(guarded_mongod, "kindledger_indexer")},
        "channels": {CHANNEL: {"database": name}},
    }
    with MongoClient[Json](guarded_mongod.uri) as admin:
        admin.drop_database(name)
    imported = kindledger("import", RECORDED, "--json", settings=settings)
    assert imported.returncode == 0, imported.stderr
    return settings


def contents(admin: "MongoClient[Json]", name: str) -> Json:
    return {each: list(admin[name][each].find().sort("_id")) for each in LEDGER}


def test_missing_documents_need_no_right_to_change_and_everything_else_needs_the_role(
    guarded_mongod: Mongod, stored: Json
) -> None:
    """Without --apply nothing changes; the daemon's user only inserts; the repair user does all."""
    source = ("--source", str(RECORDED))
    assert repair(*source, settings=stored)["findings"] == 0
    with MongoClient[Json](guarded_mongod.uri) as admin:
        database = admin["repaired"]
        complete = contents(admin, "repaired")
        event, altered = complete[EVENTS][5], complete[TRANSACTIONS][7]
        database[EVENTS].delete_one({"_id": event["_id"]})
        database[TRANSACTIONS].update_one({"_id": altered["_id"]}, {"$set": {"function": "x\x1b"}})
        damaged = contents(admin, "repaired")

        shown = repair(*source, settings=stored, code=Exit.DATA)
        assert (shown["causes"], shown["applied"]) == ({"missing": 1, "altered": 1}, False)
        findings = {each["collection"]: each for each in shown["shown"]}
        assert findings[EVENTS]["repair"] == "insert"
        assert findings[TRANSACTIONS]["field"] == "function"
        assert findings[TRANSACTIONS]["key"] == str(altered["_id"])
        assert contents(admin, "repaired") == damaged
        assert database[REPAIRS].count_documents({}) == 0

        partly = repair(*source, "--apply", settings=stored, code=Exit.DATA)
        assert (partly["repaired"], partly["remaining"]) == (1, 1)
        assert database[EVENTS].find_one({"_id": event["_id"]}) == event

        stored["mongo"]["repair_uri"] = uri_of(guarded_mongod, "kindledger_repair")
        done = repair(*source, "--apply", "--reason", "ticket 7", settings=stored)
        assert (done["repaired"], done["remaining"]) == (1, 0)
        assert contents(admin, "repaired") == complete
        records = list(database[REPAIRS].find().sort("_id"))
        assert [each["act"] for each in records] == ["insert", "replace"]
        assert [each["mongoUser"] for each in records] == [
            "kindledger_indexer@admin",
            "kindledger_repair@admin",
        ]
        assert records[1]["reason"] == "ticket 7"
    with MongoClient[Json](uri_of(guarded_mongod, "kindledger_repair")) as client:
        records_of = client["repaired"][REPAIRS]
        with pytest.raises(OperationFailure):
            records_of.update_one({}, {"$set": {"act": "none"}})
        with pytest.raises(OperationFailure):
            records_of.delete_one({})


def test_a_source_without_signatures_is_refused_unless_configured_otherwise(
    guarded_mongod: Mongod, stored: Json, tmp_path: Path
) -> None:
    """Exit code 65, and nothing changes; so it is with another genesis block than configured."""
    blocks = list(recorded("raft-2.5").blocks)
    blocks[20] = without_signatures(blocks[20])
    unsigned = ("--source", str(write_block_files(tmp_path, blocks)))
    stored["mongo"]["repair_uri"] = uri_of(guarded_mongod, "kindledger_repair")
    other_genesis = {CHANNEL: stored["channels"][CHANNEL] | {"genesis_hash": "00" * 32}}
    with MongoClient[Json](guarded_mongod.uri) as admin:
        admin["repaired"][BLOCKS].delete_one({"_id": 20})
        damaged = contents(admin, "repaired")
        for settings, message in (
            (stored, "kindledger: block 20: orderers' signatures: expected "),
            (stored | {"channels": other_genesis}, "kindledger: block 0: hash: expected 0000"),
        ):
            refused = repair(*unsigned, "--apply", settings=settings, code=Exit.DATA)
            assert message in refused["message"]
            assert "Nothing was changed" in refused["message"]
        assert contents(admin, "repaired") == damaged
    off = stored | {"verification": {"block_signatures": "false"}}
    for options, settings in ((("--no-signatures",), stored), ((), off)):
        shown = repair(*unsigned, *options, settings=settings, code=Exit.DATA)
        assert (shown["causes"], shown["uncheckedSignatures"]) == ({"missing": 1}, 0)


def test_a_commit_hash_that_contradicts_the_store_is_shown(
    guarded_mongod: Mongod, tmp_path: Path
) -> None:
    """The stored value that the hash covers was altered: it is repaired, and the doubt is gone."""
    folder = str(write_block_files(tmp_path, metadata_chain([written(b"v")], b"v")))
    settings = {
        "mongo": {
            "uri": uri_of(guarded_mongod, "kindledger_indexer"),
            "repair_uri": uri_of(guarded_mongod, "kindledger_repair"),
        },
        "channels": {CHANNEL: {"database": "doubtful"}},
    }
    imported = kindledger("import", folder, "--json", settings=settings)
    assert imported.returncode == 0, imported.stderr
    with MongoClient[Json](guarded_mongod.uri) as admin:
        value = {"rwsets.0.writes.0.value": "w"}
        admin["doubtful"][TRANSACTIONS].update_one({"blockNumber": 1}, {"$set": value})
    for expected in ({"value_unknown": 1}, {}):
        result = kindledger("repair", "--source", folder, "--apply", "--json", settings=settings)
        assert result.returncode == Exit.OK, result.stderr
        assert json.loads(result.stdout)["uncheckedCommitHashes"] == expected
        assert ("block 2: the source's commit hash is" in result.stderr) == bool(expected)


def test_a_working_daemon_and_a_missing_confirmation_change_nothing(
    guarded_mongod: Mongod, stored: Json
) -> None:
    cut = ("--truncate-to", "99", "--apply")
    stored["mongo"]["repair_uri"] = uri_of(guarded_mongod, "kindledger_repair")
    with MongoClient[Json](guarded_mongod.uri) as admin:
        complete = contents(admin, "repaired")
        state = admin["repaired"][SYNC_STATE]
        working = {"state": "following", "updatedAt": datetime.now(UTC)}
        state.update_one({"_id": CHANNEL}, {"$set": working})
        refused = repair(*cut, "--yes", CHANNEL, settings=stored, code=Exit.UNAVAILABLE)
        assert "a daemon or an import reported" in refused["message"]
        state.update_one({"_id": CHANNEL}, {"$set": {"state": "stopped"}})
        for arguments in (cut, (*cut, "--yes", "another")):
            refused = repair(*arguments, settings=stored, code=Exit.USAGE)
            assert f"--yes {CHANNEL}" in refused["message"]
        shown = repair("--truncate-to", "99", settings=stored, code=Exit.DATA)
        assert (shown["truncation"]["highest"], shown["removed"]) == (135, 0)
        assert contents(admin, "repaired") == complete
        done = repair(*cut, "--yes", CHANNEL, settings=stored)
        removals = {"act": "remove", "collection": {"$in": LEDGER}}
        assert done["removed"] == admin["repaired"][REPAIRS].count_documents(removals)
        assert [each["_id"] for each in contents(admin, "repaired")[BLOCKS]] == [*range(100)]
    imported = kindledger("import", RECORDED, "--json", settings=stored)
    assert imported.returncode == 0, imported.stderr
    assert repair("--source", str(RECORDED), settings=stored)["findings"] == 0


async def test_rows_that_removed_blocks_settled_become_discrepancies(
    ledger: GrowingLedger, gateway: Gateway, settings: Json
) -> None:
    """They are not changed. The honest chain goes on without their transactions."""
    valid = [each for each in submitted(forged_chain()[:HEIGHT]) if each.valid]
    kept, gone = (choose(valid, key=lambda each: each.block) for choose in (min, max))
    rows = {
        each.tx_id: await gateway.transaction(each.tx_id, created_at=LONG_AGO)
        for each in (kept, gone)
    }
    await report(ledger)
    reconcile("once", settings=settings, code=Exit.DATA)  # the other transactions have no rows
    cut = ("--truncate-to", str(gone.block - 1), "--apply", "--yes", CHANNEL)
    await ledger.store.database[SYNC_STATE].update_one({}, {"$set": {"state": "stopped"}})
    assert repair(*cut, settings=settings)["settledHeightLowered"] is True
    height = gone.block
    await ledger.store.database[SYNC_STATE].update_one(
        {},
        {
            "$set": {
                "state": "following",
                "updatedAt": datetime.now(UTC),
                "peerHeight": height,
                "seenHeight": height,
                "committedHeight": height,
            }
        },
    )
    reconcile("once", "--full", settings=settings, code=Exit.DATA)
    status = reconcile("status", settings=settings)
    assert status["height"] == height
    found = reconcile("list", "--limit", "1000", settings=settings)["discrepancies"]
    subjects = {one["subject"]: one["kind"] for one in found if one["table"] == "transactions"}
    assert subjects == {str(rows[gone.tx_id]): "not_on_ledger"}
    statuses: dict[Any, str] = {
        key: await gateway.connection.fetchval("SELECT status FROM transactions WHERE id = $1", key)
        for key in rows.values()
    }
    assert set(statuses.values()) == {"CONFIRMED"}, "a settled row never changes"


@pytest.mark.parametrize(
    ("repair_uri", "code", "says"),
    [
        ("mongodb://u:hunter2@h,i/?directConnection=true", Exit.CONFIGURATION, "multiple hosts"),
        ("mongodb://127.0.0.1:{closed}/", Exit.UNAVAILABLE, "MongoDB is unavailable"),
        ("{guarded}", Exit.CONFIGURATION, "Authentication failed"),
    ],
)
async def test_an_address_for_repairs_that_cannot_be_used_is_named(
    guarded_mongod: Mongod,
    closed_port: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    repair_uri: str,
    code: Exit,
    says: str,
) -> None:
    """The address without which everything else works is not blamed, and no password is shown."""
    monkeypatch.setattr("cli.assembly.mongo._SELECTION_TIMEOUT_MS", 200)
    guarded = uri_of(guarded_mongod, "kindledger_repair", "hunter2")
    address = repair_uri.format(closed=closed_port, guarded=guarded)
    settings = {
        "mongo": {
            "uri": uri_of(guarded_mongod, "kindledger_indexer"),
            "repair_uri": address,
        }
    }
    options = Options(
        CHANNEL, None, signatures=True, apply=True, last=None, confirmed=None, reason=""
    )
    with pytest.raises(SystemExit) as ended, exit_on_failure():
        await repair_command.repair(Settings.model_validate(settings), options)
    shown = capsys.readouterr().err
    assert ended.value.code == code
    assert "mongo.repair_uri (KINDLEDGER_MONGO__REPAIR_URI)" in shown
    assert says in shown
    for wrong in ("mongo.uri", "MONGO__URI", "kindledger doctor", "hunter2"):
        assert wrong not in shown


def test_a_source_that_does_not_exist_is_wrong_usage(tmp_path: Path, settings: Json) -> None:
    missing = repair("--source", str(tmp_path / "none"), settings=settings, code=Exit.USAGE)
    assert "no such file or folder" in missing["message"]
