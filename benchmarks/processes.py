"""Runs the measured parts and the peer in separate processes."""

import asyncio
import json
import os
import subprocess
import sys
from asyncio import StreamReader
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from devnet.forge.forger import Recipe


def run_part(
    *arguments: str, environment: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """Run a part, with additional variables; return the values that it prints.

    See `benchmarks.indexing_parts`.
    """
    command = [sys.executable, "-m", "benchmarks.indexing_parts", *arguments]
    return last_json_line(command, environment)


def last_json_line(
    command: Sequence[str], environment: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """Run a command until it ends; return the object in the last line that it prints.

    Raises `subprocess.CalledProcessError` if the command fails.
    """
    result = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | environment
    )
    values: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return values


@contextmanager
def running(
    *command: str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a module in a separate process while the context lasts, then send SIGTERM."""
    with subprocess.Popen(
        [sys.executable, "-m", *command], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def write_identity(work: Path) -> Path:
    """Write cert.pem and key.pem of a client of a forged network; return their folder."""
    Recipe().network().client.write(work / "identity")
    return work / "identity"


class RunningPeer(NamedTuple):
    """A peer in its own process: its port, its output after the start, and its process id."""

    port: int
    output: StreamReader
    pid: int


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def peer_process(
    folder: Path, channel: str, tls: Path, *options: str
) -> AsyncIterator[RunningPeer]:
    """Run a peer that serves the folder over mutual TLS."""
    command = (
        sys.executable,
        "-m",
        "devnet.peer",
        str(folder),
        "--channel",
        channel,
        "--tls-dir",
        str(tls),
    )
    process = await asyncio.create_subprocess_exec(*command, "--mutual-tls", *options, stdout=PIPE)
    try:
        if process.stdout is None:
            raise RuntimeError("the peer's output is not connected")
        port = json.loads(await process.stdout.readline())["port"]
        yield RunningPeer(port, process.stdout, process.pid)
    finally:
        process.terminate()
        await process.wait()
