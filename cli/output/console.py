"""Prints JSON and tables on stdout, and messages on stderr."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

messages = Console(stderr=True, soft_wrap=True)
"""Prints messages on stderr, so that stdout holds only data."""

_UNLIMITED_COLUMNS = 10_000


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=False))


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, stderr: bool = False
) -> None:
    """Print a table on stdout, or on stderr. Lines are not wrapped except on a terminal."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(_text(cell)) for cell in row))
    console = Console(stderr=stderr)
    if not console.is_terminal:
        console.width = _UNLIMITED_COLUMNS
    console.print(table)


def escape_control_characters(text: str) -> str:
    """Return text of an unknown author with its unprintable characters escaped.

    Otherwise a terminal would execute the control sequences in it.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _text(cell: object) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, datetime):
        return cell.isoformat(timespec="seconds")
    return f"{cell:,}" if isinstance(cell, int) else escape_control_characters(str(cell))
