"""The option --json of most commands, and the type of the function that loads their settings."""

from collections.abc import Callable
from typing import TypeAlias

import click

from cli.configuration.settings import Settings

LoadSettings: TypeAlias = Callable[[], Settings]
"""Reads the configuration and sets up logging; raises `ConfigurationError`."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
