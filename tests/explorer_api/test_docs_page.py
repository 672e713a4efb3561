"""The documentation page: it needs no other resources, is accessible, and escapes texts."""

import base64
import re
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise

from explorer_api.docs.content import Block, Code, Paragraph, Section, Table, slug
from explorer_api.docs.html_page import html_page
from explorer_api.routes import ROUTES
from tests.explorer_api.support import Api


class Page(HTMLParser):
    """Parses a page, and checks that its elements are closed in order."""

    VOID = frozenset({"meta", "link", "br", "hr", "img", "input", "wbr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.style = ""
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            self.style += data
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


async def test_the_page_needs_no_other_resources(recorded_api: Api) -> None:
    response = await recorded_api.get("/docs")
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    parsed = Page(response.body.decode())
    style = base64.b64encode(sha256(parsed.style.encode()).digest()).decode()
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{style}';")
    assert "url(" not in parsed.style
    assert "@import" not in parsed.style
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in parsed.elements:
        assert tag not in ("script", "link", "img", "iframe", "form", "object")
        assert not {"src", "srcset", "style", "action"} & attributes.keys()
        assert not [name for name in attributes if name.startswith("on")]
        href = attributes.get("href")
        assert href is None or href.removeprefix("#") in ids, href
    for route in ROUTES:
        assert route.path in parsed.text


async def test_the_page_is_accessible(recorded_api: Api) -> None:
    parsed = Page((await recorded_api.get("/docs")).body.decode())
    assert parsed.all("html")[0]["lang"] == "en"
    assert "width=device-width" in str(parsed.all("meta"))
    for landmark in ("nav", "header", "main", "h1", "title"):
        assert len(parsed.all(landmark)) == 1, landmark
    assert (
        parsed.elements[[tag for tag, _ in parsed.elements].index("body") + 1][1]["href"]
        == "#content"
    )
    levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert {attributes["scope"] for attributes in parsed.all("th")} == {"col", "row"}
    assert "prefers-color-scheme: dark" in parsed.style
    for theme in re.findall(
        r"--text: (#\w+); --back: (#\w+); --soft: (#\w+); --line: #\w+; --link: (#\w+)",
        parsed.style,
    ):
        text, back, soft, link = map(luminance, theme)
        for front, behind in ((text, back), (text, soft), (link, back), (link, soft)):
            high, low = max(front, behind), min(front, behind)
            assert (high + 0.05) / (low + 0.05) >= 4.5, "contrast, WCAG AA"


def luminance(color: str) -> float:
    digits = color.removeprefix("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[start : start + 2], 16) / 255 for start in (0, 2, 4)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


HOSTILE = "<script>alert(1)</script> & \"'"


def test_texts_are_escaped() -> None:
    blocks: list[Block] = [
        Paragraph(HOSTILE),
        Paragraph(f"`{HOSTILE}`"),
        Table([HOSTILE], [[HOSTILE]]),
        Code("sh", HOSTILE),
    ]
    section = Section(HOSTILE, [*blocks, Paragraph("[x](javascript:alert)")])
    parsed_page = Page(html_page(Section(HOSTILE, blocks, [section]), HOSTILE))
    assert not parsed_page.all("script")
    assert parsed_page.text.count(HOSTILE) >= 10
    assert {attributes["href"] for attributes in parsed_page.all("a")} == {
        "#content",
        f"#{slug(HOSTILE)}",
    }
