"""The documentation as data, from which Markdown and HTML are written.

A section has paragraphs, lists, tables and code. Texts may contain `code` and
[links](#slug-of-a-title).
"""

import re
from collections.abc import Iterator, Sequence

from msgspec import Struct

_NOT_IN_SLUGS = re.compile(r"[^\w\- ]")


class Paragraph(Struct, frozen=True):
    """A paragraph of text."""

    text: str


class Items(Struct, frozen=True):
    """A list with one text for each item."""

    texts: Sequence[str]


class Table(Struct, frozen=True):
    """A table. The first cell of each row is the row's heading."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Code(Struct, frozen=True):
    """Lines of code; `language` is the name of the language in a Markdown fence."""

    language: str
    text: str


Block = Paragraph | Items | Table | Code


class Section(Struct, frozen=True):
    """A title, the blocks below it, and the sections in it."""

    title: str
    blocks: Sequence[Block] = ()
    sections: Sequence["Section"] = ()

    @property
    def slug(self) -> str:
        """The section's name in links, as GitHub makes it from the title."""
        return slug(self.title)


def slug(title: str) -> str:
    """Return the name in links of a section with that title."""
    return _NOT_IN_SLUGS.sub("", title.lower()).replace(" ", "-")


def nested_sections(section: Section, level: int = 1) -> Iterator[tuple[Section, int]]:
    """Yield the section and all sections in it, in order, each with its level."""
    yield section, level
    for inner in section.sections:
        yield from nested_sections(inner, level + 1)
