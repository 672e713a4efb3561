"""`kindledger doctor` with MongoDB: each fault fails the right check."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from cli.doctor.checks import Check, Outcome, exit_code
from cli.errors import Exit
from devnet.servers import Mongod, MongodMember, Redis
from tests.cli.support import CHANNEL, Files, Json, checks_of, only_failure, run_checks, uri_of

_IN_PROGRESS = 109


async def mongo_checks(uri: str, *, limit_s: float = 1.0, **more: Any) -> list[Check]:
    return await run_checks({"mongo": {"uri": uri}, "channels": {CHANNEL: {}}, **more}, limit_s)


@pytest.mark.parametrize(
    ("uri", "step", "code"),
    [
        ("mongodb://mongo.invalid:27017/", "dns", Exit.CONFIGURATION),
        ("mongodb://localhost:{closed}/", "tcp", Exit.UNAVAILABLE),
        ("mongodb://u:hunter2/x@localhost/", "address", Exit.CONFIGURATION),
        ("mongodb://u:p@localhost:hunter2/", "address", Exit.CONFIGURATION),
        ("mongodb://u:hunter2@localhost/?authSource", "address", Exit.CONFIGURATION),
        ("mongodb://localhost,127.0.0.1/?directConnection=true", "address", Exit.CONFIGURATION),
        ("mongodb://localhost:{redis}/", "selection", Exit.CONFIGURATION),
    ],
)
async def test_an_address_without_a_mongodb(
    redis: Redis, closed_port: int, uri: str, step: str, code: Exit
) -> None:
    checks = await mongo_checks(uri.format(closed=closed_port, redis=redis.port))
    failure = only_failure(checks)
    assert (failure.name, exit_code(checks)) == (f"mongodb: {step}", code)
    assert not any("hunter2" in f"{check.detail} {check.advice}" for check in checks)


async def test_one_server_of_several_is_enough(guarded_mongod: Mongod, closed_port: int) -> None:
    uri = uri_of(guarded_mongod, "kindledger_indexer").replace(
        "@", f"@mongo.invalid,localhost:{closed_port},"
    )
    checks = await mongo_checks(uri, limit_s=5.0)
    assert all(check.outcome is not Outcome.FAILED for check in checks)
    assert "mongo.invalid" in checks_of(checks, "mongodb")["dns"].detail


@pytest.mark.parametrize(
    ("credentials", "detail"),
    [
        ("kindledger_indexer:wrong@", "Authentication failed"),
        ("nobody:x@", "Authentication failed"),
        ("", "no user"),
    ],
)
async def test_a_login_that_mongodb_refuses(
    guarded_mongod: Mongod, credentials: str, detail: str
) -> None:
    checks = await mongo_checks(
        f"mongodb://{credentials}{guarded_mongod.host}/?replicaSet=kindledger"
    )
    failure = only_failure(checks)
    assert failure.name == "mongodb: authentication"
    assert detail in failure.detail
    assert checks_of(checks, f"mongodb, {CHANNEL}")["rights"].outcome is Outcome.SKIPPED
    assert exit_code(checks) is Exit.CONFIGURATION


async def test_rights_are_those_that_the_configured_parts_need(
    guarded_mongod: Mongod, files: Files
) -> None:
    peer = {"fabric": files.fabric("grpc://peer0.invalid:7051")}

    async def rights(uri: str, **more: Any) -> Check:
        return checks_of(await mongo_checks(uri, **more), f"mongodb, {CHANNEL}")["rights"]

    indexer, api = (uri_of(guarded_mongod, f"kindledger_{name}") for name in ("indexer", "api"))
    assert (
        await rights(indexer, **peer)
    ).detail == f"exactly the needed rights on database {CHANNEL}"
    assert (await rights(api)).detail == f"exactly the needed rights on database {CHANNEL}"
    lacking = await rights(api, **peer)
    assert (lacking.outcome, lacking.exit_code) == (Outcome.FAILED, Exit.CONFIGURATION)
    assert "transactions_ledger: createCollection, createIndex, insert" in lacking.detail
    assert "sync_state: insert, update" in lacking.detail
    assert (
        f"more than needed on database {CHANNEL}: dropCollection, remove, update"
        in (await rights(guarded_mongod.uri, **peer)).detail
    )


async def test_access_control_that_is_off_is_said(mongo_uri: str) -> None:
    checks = await mongo_checks(mongo_uri)
    assert "access control is off" in checks_of(checks, "mongodb")["authentication"].detail
    assert checks_of(checks, f"mongodb, {CHANNEL}")["rights"].outcome is Outcome.SKIPPED
    assert exit_code(checks) is Exit.OK


def _reconfigure(client: MongoClient[Json], config: Json) -> None:
    """Gives a member another configuration, which it refuses while it is being elected."""
    deadline = time.monotonic() + 10
    while True:
        try:
            client.admin.command("replSetReconfig", config, force=True)
        except OperationFailure as error:
            if error.code != _IN_PROGRESS or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


async def test_a_replica_set_that_cannot_be_used(tmp_path: Path, closed_port: int) -> None:
    with MongodMember(tmp_path / "member") as member:
        checks = await mongo_checks(f"mongodb://{member.host}/?replicaSet=rs0")
        assert "rs.initiate()" in str(only_failure(checks).advice)
        with MongoClient[Json](member.address) as client:
            members = [{"_id": 0, "host": member.host}]
            settings = {"electionTimeoutMillis": 500}
            config = {"_id": "kindledger", "version": 1, "members": members, "settings": settings}
            client.admin.command("replSetInitiate", config)
            members.append({"_id": 1, "host": f"127.0.0.1:{closed_port}"})
            await asyncio.to_thread(_reconfigure, client, config | {"version": 2})
        checks = await mongo_checks(f"mongodb://{member.host}/?replicaSet=rs0")
        assert "replica set kindledger" in only_failure(checks).detail
        await asyncio.to_thread(_lose_primary, member)
        checks = await mongo_checks(f"mongodb://{member.host}/?replicaSet=kindledger")
        assert f"cannot reach: 127.0.0.1:{closed_port}" in only_failure(checks).detail
        assert exit_code(checks) is Exit.UNAVAILABLE


def _lose_primary(member: MongodMember) -> None:
    with MongoClient[Json](member.address) as client:
        while client.admin.command("hello")["isWritablePrimary"]:
            time.sleep(0.05)
