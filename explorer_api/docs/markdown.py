"""Writes the documentation as Markdown, and reads the Markdown of the guide."""

import textwrap
from collections.abc import Sequence
from itertools import groupby
from typing import Final, assert_never

from explorer_api.docs.content import (
    Block,
    Code,
    Items,
    Paragraph,
    Section,
    Table,
    nested_sections,
)

_WIDTH: Final = 100
_FENCE: Final = "```"
_BAR: Final = "\\|"


def write_markdown(document: Section) -> str:
    """Return the document with all its sections as Markdown."""
    parts = []
    for section, level in nested_sections(document):
        parts.append(f"{'#' * level} {section.title}")
        parts += map(_write_block, section.blocks)
    return "\n\n".join(parts) + "\n"


def _write_block(block: Block) -> str:
    match block:
        case Paragraph(text):
            return _wrap(text)
        case Items(texts):
            return "\n".join(_wrap(text, "- ") for text in texts)
        case Table(columns, rows):
            return "\n".join(
                _write_row(cells) for cells in (columns, ["---"] * len(columns), *rows)
            )
        case Code(language, text):
            return f"{_FENCE}{language}\n{text}\n{_FENCE}"
        case _:
            assert_never(block)


def _wrap(text: str, bullet: str = "") -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=bullet,
        subsequent_indent=" " * len(bullet),
        break_on_hyphens=False,
        break_long_words=False,
    )


def _write_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', _BAR) for cell in cells)} |"


def read_markdown(text: str) -> list[Section]:
    """Return the sections of a text that has one level of them.

    A section has paragraphs, lists, tables and fenced code, separated by blank lines.
    """
    sections = []
    for part in text.split("\n## ")[1:]:
        title, _, body = part.partition("\n")
        sections.append(Section(title, [_read_block(lines) for lines in _split_blocks(body)]))
    return sections


def _split_blocks(body: str) -> list[list[str]]:
    """Return the lines of each block; fenced code may not contain a blank line."""
    return [list(lines) for filled, lines in groupby(body.splitlines(), bool) if filled]


def _read_block(lines: list[str]) -> Block:
    first = lines[0]
    if first.startswith(_FENCE):
        return Code(first.removeprefix(_FENCE), "\n".join(lines[1:-1]))
    if first.startswith("| "):
        columns, _, *rows = (
            [cell.strip() for cell in line.strip("|").split(" | ")] for line in lines
        )
        return Table(columns, rows)
    if first.startswith("- "):
        return Items(
            [" ".join(text.split()) for text in "\n".join(lines).removeprefix("- ").split("\n- ")]
        )
    return Paragraph(" ".join(lines))
