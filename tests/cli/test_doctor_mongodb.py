"""`kindledger doctor` with MongoDB: each fault fails the right check."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from cli.doctor.checks import Check, Outcome, exit_code
from cli.errors import Exit
from devnet.peer import Authority, KeyPair
from devnet.servers import Mongod, MongodMember, Redis
from tests.cli.support import (
    CHANNEL,
    SERVER,
    TLS_AUTHORITY,
    Files,
    Json,
    checks_of,
    kindledger,
    only_failure,
    run_checks,
    uri_of,
)
from tests.cli.tls_server import handshake_server
from tests.eventually import eventually_sync

SHORT_LIMIT_S = 2.0
"""The time limit of checks that wait for it, because MongoDB does not answer."""


async def mongo_checks(uri: str, *, limit_s: float = 5.0, **more: Any) -> list[Check]:
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
async def test_an_address_without_a_mongodb_fails_its_step(
    redis: Redis, closed_port: int, uri: str, step: str, code: Exit
) -> None:
    checks = await mongo_checks(
        uri.format(closed=closed_port, redis=redis.port), limit_s=SHORT_LIMIT_S
    )
    failure = only_failure(checks)
    assert (failure.name, exit_code(checks)) == (f"mongodb: {step}", code)
    assert not any("hunter2" in f"{check.detail} {check.advice}" for check in checks)


async def test_one_server_of_several_is_enough(guarded_mongod: Mongod, closed_port: int) -> None:
    uri = uri_of(guarded_mongod, "kindledger_indexer").replace(
        "@", f"@mongo.invalid,localhost:{closed_port},"
    )
    checks = await mongo_checks(uri)
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
async def test_a_login_that_mongodb_refuses_fails_its_step(
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


async def test_the_needed_rights_depend_on_the_configured_parts(
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


async def test_access_control_that_is_off_is_a_warning(mongo_uri: str) -> None:
    checks = await mongo_checks(mongo_uri)
    authentication = checks_of(checks, "mongodb")["authentication"]
    assert (authentication.outcome, authentication.exit_code) == (Outcome.WARNING, None)
    assert "access control is off" in authentication.detail
    assert "config/mongo-roles.js" in str(authentication.advice)
    assert checks_of(checks, f"mongodb, {CHANNEL}")["rights"].outcome is Outcome.SKIPPED
    assert exit_code(checks) is Exit.OK


def _reconfigure(client: MongoClient[Json], config: Json) -> None:
    """Change a member's configuration; the member refuses it during its election."""
    eventually_sync(
        lambda: client.admin.command("replSetReconfig", config, force=True),
        retry_on=OperationFailure,
        describe="the change of the configuration",
    )


async def test_the_reason_why_a_replica_set_cannot_be_used_is_named(
    tmp_path: Path, closed_port: int
) -> None:
    with MongodMember(tmp_path / "member") as member:
        checks = await mongo_checks(
            f"mongodb://{member.host}/?replicaSet=rs0", limit_s=SHORT_LIMIT_S
        )
        assert "rs.initiate()" in str(only_failure(checks).advice)
        with MongoClient[Json](member.address) as client:
            members = [{"_id": 0, "host": member.host}]
            settings = {"electionTimeoutMillis": 500}
            config = {"_id": "kindledger", "version": 1, "members": members, "settings": settings}
            client.admin.command("replSetInitiate", config)
            members.append({"_id": 1, "host": f"127.0.0.1:{closed_port}"})
            await asyncio.to_thread(_reconfigure, client, config | {"version": 2})
        checks = await mongo_checks(
            f"mongodb://{member.host}/?replicaSet=rs0", limit_s=SHORT_LIMIT_S
        )
        assert "replica set kindledger" in only_failure(checks).detail
        await asyncio.to_thread(_wait_until_not_primary, member)
        checks = await mongo_checks(
            f"mongodb://{member.host}/?replicaSet=kindledger", limit_s=SHORT_LIMIT_S
        )
        assert f"cannot reach: 127.0.0.1:{closed_port}" in only_failure(checks).detail
        assert exit_code(checks) is Exit.UNAVAILABLE


def _wait_until_not_primary(member: MongodMember) -> None:
    with MongoClient[Json](member.address) as client:
        eventually_sync(
            lambda: client.admin.command("hello"), lambda hello: not hello["isWritablePrimary"]
        )


@contextmanager
def tls_server(folder: Path, certificate: KeyPair) -> Iterator[int]:
    """Run a server with this certificate that answers a TLS handshake and nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*Files(folder).write("server", certificate))
    with handshake_server(context) as port:
        yield port


@pytest.mark.parametrize(
    ("certificate", "options", "detail", "advice"),
    [
        (SERVER, "", "do not answer as MongoDB", "tls=true"),
        (SERVER, "tls=true", "not issued by a CA that this machine trusts", "Add tlsCAFile="),
        (
            SERVER,
            "tls=true&tlsCAFile={folder}/other.pem",
            "not issued by a CA in tlsCAFile",
            "{folder}",
        ),
        (SERVER, "tls=true&tlsCAFile={folder}/ca.pem", "no TLS session with MongoDB", "the port"),
        (
            TLS_AUTHORITY.issue("m", hosts=["mongo.example.com"]),
            "tls=true&tlsCAFile={folder}/ca.pem",
            "for another host",
            "host name",
        ),
        (
            TLS_AUTHORITY.issue("m", lifetime=timedelta(minutes=-30)),
            "tls=true&tlsCAFile={folder}/ca.pem",
            "not valid now",
            "Renew",
        ),
    ],
    ids=["tls-is-off", "no-ca", "another-ca", "not-mongodb", "another-host", "expired"],
)
async def test_a_tls_fault_names_its_real_cause(
    tmp_path: Path, certificate: KeyPair, options: str, detail: str, advice: str
) -> None:
    (tmp_path / "ca.pem").write_bytes(TLS_AUTHORITY.certificate)
    (tmp_path / "other.pem").write_bytes(Authority("another").certificate)
    with tls_server(tmp_path, certificate) as port:
        uri = f"mongodb://localhost:{port}/?{options.format(folder=tmp_path)}"
        checks = await mongo_checks(uri, limit_s=SHORT_LIMIT_S)
    failure = only_failure(checks)
    assert (failure.name, exit_code(checks)) == ("mongodb: selection", Exit.CONFIGURATION)
    assert detail in failure.detail
    assert advice.format(folder=tmp_path) in str(failure.advice)
    assert "tls=true" not in str(failure.advice) or not options, "TLS is on already"


@pytest.mark.parametrize(
    ("content", "says"), [(None, "none.pem: cannot be read"), ("not PEM", "tlsCAFile")]
)
async def test_a_ca_file_that_cannot_be_used_is_named(
    tmp_path: Path, closed_port: int, content: str | None, says: str
) -> None:
    file = tmp_path / "none.pem"
    if content is not None:
        file.write_text(content)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        uri = f"mongodb://localhost:{port}/?tls=true&tlsCAFile={file}"
        checks = await mongo_checks(uri)
    failure = only_failure(checks)
    assert (failure.name, exit_code(checks)) == ("mongodb: address", Exit.CONFIGURATION)
    assert says in failure.detail
    assert "mongo.uri" in str(failure.advice)
    status = await asyncio.to_thread(kindledger, "status", settings={"mongo": {"uri": uri}})
    assert (status.returncode, status.stdout) == (78, "")
    assert says in status.stderr
    assert "Traceback" not in status.stderr


async def test_a_local_socket_without_a_server_is_named(tmp_path: Path) -> None:
    socket_path = str(tmp_path / "none.sock").replace("/", "%2F")
    checks = await mongo_checks(f"mongodb://{socket_path}/?tls=true", limit_s=SHORT_LIMIT_S)
    assert "local socket" in only_failure(checks).detail
