"""Prints CSV on stdout, in a form that spreadsheets show as text and never compute.

A spreadsheet takes a cell that begins with one of a few characters for a formula, and whoever wrote
the text could so make it run a program or send data away. Such a cell gets an apostrophe in front,
and so does a cell that begins with an apostrophe: without its first apostrophe a cell is as it was.
"""

import csv
import io
import sys
from collections.abc import Sequence
from typing import Final

from cli.output.console import escape_control_characters

_RISKY: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "'", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a formula begins with; the last four are the wide forms of the first four."""


def csv_line(cells: Sequence[object]) -> str:
    """Return the cells as one line of CSV (RFC 4180), with its end; None gives an empty cell."""
    line = io.StringIO()
    csv.writer(line).writerow([_cell(cell) for cell in cells])
    return line.getvalue()


def print_csv(cells: Sequence[object]) -> None:
    """Print a line of CSV. On a terminal, control characters are escaped."""
    if sys.stdout.isatty():
        cells = [escape_control_characters(_text(cell)) for cell in cells]
    sys.stdout.write(csv_line(cells))


def _cell(cell: object) -> str:
    text = _text(cell)
    return f"'{text}" if text.startswith(_RISKY) else text


def _text(cell: object) -> str:
    return "" if cell is None else str(cell)
