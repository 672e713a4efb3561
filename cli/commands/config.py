"""`kindledger config`: shows the configuration."""

from typing import Any

import click

from cli.commands.options import LoadSettings, json_option
from cli.configuration.redaction import redact_settings
from cli.errors import exit_on_failure
from cli.output.console import print_json


@click.group("config", short_help="Show the configuration.")
def config_group() -> None:
    """Show the configuration."""


@config_group.command("show", short_help="Show the configuration in effect, without secrets.")
@json_option
@click.pass_obj
def config_show_command(load: LoadSettings, /, *, as_json: bool) -> None:
    """Show the configuration in effect, without secrets."""
    with exit_on_failure():
        values = redact_settings(load())
        if as_json:
            print_json(values)
            return
        for key, value in _flatten(values):
            click.echo(f"{key} = {value!r}")


def _flatten(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return each setting with its path: `api.port` for `{"api": {"port": …}}`."""
    settings: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            settings += _flatten(value, f"{prefix}{key}.")
        else:
            settings.append((f"{prefix}{key}", value))
    return settings
