"""Runs the measured parts and the peer in separate processes."""

import asyncio
import json
import subprocess
import sys
from asyncio import StreamReader
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from devnet.forge.forger import Recipe


def run_part(*arguments: str) -> dict[str, Any]:
    """Run a part; return the values that it prints. See `benchmarks.indexing_parts`."""
    return last_json_line([sys.executable, "-m", "benchmarks.indexing_parts", *arguments])


def last_json_line(command: Sequence[str]) -> dict[str, Any]:
    """Run a command until it ends; return the object in the last line that it prints.

    Raises `subprocess.CalledProcessError` if the command fails.
    """
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
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


@asynccontextmanager
async def peer_process(
    folder: Path, channel: str, tls: Path, *options: str
) -> AsyncIterator[tuple[int, StreamReader]]:
    """Run a peer that serves the folder over mutual TLS; yield its port and further output."""
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
        yield json.loads(await process.stdout.readline())["port"], process.stdout
    finally:
        process.terminate()
        await process.wait()
