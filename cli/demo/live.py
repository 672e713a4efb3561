"""`kindledger demo`: all on this machine: a forged Fabric network and its applications, servers, indexer and API."""

import asyncio
import json
import os
import socket
import sys
import tempfile
import tomllib
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from cli.assembly.daemon import run_daemon
from cli.commands.import_files import import_files
from cli.configuration.settings import Settings
from cli.demo.business import prepare_business, tell
from cli.errors import Exit
from cli.output.console import messages
from cli.output.logs import configure_logs
from cli.version import VERSION
from devnet.live_network import IDENTITY, TLS
from devnet.servers import EmbeddedServers, Mongod

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
        settings = Settings.model_validate({"mongo": {"uri": mongod.uri}})
        configure_logs(settings.log)
        return asyncio.run(
            import_files(settings, [ledger], start=None, database=None, as_json=as_json)
        )


def demo(folder: Path, port: int | None, interval_ms: int) -> Exit:
    """Runs until Ctrl-C. A second start on the same folder goes on where it stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    messages.print(
        f"starting MongoDB, PostgreSQL, Redis and a Fabric network in {folder}: a few seconds the first time"
    )
    with EmbeddedServers(folder, os.environ) as servers:
        return asyncio.run(_run(folder, servers, port, interval_ms))


async def _run(folder: Path, servers: EmbeddedServers, port: int | None, interval_ms: int) -> Exit:
    network = folder / "network"
    applications, daemon = await prepare_business(servers.postgres_dsn, VERSION)
    async with _live_network(
        network, interval_ms, _secret(folder / "postgres.dsn", applications)
    ) as announced:
        tls, identity = network / TLS, network / IDENTITY
        path = _secret(
            folder / "kindledger.toml",
            _CONFIGURATION.format_map(
                {
                    name: json.dumps(str(value), ensure_ascii=False)
                    for name, value in {
                        "mongo": servers.mongo_uri,
                        "postgres": daemon,
                        "redis": servers.redis_url,
                        "peer": f"grpcs://localhost:{announced['port']}",
                        "ca": tls / "ca.pem",
                        "certificate": identity / "cert.pem",
                        "key": identity / "key.pem",
                        "tls_certificate": tls / "client.pem",
                        "tls_key": tls / "client.key",
                        "channel": announced["channel"],
                    }.items()
                }
                | {"port": _api_port() if port is None else port}
            ),
        )
        settings = Settings.model_validate(tomllib.loads(path.read_text()))
        configure_logs(settings.log)
        _say_where(settings, path, announced, interval_ms)
        telling = asyncio.create_task(tell(applications))
        try:
            return await run_daemon(settings, with_api=True)
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)


_CONFIGURATION = """\
# Written by each start of `kindledger demo`, for these servers.
[mongo]
uri = {mongo}

[postgres]
dsn = {postgres}

[redis]
url = {redis}

[api]
port = {port}

[fabric]
peers = [{{ address = {peer}, tls_ca = {ca} }}]
msp_id = "Org1MSP"
certificate = {certificate}
key = {key}
client_tls_certificate = {tls_certificate}
client_tls_key = {tls_key}

[channels.{channel}]

[reconcile]
sweep_s = 5
grace_s = 20
"""


def _secret(path: Path, text: str) -> Path:
    """A file that only its owner can read."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def _say_where(
    settings: Settings, configuration: Path, announced: dict[str, Any], interval_ms: int
) -> None:
    root = f"http://{settings.api.host}:{settings.api.port}"
    channel = announced["channel"]
    api = f"{root}/api/v1"
    command = f"{sys.argv[0]} --config {configuration}"
    messages.print(
        f"a peer serves channel {channel} with {announced['height']} blocks, and a new one every {interval_ms} ms; "
        "applications write rows of donations, and sometimes wrong ones\n"
        f"  docs     {root}/docs\n"
        f"  status   {api}/status\n"
        f"  blocks   {api}/channels/{channel}/blocks\n"
        f"  newest   {api}/channels/{channel}/blocks/latest\n"
        f"  events   {api}/channels/{channel}/events\n"
        f"  stream   {api}/channels/{channel}/stream\n"
        f"  rows     {command} reconcile status\n"
        f"  wrong    {command} reconcile list\n"
        "Ctrl-C stops everything; the next start goes on from here",
        highlight=False,
        soft_wrap=True,
    )


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
async def _live_network(
    folder: Path, interval_ms: int, postgres: Path
) -> AsyncIterator[dict[str, Any]]:
    """The forged network in a process of its own, which Ctrl-C does not reach; yields what it says when it listens."""
    command = (
        sys.executable,
        "-m",
        "devnet.live_network",
        str(folder),
        "--interval-ms",
        str(interval_ms),
        "--postgres",
        str(postgres),
    )
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
        raise RuntimeError(
            f"the forged network did not start (exit code {await process.wait()}); its output says why"
        )
    return line
