"""The options that several commands have, and the function that loads their settings."""

from collections.abc import Callable
from typing import TypeAlias

import click

from cli.configuration.settings import Settings

LoadSettings: TypeAlias = Callable[[], Settings]
"""Reads the configuration and sets up logging; raises `ConfigurationError`."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")

profile_option = click.option(
    "--profile", is_flag=True, help="Show where the time went, and what limited the rate."
)
