"""`kindledger api`: the explorer API without an indexer."""

import asyncio

import click

from cli.assembly.api import run_api
from cli.commands.options import LoadSettings
from cli.errors import exit_on_failure


@click.command("api", short_help="Serve the explorer API only.")
@click.pass_obj
def api_command(load: LoadSettings, /) -> None:
    """Serve the explorer API only, until SIGTERM, SIGINT or SIGHUP."""
    with exit_on_failure(daemon=True):
        raise SystemExit(asyncio.run(run_api(load())))
