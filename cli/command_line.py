"""The command line: the group `kindledger` with its commands."""

from importlib import import_module
from pathlib import Path
from typing import Final

import click

from cli.configuration.loading import load_settings
from cli.configuration.settings import Settings
from cli.output.logs import configure_logs
from cli.version import VERSION

_COMMANDS: Final = {
    "api": "cli.commands.api:api_command",
    "audit": "cli.commands.audit:audit_group",
    "certificates": "cli.commands.certificates:certificates_command",
    "config": "cli.commands.config:config_group",
    "demo": "cli.commands.demo:demo_command",
    "digest": "cli.commands.digest:digest_command",
    "doctor": "cli.commands.doctor:doctor_command",
    "evidence": "cli.commands.evidence:evidence_group",
    "import": "cli.commands.import_files:import_command",
    "migrate": "cli.commands.migrate:migrate_group",
    "reconcile": "cli.commands.reconcile:reconcile_group",
    "reindex": "cli.commands.reindex:reindex_command",
    "repair": "cli.commands.repair:repair_command",
    "run": "cli.commands.run:run_command",
    "status": "cli.commands.status:status_command",
    "verify": "cli.commands.verify:verify_command",
}
"""The module and the name of each command."""


class _LazyGroup(click.Group):
    """A group that imports a command when it is used: importing all of them takes a second."""

    def list_commands(self, _: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(_COMMANDS)

    def get_command(self, _: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; return None if there is none of this name."""
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(import_module(module), name)
        return command


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
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
      78   wrong configuration, or a check of an audit that could not be made
      129  ended by SIGHUP
      130  ended by SIGINT
      143  ended by SIGTERM
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    context.obj = lambda: _load(config)


def _load(config: Path | None) -> Settings:
    settings = load_settings(config)
    configure_logs(settings.log)
    return settings
