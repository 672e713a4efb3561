"""The embedded servers keep acknowledged writes and end with their parent."""

import asyncio
import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from devnet.servers import (
    EmbeddedServers,
    Mongod,
    MongoReplicaSet,
    Postgres,
)
from devnet.servers.programs import POSTGRES, find_program
from tests.devnet.server_clients import (
    CASES,
    ServerCase,
    postgres_run,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_acknowledged_writes_survive_a_sigkill_and_a_start_with_another_port(
    case: ServerCase, tmp_path: Path
) -> None:
    with case.make(tmp_path / "data") as server:
        address, pid = server.address, server.pid
        case.add(address, "first")
        server.kill()
        assert not Path(f"/proc/{pid}").exists()  # the process was reaped
        server.start()
        assert server.address == address
        case.add(address, "second")
        port = server.port
    server.stop()  # a second stop does nothing

    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        with case.make(tmp_path / "data") as again:
            assert again.port != port
            case.add(again.address, "third")
            assert case.names(again.address) == ["first", "second", "third"]


def test_a_mongod_with_auth_refuses_reads_without_a_user(tmp_path: Path) -> None:
    with Mongod(tmp_path, auth=True) as server:
        without_user = f"mongodb://{server.host}/?directConnection=true"
        with (
            MongoClient[dict[str, Any]](without_user) as client,
            pytest.raises(OperationFailure, match="auth"),
        ):
            client.shop.names.find_one()


async def test_a_paused_server_keeps_its_connections_and_continues_after_resume(
    tmp_path: Path,
) -> None:
    with Postgres(tmp_path) as server:
        connection = await asyncpg.connect(server.dsn)
        server.pause()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await asyncpg.connect(server.dsn)
        pending = asyncio.create_task(connection.fetchval("SELECT 42"))
        await asyncio.sleep(0.5)
        assert not pending.done()  # the process that serves this connection is frozen too
        server.resume()
        assert await pending == 42
        await connection.close()
        server.pause()
    assert (
        "database system is shut down" in server.log.read_text()
    )  # a clean shutdown of a paused server


def test_a_replica_set_of_three_replaces_a_killed_primary(tmp_path: Path) -> None:
    with (
        MongoReplicaSet(tmp_path) as servers,
        MongoClient[dict[str, Any]](servers.uri, w="majority") as client,
    ):
        client.shop.names.insert_one({"name": "first"})
        lost = servers.primary()
        lost.kill()
        assert servers.primary() is not lost
        client.shop.names.insert_one({"name": "second"})
        assert [document["name"] for document in client.shop.names.find()] == ["first", "second"]
        servers.start()
        assert lost.pid


PARENT = """
import os, sys, threading, time
from pathlib import Path
from devnet.servers import EmbeddedServers
servers = EmbeddedServers(Path(sys.argv[1]), {})
starter = threading.Thread(target=servers.start)
starter.start(); starter.join()
time.sleep(0.5)
print(servers.mongo_uri, servers.postgres_dsn, servers.redis_url, flush=True)
time.sleep(100)
"""


def test_all_servers_end_with_a_killed_parent_and_start_again_on_the_same_folder(
    tmp_path: Path,
) -> None:
    """The thread that starts the servers ends at once, and the servers continue to run."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        addresses = parent.stdout.readline().split()
        cases = [CASES["mongod"], CASES["postgres"], CASES["redis"]]
        for case, address in zip(cases, addresses, strict=True):
            case.add(address, "kept")
        before = lock_holders(tmp_path)
        assert len(before) > 3  # PostgreSQL has several processes
        parent.kill()
    with EmbeddedServers(tmp_path, {}) as servers:  # waits for the end of the old servers
        assert not before & lock_holders(tmp_path)
        again = [servers.mongo_uri, servers.postgres_dsn, servers.redis_url]
        assert [case.names(address) for case, address in zip(cases, again, strict=True)] == [
            ["kept"]
        ] * 3
        before = lock_holders(tmp_path)
    assert before
    assert not lock_holders(tmp_path)


def lock_holders(folder: Path) -> set[tuple[int, str]]:
    """Return the processes, by id and start time, that have a lock file below `folder` open."""
    processes = set()
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if descriptor.readlink().is_relative_to(folder) and descriptor.parts[2] != str(
                os.getpid()
            ):
                started = (
                    Path(*descriptor.parts[:3], "stat").read_text().rpartition(")")[2].split()[19]
                )
                processes.add((int(descriptor.parts[2]), started))
        except OSError:  # the process ended, or belongs to another user
            continue
    return processes


def test_postgres_started_by_root_runs_unprivileged_and_changes_no_permission(
    tmp_path: Path,
) -> None:
    """Its data and its program are in a folder that other users cannot enter."""
    tmp_path.chmod(0o700)
    site = find_program(POSTGRES).parents[3]
    for part in ("pgserver/pginstall", "pgserver.libs"):
        shutil.copytree(site / part, tmp_path / part)
    program = tmp_path / "pgserver/pginstall/bin/postgres"
    root = os.geteuid() == 0
    with Postgres(tmp_path / "first", binary=program) as server:
        cluster = Path(postgres_run(server.dsn, "SHOW data_directory")[0])
        assert Path(f"/proc/{server.pid}").stat().st_uid == (65534 if root else os.geteuid())
        assert stat.S_IMODE(cluster.stat().st_mode) == 0o700
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    assert cluster.is_relative_to(tmp_path) != root
    shutil.rmtree(tmp_path / "first")
    with Postgres(tmp_path / "second"):
        assert not cluster.exists()  # deleted, because its data folder was deleted
