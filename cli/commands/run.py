"""`kindledger run`: the daemon."""

import asyncio

import click

from cli.assembly.daemon import run_daemon
from cli.commands.options import LoadSettings, indexes_option, profile_option
from cli.configuration.settings import IndexCreation
from cli.errors import exit_on_failure


@click.command("run", short_help="Run the daemon: index the configured channels.")
@click.option("--with-api", is_flag=True, help="Serve the explorer API in the same process.")
@indexes_option
@profile_option
@click.pass_obj
def run_command(
    load: LoadSettings,
    /,
    *,
    with_api: bool,
    indexes: IndexCreation | None,
    profile: bool,
) -> None:
    """Run the daemon: index the configured channels until SIGTERM, SIGINT or SIGHUP."""
    with exit_on_failure(daemon=True):
        settings = load().with_indexes(indexes)
        raise SystemExit(asyncio.run(run_daemon(settings, with_api=with_api, profile=profile)))
