"""What the commands print: tables for people, JSON on request. Data goes to stdout, everything else to stderr."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

messages = Console(stderr=True, soft_wrap=True)

_ENDLESS = 10_000
"""Columns."""


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout; whole lines where that is no terminal."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(_text(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = _ENDLESS
    console.print(table)


def escaped(text: str) -> str:
    """What others wrote, as it may be shown: a terminal would obey what cannot be printed."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def file_progress() -> Progress:
    """Bytes, share, rate and time left, on a terminal only."""
    return _progress(DownloadColumn(binary_units=True))


def block_progress() -> Progress:
    """Blocks, share, rate and time left, on a terminal only."""
    return _progress(MofNCompleteColumn())


def _progress(amount: ProgressColumn) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        amount,
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=messages,
        disable=not messages.is_terminal,
        transient=True,
    )


def _text(cell: object) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, datetime):
        return cell.isoformat(timespec="seconds")
    return f"{cell:,}" if isinstance(cell, int) else escaped(str(cell))
