"""The live demo: a simulated Fabric network, its applications, all servers, indexer and API."""

import asyncio
import os
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Final

from cli.assembly.daemon import run_daemon
from cli.configuration.settings import Settings
from cli.demo.business import log_business_rows, prepare_business_database
from cli.demo.configuration import write_configuration, write_secret
from cli.demo.folder_lock import locked_folder
from cli.demo.network import LiveNetwork, live_network
from cli.demo.ports import choose_port
from cli.demo.servers import embedded_servers
from cli.errors import ConfigurationError, Exit
from cli.output.console import messages
from cli.output.logs import configure_logs
from devnet.live_network import IDENTITY, TLS
from devnet.servers import EmbeddedServers
from runtime.tasks import cancel_and_wait

_DATA_VERSION: Final = "2"
"""Increase it when the forger makes other blocks, which no stored chain can continue with."""


def default_folder() -> Path:
    """Return the folder of the demo's network and databases if no other is given."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "kindledger" / "demo"


def run_live_demo(folder: Path, port: int | None, interval_ms: int) -> Exit:
    """Run the demo until a signal ends it; return the exit code.

    The next start in the same folder continues with the same chain and databases. Raises
    `ConfigurationError` if the port is in use or another version made the folder, and
    `UnavailableError` if another demo runs in the folder.
    """
    with locked_folder(folder):
        api_port = choose_port(port)
        _check_version(folder)
        messages.print(
            f"starting MongoDB, PostgreSQL, Redis and a Fabric network in {folder}; the first "
            "start takes a few seconds",
            highlight=False,
            soft_wrap=True,
        )
        with embedded_servers(folder) as servers:
            return asyncio.run(_run(folder, servers, api_port, interval_ms))


def _check_version(folder: Path) -> None:
    """Raise `ConfigurationError` if the blocks in the folder are those of another version."""
    version = folder / "version"
    if (folder / "network").exists() and not (
        version.exists() and version.read_text() == _DATA_VERSION
    ):
        raise ConfigurationError(
            f"{folder} has the network of a demo of another version, which this version does not "
            "continue. Remove the folder, or name another one with --data"
        )
    version.write_text(_DATA_VERSION)


async def _run(folder: Path, servers: EmbeddedServers, api_port: int, interval_ms: int) -> Exit:
    applications_dsn, daemon_dsn = await prepare_business_database(servers.postgres_dsn)
    dsn_file = write_secret(folder / "postgres.dsn", applications_dsn)
    async with live_network(folder / "network", interval_ms, dsn_file) as network:
        configuration = _write_configuration(folder, servers, daemon_dsn, network, api_port)
        settings = Settings.model_validate(tomllib.loads(configuration.read_text()))
        configure_logs(settings.log)
        _print_addresses(configuration, network, api_port, interval_ms)
        row_log = asyncio.create_task(log_business_rows(applications_dsn))
        try:
            return await run_daemon(settings, with_api=True)
        finally:
            await cancel_and_wait([row_log])


def _write_configuration(
    folder: Path, servers: EmbeddedServers, daemon_dsn: str, network: LiveNetwork, api_port: int
) -> Path:
    tls, identity = folder / "network" / TLS, folder / "network" / IDENTITY
    return write_configuration(
        folder / "kindledger.toml",
        {
            "mongo": servers.mongo_uri,
            "postgres": daemon_dsn,
            "redis": servers.redis_url,
            "port": api_port,
            "peer": f"grpcs://localhost:{network.port}",
            "second_peer": f"grpcs://localhost:{network.second_port}",
            "ca": tls / "ca.pem",
            "certificate": identity / "cert.pem",
            "key": identity / "key.pem",
            "tls_certificate": tls / "client.pem",
            "tls_key": tls / "client.key",
            "channel": network.channel,
        },
    )


def _print_addresses(
    configuration: Path, network: LiveNetwork, api_port: int, interval_ms: int
) -> None:
    server = f"http://127.0.0.1:{api_port}"
    api = f"{server}/api/v1"
    channel = f"{api}/channels/{network.channel}"
    command = shlex.join([sys.argv[0], "--config", str(configuration)])
    messages.print(
        f"the peers of channel {network.channel} have {network.height} blocks and get a new one "
        f"every {interval_ms} ms; the applications write a row for each donation, sometimes a "
        "wrong one\n"
        f"  documentation  {server}/docs\n"
        f"  status         {api}/status\n"
        f"  agreement      {command} status\n"
        f"  blocks         {channel}/blocks\n"
        f"  newest block   {channel}/blocks/latest\n"
        f"  events         {channel}/events\n"
        f"  live stream    {channel}/stream\n"
        f"  settled rows   {command} reconcile status\n"
        f"  wrong rows     {command} reconcile list\n"
        "Ctrl-C stops everything; the next start continues from here",
        highlight=False,
        soft_wrap=True,
    )
