"""The documentation's text in Markdown: written, and read as far as the guide needs it."""

import textwrap
from collections.abc import Sequence
from itertools import groupby
from typing import Final, assert_never

from explorer_api.docs.content import Block, Code, Items, Paragraph, Section, Table, nested

_WIDTH: Final = 125
_FENCE: Final = "```"
_BAR: Final = "\\|"


def write_markdown(document: Section) -> str:
    """The document with all its sections."""
    parts = []
    for section, level in nested(document):
        parts.append(f"{'#' * level} {section.title}")
        parts += map(_write, section.blocks)
    return "\n\n".join(parts) + "\n"


def _write(block: Block) -> str:
    match block:
        case Paragraph(text):
            return _wrapped(text)
        case Items(texts):
            return "\n".join(_wrapped(text, "- ") for text in texts)
        case Table(columns, rows):
            return "\n".join(_row(cells) for cells in (columns, ["---"] * len(columns), *rows))
        case Code(language, text):
            return f"{_FENCE}{language}\n{text}\n{_FENCE}"
        case _:
            assert_never(block)


def _wrapped(text: str, bullet: str = "") -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=bullet,
        subsequent_indent=" " * len(bullet),
        break_on_hyphens=False,
        break_long_words=False,
    )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', _BAR) for cell in cells)} |"


def read_markdown(text: str) -> list[Section]:
    """Sections without others in them, of paragraphs, lists, tables and fenced code with blank lines in between."""
    sections = []
    for part in text.split("\n## ")[1:]:
        title, _, body = part.partition("\n")
        sections.append(Section(title, [_read(lines) for lines in _blocks(body)]))
    return sections


def _blocks(body: str) -> list[list[str]]:
    """The lines of each block. Fenced code has no blank line."""
    return [list(lines) for filled, lines in groupby(body.splitlines(), bool) if filled]


def _read(lines: list[str]) -> Block:
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
