"""Runs the demo's simulated Fabric network in a separate process."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 5.0


class LiveNetwork(Struct, frozen=True):
    """What the network's process prints when its two peers listen."""

    port: int
    second_port: int
    channel: str
    height: int


@asynccontextmanager
async def live_network(
    folder: Path, interval_ms: int, dsn_file: Path
) -> AsyncIterator[LiveNetwork]:
    """Run the network while the context lasts.

    The network keeps its chain and its TLS files in the folder, makes a block each interval, and
    writes business rows to the database whose address is in `dsn_file`. Ctrl-C in the terminal does
    not reach its process.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "devnet.live_network",
        str(folder),
        "--interval-ms",
        str(interval_ms),
        "--postgres",
        str(dsn_file),
        stdout=PIPE,
        start_new_session=True,
    )
    try:
        yield msgspec.convert(json.loads(await _first_line(process)), LiveNetwork)
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(_STOP_TIMEOUT_S):
            await process.wait()


async def _first_line(process: Process) -> bytes:
    if process.stdout is None:
        raise RuntimeError("the output of the simulated network is not connected")
    async with asyncio.timeout(_START_TIMEOUT_S):
        line = await process.stdout.readline()
    if not line:
        raise RuntimeError(
            f"the simulated network did not start (exit code {await process.wait()}); its output "
            "above says why"
        )
    return line
