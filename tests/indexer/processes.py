"""Runs the command `kindledger` in processes of its own."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from devnet.peer import Peer
from tests.indexer.network import Client
from tests.indexer.support import CHANNEL

ROOT = Path(__file__).parents[2]
STARTS_WITHIN_S = 60.0


class Ended(NamedTuple):
    """The exit code and the output of a command that has ended."""

    code: int
    stdout: str
    stderr: str


@asynccontextmanager
async def kindledger(
    *arguments: str | Path, **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the command while the context lasts; kill it at the end if it still runs.

    The envelopes of most chains of the tests are not signed, so that they are not verified.
    """
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("KINDLEDGER_")
    } | {"KINDLEDGER_VERIFICATION__ENVELOPES": "false"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=inherited | environment,
        cwd=ROOT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def ending(process: asyncio.subprocess.Process, within_s: float = STARTS_WITHIN_S) -> Ended:
    """Wait for the end of the process; return its exit code and output."""
    async with asyncio.timeout(within_s):
        stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, stdout.decode(), stderr.decode())


def stop(process: asyncio.subprocess.Process) -> None:
    """Send SIGTERM, unless the process has ended already."""
    if process.returncode is None:
        process.terminate()


async def result(*arguments: str | Path, **environment: str) -> Ended:
    """Run the command to its end."""
    async with kindledger(*arguments, **environment) as process:
        return await ending(process)


def configuration(
    path: Path, mongo_uri: str, database: str, client: Client, *peers: Peer, **indexer: float
) -> Path:
    """Write a configuration file of the daemon."""
    files = {
        "msp_id": client.msp_id,
        "certificate": client.folder / "cert.pem",
        "key": client.folder / "key.pem",
        "client_tls_certificate": client.folder / "client.pem",
        "client_tls_key": client.folder / "client.key",
    }
    lines = [
        "[mongo]",
        f"uri = {json.dumps(mongo_uri)}",
        f"[channels.{CHANNEL}]",
        f"database = {json.dumps(database)}",
        "[indexer]",
        *(f"{name} = {value}" for name, value in indexer.items()),
        "[fabric]",
        *(f"{name} = {json.dumps(str(value))}" for name, value in files.items()),
    ]
    for peer in peers:
        lines += [
            "[[fabric.peers]]",
            f'address = "{peer.address}"',
            f'tls_ca = "{client.folder / "ca.pem"}"',
        ]
    path.write_text("\n".join(lines))
    return path
