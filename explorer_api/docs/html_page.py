"""Writes the documentation as an HTML page without scripts and without other resources."""

import base64
import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from html import escape
from typing import Final, assert_never

from explorer_api.docs.content import Block, Code, Items, Paragraph, Section, Table

_STYLE: Final = """
:root {
  color-scheme: light dark;
  --text: #1b1f24; --back: #fff; --soft: #f3f5f7; --line: #c9d1d9; --link: #0a53be;
}
@media (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --back: #0d1117; --soft: #161b22; --line: #3d444d; --link: #79b8ff; }
}
* { box-sizing: border-box; }
body {
  margin: 0; font: 1rem/1.6 system-ui, sans-serif; color: var(--text); background: var(--back);
}
a { color: var(--link); }
a:focus-visible, [tabindex]:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -999rem; }
.skip:focus { left: 0; padding: .5rem 1rem; background: var(--back); }
header, main { padding: 1rem 1.5rem; max-width: 62rem; min-width: 0; }
nav { padding: 1rem 1.5rem; background: var(--soft); border-bottom: 1px solid var(--line); }
nav ul { margin: 0; padding-left: 1.2rem; }
nav > ul { padding-left: 0; list-style: none; }
nav summary { cursor: pointer; }
section section { border-top: 1px solid var(--line); margin-top: 2rem; }
h1, h2, h3 { line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin-top: 3rem; }
:target { scroll-margin-top: 1rem; background: var(--soft); }
code { font: .9em/1.5 ui-monospace, monospace; background: var(--soft); overflow-wrap: anywhere; }
pre {
  padding: .75rem 1rem; overflow-x: auto; background: var(--soft); border: 1px solid var(--line);
}
pre code { overflow-wrap: normal; }
.table { overflow-x: auto; }
table { border-collapse: collapse; }
th, td {
  padding: .35rem .75rem; border: 1px solid var(--line); text-align: left; vertical-align: top;
}
th { font-weight: 600; background: var(--soft); }
@media (min-width: 75rem) {
  body { display: grid; grid-template: auto 1fr / 22rem 1fr; }
  nav { grid-row: 1 / 3; position: sticky; top: 0; height: 100vh; overflow-y: auto; border: 0; }
}
@media print { nav, .skip { display: none; } }
"""
_STYLE_HASH: Final = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()
PAGE_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""The Content-Security-Policy of the page."""

_CODE: Final = re.compile(r"`([^`]+)`")
_LINK: Final = re.compile(r"\[([^\]]+)\]\((#[\w-]+)\)")


def html_page(document: Section, version: str) -> str:
    """Return the document as an HTML page."""
    title = escape(document.title)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<nav aria-label="Contents">{_contents(document.sections)}</nav>
<header><h1>{title}</h1>{_blocks(document.blocks)}<p>Version {escape(version)}</p></header>
<main id="content">{"".join(_section(section, 2) for section in document.sections)}</main>
</body>
</html>
"""


def _contents(sections: Sequence[Section]) -> str:
    if not sections:
        return ""
    entries = (
        f'<li><a href="#{s.slug}">{_inline(s.title)}</a>{_contents(s.sections)}</li>'
        for s in sections
    )
    return f"<ul>{''.join(entries)}</ul>"


def _section(section: Section, level: int) -> str:
    subsections = "".join(_section(subsection, level + 1) for subsection in section.sections)
    heading = f'<h{level} id="{section.slug}">{_inline(section.title)}</h{level}>'
    content = f"{heading}{_blocks(section.blocks)}{subsections}"
    return f'<section aria-labelledby="{section.slug}">{content}</section>\n'


def _blocks(blocks: Iterable[Block]) -> str:
    return "".join(map(_block, blocks))


def _block(block: Block) -> str:
    match block:
        case Paragraph(text):
            return f"<p>{_inline(text)}</p>"
        case Items(texts):
            return f"<ul>{''.join(f'<li>{_inline(text)}</li>' for text in texts)}</ul>"
        case Table(columns, rows):
            return _table(columns, rows)
        case Code(_, text):
            return f'<pre tabindex="0"><code>{escape(text)}</code></pre>'
        case _:
            assert_never(block)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{_inline(column)}</th>' for column in columns)
    body = "".join(_table_row(cells) for cells in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="table" tabindex="0">{table}</div>'


def _table_row(cells: Sequence[str]) -> str:
    heading = f'<th scope="row">{_inline(cells[0])}</th>'
    return f"<tr>{heading}{''.join(f'<td>{_inline(cell)}</td>' for cell in cells[1:])}</tr>"


def _inline(text: str) -> str:
    """Return a text as HTML with its code and links. A browser may break paths at their slashes."""
    with_code = _CODE.sub(
        lambda match: f"<code>{match[1].replace('/', '<wbr>/')}</code>", escape(text)
    )
    return _LINK.sub(r'<a href="\2">\1</a>', with_code)
