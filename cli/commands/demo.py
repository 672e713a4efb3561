"""`kindledger demo`: shows the program at work on this machine, without any other server."""

import asyncio
import tempfile
from importlib.resources import as_file, files
from pathlib import Path

import click

from cli.commands.import_files import import_files
from cli.commands.options import json_option
from cli.configuration.settings import Settings
from cli.demo.live_demo import default_folder, run_live_demo
from cli.demo.servers import embedded_mongodb
from cli.errors import Exit, exit_on_failure
from cli.output.logs import configure_logs

_RECORDED_LEDGER = "raft-2.5-blocks-000000-000135.tar.xz"


@click.command("demo", short_help="Run a simulated network, the indexer and the API.")
@click.option("--once", is_flag=True, help="Index the recorded ledger, print a summary and exit.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the network and the databases.  [default: ~/.local/share/kindledger/demo]",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port of the API.  [default: 8080, or a free port if it is in use]",
)
@click.option(
    "--interval-ms",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Time between new blocks.",
)
@json_option
def demo_command(
    *, once: bool, data: Path | None, port: int | None, interval_ms: int, as_json: bool
) -> None:
    """Run a simulated Fabric network, its applications, all servers, the indexer and the API.

    Needs the extra devnet: pip install 'kindledger-explorer[devnet]'.
    """
    with exit_on_failure():
        if once:
            raise SystemExit(demo_once(as_json=as_json))
        raise SystemExit(run_live_demo(data or default_folder(), port, interval_ms))


def demo_once(*, as_json: bool) -> Exit:
    """Index the recorded Raft ledger into a temporary MongoDB, and print its totals.

    Return the exit code.
    """
    with (
        tempfile.TemporaryDirectory(prefix="kindledger-demo-") as folder,
        embedded_mongodb(Path(folder) / "mongo") as mongod,
        as_file(files("devnet") / "recorded" / _RECORDED_LEDGER) as ledger,
    ):
        settings = Settings.model_validate({"mongo": {"uri": mongod.uri}})
        configure_logs(settings.log)
        return asyncio.run(
            import_files(settings, [ledger], start=None, database=None, as_json=as_json)
        )
