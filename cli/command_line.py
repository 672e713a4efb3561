"""The command line: the group `kindledger` with its commands."""

from pathlib import Path

import click

from cli.commands.api import api_command
from cli.commands.config import config_group
from cli.commands.demo import demo_command
from cli.commands.doctor import doctor_command
from cli.commands.import_files import import_command
from cli.commands.migrate import migrate_group
from cli.commands.reconcile import reconcile_group
from cli.commands.run import run_command
from cli.commands.status import status_command
from cli.commands.verify import verify_command
from cli.configuration.loading import load_settings
from cli.configuration.settings import Settings
from cli.output.logs import configure_logs
from cli.version import VERSION

_COMMANDS: tuple[click.Command, ...] = (
    api_command,
    config_group,
    demo_command,
    doctor_command,
    import_command,
    migrate_group,
    reconcile_group,
    run_command,
    status_command,
    verify_command,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), help="Configuration file (TOML)."
)
@click.version_option(VERSION)
@click.pass_context
def kindledger(context: click.Context, config: Path | None) -> None:
    """Index Hyperledger Fabric ledgers into MongoDB and serve them.

    Settings come from a TOML file (--config or KINDLEDGER_CONFIG) and from environment variables,
    which override the file: KINDLEDGER_MONGO__URI is mongo.uri.

    \b
    Exit codes:
      0    success
      1    unexpected error
      2    wrong usage
      65   the chain does not match, data is corrupt, or rows contradict the ledger
      69   a needed server or folder is unavailable
      75   the daemon gave up retrying: restart it
      78   wrong configuration
      129  ended by SIGHUP
      130  ended by SIGINT
      143  ended by SIGTERM
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    context.obj = lambda: _load(config)


def _load(config: Path | None) -> Settings:
    settings = load_settings(config)
    configure_logs(settings.log)
    return settings


for _command in _COMMANDS:
    kindledger.add_command(_command)
