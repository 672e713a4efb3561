"""`kindledger demo`: everything on this machine: a forged Fabric network, MongoDB, the indexer and the API."""

import asyncio
import json
import os
import socket
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from cli.errors import Exit
from cli.importing import import_files
from cli.logs import configure_logs
from cli.output import messages
from cli.service import run_daemon
from cli.settings import Settings
from devnet.live import IDENTITY, TLS
from devnet.servers import Mongod

RECORDED = "raft-2.5-blocks-000000-000135.tar.xz"
_NETWORK_START_S = 120.0
_NETWORK_STOP_S = 5.0


def default_folder() -> Path:
    """Where the demo keeps its network and database unless told otherwise."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "kindledger" / "demo"


def demo_once(*, as_json: bool) -> Exit:
    """Indexes the recorded Raft ledger into a fresh MongoDB, prints what it holds and leaves nothing behind."""
    with (
        tempfile.TemporaryDirectory(prefix="kindledger-demo-") as folder,
        Mongod(Path(folder) / "mongo") as mongod,
        as_file(files("devnet") / "recorded" / RECORDED) as ledger,
    ):
        settings = _settings(mongod.uri, {})
        return asyncio.run(import_files(settings, [ledger], start=None, database=None, as_json=as_json))


def demo(folder: Path, port: int | None, interval_ms: int) -> Exit:
    """Runs until Ctrl-C. A second start on the same folder goes on where it stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    messages.print(f"starting MongoDB and a Fabric network in {folder}; the first start takes a few seconds")
    with Mongod(folder / "mongo") as mongod:
        return asyncio.run(_run(folder, mongod.uri, port, interval_ms))


async def _run(folder: Path, mongo_uri: str, port: int | None, interval_ms: int) -> Exit:
    network = folder / "network"
    async with _live_network(network, interval_ms) as announced:
        channel = announced["channel"]
        tls = network / TLS
        settings = _settings(
            mongo_uri,
            {
                "channels": {channel: {}},
                "api": {"port": _api_port() if port is None else port},
                "fabric": {
                    "peers": [{"address": f"grpcs://localhost:{announced['port']}", "tls_ca": tls / "ca.pem"}],
                    "msp_id": "Org1MSP",
                    "certificate": network / IDENTITY / "cert.pem",
                    "key": network / IDENTITY / "key.pem",
                    "client_tls_certificate": tls / "client.pem",
                    "client_tls_key": tls / "client.key",
                },
            },
        )
        _say_where(settings, channel, announced["height"], interval_ms)
        return await run_daemon(settings, with_api=True)


def _say_where(settings: Settings, channel: str, height: int, interval_ms: int) -> None:
    api = f"http://{settings.api.host}:{settings.api.port}/api/v1"
    messages.print(
        f"a peer serves channel {channel} with {height} blocks, and a new one every {interval_ms} ms\n"
        f"  status   {api}/status\n"
        f"  blocks   {api}/channels/{channel}/blocks\n"
        f"  newest   {api}/channels/{channel}/blocks/latest\n"
        f"  events   {api}/channels/{channel}/events\n"
        "Ctrl-C stops everything; the next start goes on from here",
        highlight=False,
        soft_wrap=True,
    )


def _settings(mongo_uri: str, values: dict[str, Any]) -> Settings:
    """The demo's own configuration: what the environment says for real servers is left aside."""
    settings = Settings.model_validate({"mongo": {"uri": mongo_uri}, **values})
    configure_logs(settings.log)
    return settings


def _api_port() -> int:
    """8080, or a free port where that is taken."""
    for port in (8080, 0):
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no port is free")


@asynccontextmanager
async def _live_network(folder: Path, interval_ms: int) -> AsyncIterator[dict[str, Any]]:
    """The forged network in a process of its own, which Ctrl-C does not reach; yields what it says when it listens."""
    command = (sys.executable, "-m", "devnet.live", str(folder), "--interval-ms", str(interval_ms))
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, start_new_session=True)
    try:
        yield json.loads(await _first_line(process))
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(_NETWORK_STOP_S):
            await process.wait()


async def _first_line(process: Process) -> bytes:
    assert process.stdout is not None  # noqa: S101 - it was asked for
    async with asyncio.timeout(_NETWORK_START_S):
        line = await process.stdout.readline()
    if not line:
        raise RuntimeError(f"the forged network did not start (exit code {await process.wait()}); its output says why")
    return line
