"""The options that several commands have, and the function that loads their settings."""

from collections.abc import Callable
from typing import TypeAlias, get_args

import click

from cli.configuration.settings import IndexCreation, Settings

LoadSettings: TypeAlias = Callable[[], Settings]
"""Reads the configuration and sets up logging; raises `ConfigurationError`."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")

profile_option = click.option(
    "--profile", is_flag=True, help="Show where the time went, and what limited the rate."
)

indexes_option = click.option(
    "--indexes",
    type=click.Choice(get_args(IndexCreation)),
    help="When missing indexes are built, if the store is far behind: near the head, or now.  "
    "[default: indexer.indexes, which is deferred]",
)
