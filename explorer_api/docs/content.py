"""Documentation as data: sections of paragraphs, lists, tables and code, to be shown as Markdown or as a page.

Texts may have `code` and [links](#slug-of-a-title).
"""

import re
from collections.abc import Iterator, Sequence

from msgspec import Struct

_NO_SLUG = re.compile(r"[^\w\- ]")


class Paragraph(Struct, frozen=True):
    """Some sentences."""

    text: str


class Items(Struct, frozen=True):
    """A list."""

    texts: Sequence[str]


class Table(Struct, frozen=True):
    """Rows, each as long as `columns`; the first cell says what its row is about."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Code(Struct, frozen=True):
    """Lines to be typed, or read as they are; `language` as Markdown's readers know it."""

    language: str
    text: str


Block = Paragraph | Items | Table | Code


class Section(Struct, frozen=True):
    """A title, what is below it, and the sections in it."""

    title: str
    blocks: Sequence[Block] = ()
    sections: Sequence["Section"] = ()

    @property
    def slug(self) -> str:
        """What links name it by: as GitHub makes it of the title."""
        return slug(self.title)


def slug(title: str) -> str:
    """The name of a section of that title in links."""
    return _NO_SLUG.sub("", title.lower()).replace(" ", "-")


def nested(section: Section, level: int = 1) -> Iterator[tuple[Section, int]]:
    """The section and all in it, in order, with their levels."""
    yield section, level
    for inner in section.sections:
        yield from nested(inner, level + 1)
