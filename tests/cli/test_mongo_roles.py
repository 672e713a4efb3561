"""The roles of `config/mongo-roles.json`: what each user can do and cannot do in MongoDB."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from cli.errors import Exit
from devnet.servers import Mongod
from ledger.mongodb.collections import BLOCKS, CERTIFICATES, EVENTS, SYNC_STATE, TRANSACTIONS
from ledger.mongodb.indexes import INDEXES
from tests.cli.support import RECORDED, Json, kindledger, running, uri_of

LEDGER = (BLOCKS, TRANSACTIONS, EVENTS)
UNAUTHORIZED = 13

Attempt = Callable[["Database[Json]", str], Any]
CHANGES: dict[str, Attempt] = {
    "update": lambda database, name: database[name].update_many({}, {"$set": {"changed": True}}),
    "replace": lambda database, name: database[name].replace_one({}, {}),
    "find and modify": lambda database, name: database[name].find_one_and_update(
        {}, {"$set": {"changed": True}}
    ),
    "delete": lambda database, name: database[name].delete_many({}),
    "find and delete": lambda database, name: database[name].find_one_and_delete({}),
    "drop": lambda database, name: database.drop_collection(name),
    "drop indexes": lambda database, name: database[name].drop_indexes(),
    "rename": lambda database, name: database[name].rename("elsewhere"),
    "cap": lambda database, name: database.command("convertToCapped", name, size=4096),
    "modify": lambda database, name: database.command("collMod", name, validationLevel="off"),
    "overwrite": lambda database, name: list(database[name].aggregate([{"$out": BLOCKS}])),
    "merge": lambda database, name: list(database[name].aggregate([{"$merge": {"into": BLOCKS}}])),
    "drop database": lambda database, name: database.client.drop_database(database.name),
}
ADDITIONS: dict[str, Attempt] = {
    "insert": lambda database, name: database[name].insert_one({"_id": -1}),
    "upsert": lambda database, name: database[name].update_one(
        {"_id": -1}, {"$set": {"number": -1}}, upsert=True
    ),
    "create": lambda database, name: database.create_collection(f"{name}_more"),
    "index": lambda database, name: database[name].create_index("size"),
}


@pytest.fixture(scope="module")
def database(guarded_mongod: Mongod) -> str:
    """A database with the recorded ledger, indexed by the daemon's user."""
    name = "roles"
    settings = {
        "mongo": {"uri": uri_of(guarded_mongod, "kindledger_indexer")},
        "channels": {"kindledger": {"database": name}},
    }
    imported = kindledger("import", RECORDED, "--json", settings=settings)
    assert imported.returncode == 0, imported.stderr
    verified = kindledger("verify", "--source", str(RECORDED), settings=settings)
    assert verified.returncode == 0, verified.stderr
    return name


def refused(attempts: dict[str, Attempt], database: "Database[Json]", name: str) -> set[str]:
    """Return the names of the attempts that MongoDB refuses because a right is missing."""
    codes: dict[str, int | None] = {}
    for what, attempt in attempts.items():
        try:
            attempt(database, name)
        except OperationFailure as error:
            codes[what] = error.code
    assert set(codes.values()) <= {UNAUTHORIZED}, codes
    return set(codes)


def documents(mongod: Mongod, database: str) -> Json:
    with MongoClient[Json](mongod.uri) as admin:
        return {name: list(admin[database][name].find()) for name in (*LEDGER, SYNC_STATE)}


def test_the_daemons_user_adds_but_neither_changes_nor_deletes(
    guarded_mongod: Mongod, database: str
) -> None:
    before = documents(guarded_mongod, database)
    assert {name: len(before[name]) for name in LEDGER} == {
        BLOCKS: 136,
        TRANSACTIONS: 838,
        EVENTS: 694,
    }
    with MongoClient[Json](uri_of(guarded_mongod, "kindledger_indexer")) as client:
        for name in LEDGER:
            assert refused(CHANGES, client[database], name) == CHANGES.keys(), name
            assert client[database][name].index_information().keys() > {
                i.document["name"] for i in INDEXES[name]
            }
        losses = {what: CHANGES[what] for what in ("delete", "find and delete", "drop", "rename")}
        for name in (SYNC_STATE, CERTIFICATES):
            assert refused(losses, client[database], name) == losses.keys(), name
        assert refused(ADDITIONS, client["other"], "campaigns") == ADDITIONS.keys(), (
            "another application's collection"
        )
    assert {name: documents(guarded_mongod, database)[name] for name in LEDGER} == {
        n: before[n] for n in LEDGER
    }


def test_an_auditor_only_needs_to_read(guarded_mongod: Mongod, database: str) -> None:
    """The recorded ledger has no verdicts: the audit itself verifies all signatures."""
    before = documents(guarded_mongod, database)
    settings = {
        "mongo": {"uri": uri_of(guarded_mongod, "kindledger_api")},
        "channels": {"kindledger": {"database": database}},
    }
    ends = ("--from", "block:0", "--to", "block:135")
    audited = kindledger("audit", *ends, "--source", RECORDED, "--json", settings=settings)
    assert audited.returncode == Exit.OK, audited.stderr
    checks = {check["name"]: check["result"] for check in json.loads(audited.stdout)["checks"]}
    rows = ("rows", "missing_rows", "discrepancies")
    assert checks == dict.fromkeys(checks, "passed") | dict.fromkeys(rows, "not_configured")
    listed = kindledger("audit", "transactions", *ends, "--json", settings=settings)
    assert len(json.loads(listed.stdout)) == 838
    assert documents(guarded_mongod, database) == before


async def test_the_apis_user_only_reads_and_that_is_enough_for_the_api(
    guarded_mongod: Mongod, database: str
) -> None:
    before = documents(guarded_mongod, database)
    uri = uri_of(guarded_mongod, "kindledger_api")
    with MongoClient[Json](uri) as client:
        for name in (*LEDGER, SYNC_STATE, CERTIFICATES):
            for attempts in (CHANGES, ADDITIONS):
                assert refused(attempts, client[database], name) == attempts.keys(), name
    assert await asyncio.to_thread(documents, guarded_mongod, database) == before
    async with running("api", settings={"mongo": {"uri": uri}, "api": {"port": 0}}) as api:
        url = (await api.wait_for_event("api_started"))["url"].removesuffix("/api/v1/status")
        async with aiohttp.ClientSession() as session:
            for path in (
                "channels",
                "channels/kindledger/blocks/latest",
                "channels/kindledger/events",
            ):
                async with session.get(f"{url}/api/v1/{path}") as response:
                    assert response.status == 200, await response.text()
            async with session.get(f"{url}/ready") as response:
                assert response.status == 200, await response.text()
