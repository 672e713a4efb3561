"""`kindledger doctor` against MongoDB, PostgreSQL and Redis, each failure provoked for real."""

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from cli.doctor.checks import Check, Outcome, exit_code
from cli.errors import Exit
from devnet.servers import Mongod, MongodMember, Postgres, Redis
from tests.cli.support import CHANNEL, Files, Json, examine, of, the_failure, uri_of

_IN_PROGRESS = 109

# --- MongoDB ----------------------------------------------------------------------------------------------------------


async def mongo_checks(uri: str, *, limit_s: float = 1.0, **more: Any) -> list[Check]:
    return await examine({"mongo": {"uri": uri}, "channels": {CHANNEL: {}}, **more}, limit_s)


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
    failure = the_failure(checks)
    assert (failure.name, exit_code(checks)) == (f"mongodb: {step}", code)
    assert not any("hunter2" in f"{check.detail} {check.advice}" for check in checks)


async def test_one_server_of_several_is_enough(guarded_mongod: Mongod, closed_port: int) -> None:
    uri = uri_of(guarded_mongod, "kindledger_indexer").replace(
        "@", f"@mongo.invalid,localhost:{closed_port},"
    )
    checks = await mongo_checks(uri, limit_s=5.0)
    assert all(check.outcome is not Outcome.FAILED for check in checks)
    assert "mongo.invalid" in of(checks, "mongodb")["dns"].detail


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
    failure = the_failure(checks)
    assert failure.name == "mongodb: authentication"
    assert detail in failure.detail
    assert of(checks, f"mongodb, {CHANNEL}")["rights"].outcome is Outcome.SKIPPED
    assert exit_code(checks) is Exit.CONFIGURATION


async def test_rights_are_those_that_the_configured_parts_need(
    guarded_mongod: Mongod, files: Files
) -> None:
    peer = {"fabric": files.fabric("grpc://peer0.invalid:7051")}

    async def rights(uri: str, **more: Any) -> Check:
        return of(await mongo_checks(uri, **more), f"mongodb, {CHANNEL}")["rights"]

    indexer, api = (uri_of(guarded_mongod, f"kindledger_{name}") for name in ("indexer", "api"))
    assert (await rights(indexer, **peer)).detail == f"exactly the needed rights on database {CHANNEL}"
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
    assert "access control is off" in of(checks, "mongodb")["authentication"].detail
    assert of(checks, f"mongodb, {CHANNEL}")["rights"].outcome is Outcome.SKIPPED
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
        assert "rs.initiate()" in str(the_failure(checks).advice)
        with MongoClient[Json](member.address) as client:
            members = [{"_id": 0, "host": member.host}]
            settings = {"electionTimeoutMillis": 500}
            config = {"_id": "kindledger", "version": 1, "members": members, "settings": settings}
            client.admin.command("replSetInitiate", config)
            members.append({"_id": 1, "host": f"127.0.0.1:{closed_port}"})
            await asyncio.to_thread(_reconfigure, client, config | {"version": 2})
        checks = await mongo_checks(f"mongodb://{member.host}/?replicaSet=rs0")
        assert "replica set kindledger" in the_failure(checks).detail
        await asyncio.to_thread(_lose_primary, member)
        checks = await mongo_checks(f"mongodb://{member.host}/?replicaSet=kindledger")
        assert f"cannot reach: 127.0.0.1:{closed_port}" in the_failure(checks).detail
        assert exit_code(checks) is Exit.UNAVAILABLE


def _lose_primary(member: MongodMember) -> None:
    with MongoClient[Json](member.address) as client:
        while client.admin.command("hello")["isWritablePrimary"]:
            time.sleep(0.05)


# --- PostgreSQL and Redis ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dsn", "step", "code"),
    [
        (
            "postgresql://postgres:hunter2@127.0.0.1:{port}/postgres",
            "authentication",
            Exit.CONFIGURATION,
        ),
        ("{dsn}_none", "database", Exit.CONFIGURATION),
        ("postgresql://u:hunter2@postgres.invalid/x", "dns", Exit.CONFIGURATION),
        ("postgresql://u:hunter2@127.0.0.1:{closed}/x", "tcp", Exit.UNAVAILABLE),
        ("postgresql://u:hunter2@127.0.0.1:{silent}/x", "tcp", Exit.UNAVAILABLE),
        ("{dsn}?sslmode=require", "session", Exit.CONFIGURATION),
        ("postgresql://u:hunter2/3@localhost/x", "address", Exit.CONFIGURATION),
        ("mysql://u:hunter2@localhost/x", "address", Exit.CONFIGURATION),
    ],
)
async def test_what_is_wrong_with_postgresql(
    postgres: Postgres, closed_port: int, dsn: str, step: str, code: Exit
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ports = {"closed": closed_port, "silent": silent.getsockname()[1], "port": postgres.port}
        checks = await examine(
            {"postgres": {"dsn": dsn.format(dsn=postgres.dsn, **ports)}}, limit_s=1.0
        )
    failure = the_failure(checks)
    assert (failure.name, exit_code(checks)) == (f"postgresql: {step}", code)
    assert not any("hunter2" in f"{check.detail} {check.advice}" for check in checks)


@pytest.mark.parametrize(
    ("url", "step", "code"),
    [
        ("redis://:hunter2@127.0.0.1:{port}/0", "authentication", Exit.CONFIGURATION),
        ("redis://127.0.0.1:{port}/0", "authentication", Exit.CONFIGURATION),
        ("redis://:hunter2@redis.invalid:6379/0", "dns", Exit.CONFIGURATION),
        ("redis://:hunter2@127.0.0.1:{closed}/0", "tcp", Exit.UNAVAILABLE),
        ("redis://:hunter2@127.0.0.1:{silent}/0", "ping", Exit.UNAVAILABLE),
        ("redis://:hunter2/3@localhost/0", "address", Exit.CONFIGURATION),
        ("http://:hunter2@localhost/0", "address", Exit.CONFIGURATION),
    ],
)
async def test_what_is_wrong_with_redis(
    redis: Redis, closed_port: int, url: str, step: str, code: Exit
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ports = {"closed": closed_port, "silent": silent.getsockname()[1], "port": redis.port}
        checks = await examine({"redis": {"url": url.format(**ports)}}, limit_s=1.0)
    failure = the_failure(checks)
    assert (failure.name, exit_code(checks)) == (f"redis: {step}", code)
    assert not any("hunter2" in f"{check.detail} {check.advice}" for check in checks)


async def test_an_address_whose_file_is_missing(tmp_path: Path) -> None:
    missing = tmp_path / "secret"
    checks = await examine(
        {
            "mongo": {"uri_file": missing},
            "postgres": {"dsn_file": missing},
            "redis": {"url_file": missing},
        }
    )
    failed = {
        check.name
        for check in checks
        if check.outcome is Outcome.FAILED and str(missing) in check.detail
    }
    assert failed == {"mongodb: address", "postgresql: address", "redis: address"}
