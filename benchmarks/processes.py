"""Runs the parts, and the peer, in processes of their own."""

import asyncio
import json
import subprocess
import sys
from asyncio import StreamReader
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from devnet.forge.forger import Recipe


def run_part(*arguments: str) -> dict[str, Any]:
    """The figures that a part prints; see `benchmarks.parts`."""
    command = [sys.executable, "-m", "benchmarks.parts", *arguments]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return figures


@contextmanager
def running(
    *command: str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A module in a process of its own while the context lasts; it is to end at SIGTERM."""
    with subprocess.Popen(
        [sys.executable, "-m", *command], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def write_identity(work: Path) -> Path:
    """A folder with cert.pem and key.pem of a member of a forged network."""
    Recipe().network().client.write(work / "identity")
    return work / "identity"


@asynccontextmanager
async def peer_process(
    folder: Path, channel: str, tls: Path, *options: str
) -> AsyncIterator[tuple[int, StreamReader]]:
    """A peer that serves the folder over mutual TLS; yields its port and what else it prints."""
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
