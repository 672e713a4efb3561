"""What the service says of itself: the OpenAPI document, the page, docs/api.md. All must be so."""

import ast
import asyncio
import base64
import os
import re
import shutil
import sys
from collections.abc import Iterator
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import schemathesis
from jsonschema_rs import meta

import explorer_api
from explorer_api.docs.content import Block, Code, Paragraph, Section, Table, nested_sections, slug
from explorer_api.docs.html_page import html_page
from explorer_api.docs.markdown import read_markdown, write_markdown
from explorer_api.docs.problem_kinds import PROBLEM_KINDS
from explorer_api.docs.reference import reference
from explorer_api.generate_docs import TARGET, generate
from explorer_api.routes import ROUTES
from tests.explorer_api.examples import ANSWERED, DOCUMENT, check, example, resolved
from tests.explorer_api.support import Api

REFERENCE = reference(ROUTES)


# --- The OpenAPI document ---------------------------------------------------------------------------------------------


async def test_the_document_is_served_and_valid(recorded_api: Api) -> None:
    served = (await recorded_api.get("/openapi.json")).json
    assert served == DOCUMENT
    assert served["info"]["version"] == "1.2.3"
    schemathesis.openapi.from_dict(served).validate()
    for schema in served["components"]["schemas"].values():
        meta.validate(schema | {"$schema": "https://json-schema.org/draft/2020-12/schema"})
    for target in set(references(served)):
        assert resolved(target), target


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def test_every_route_is_described_by_its_own_words() -> None:
    assert list(DOCUMENT["paths"]) == [route.path for route in ROUTES]
    operations = [methods["get"] for methods in DOCUMENT["paths"].values()]
    assert len({operation["operationId"] for operation in operations}) == len(ROUTES)
    for operation in operations:
        assert operation["summary"], operation["operationId"]
        assert operation["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}
    assert "." not in "".join(DOCUMENT["components"]["schemas"]), "two types of one name"
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert schema.get("description"), name


def test_every_problem_that_the_code_raises_is_explained() -> None:
    raised: dict[str, set[int]] = {}
    for module in Path(explorer_api.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                for status, name in named_problem(node):
                    raised.setdefault(name, set()).add(status)
    explained = {name: {kind.status} for name, kind in PROBLEM_KINDS.items()}
    del explained["http-error"]  # whatever aiohttp refuses, with the status that it has for that
    assert raised == explained


def named_problem(call: ast.Call) -> Iterator[tuple[int, str]]:
    """The status and name in `ProblemError(404, "name", …)`, in its `__init__`, or in `unavailable("name", …)`."""
    constants = [
        argument.value if isinstance(argument, ast.Constant) else None for argument in call.args
    ]
    match ast.unparse(call.func), constants:
        case (("ProblemError" | "super().__init__"), [int(status), str(name), _, _, _]):
            yield status, name
        case "unavailable", [str(name), *_]:
            yield 503, name


# --- Every route answers as described ---------------------------------------------------------------------------------


async def test_every_example_is_answered_as_described(whole_api: Api, a_transaction: str) -> None:
    for route in ANSWERED:
        url = example(route, a_transaction)
        response = await whole_api.request("GET", url)
        assert response.status in route.statuses or "raw-not-retained" in route.problems, url
        check(route, response)
        head = await whole_api.request("HEAD", url)
        assert (head.status, head.body) == (response.status, b""), url
        etag = response.headers.get("ETag")
        if etag is not None:
            check(route, await whole_api.get(url, 304, {"If-None-Match": etag}))
        unknown = await whole_api.problem(
            f"{url}{'&' if '?' in url else '?'}nonsense=1", 400, "unknown-parameter"
        )
        check(route, unknown)


# --- docs/api.md ------------------------------------------------------------------------------------------------------


def test_the_committed_file_is_up_to_date() -> None:
    assert TARGET.read_text(encoding="utf-8") == generate(), "run `make docs`"


EXAMPLES = [
    block.text
    for section, _ in nested_sections(REFERENCE)
    for block in section.blocks
    if isinstance(block, Code) and block.language == "sh"
]
REFUSED = {"/blocks/0/raw": "410"}
"""Examples that no demo can answer otherwise."""


async def test_every_example_runs_as_it_is_written(whole_api: Api, tmp_path: Path) -> None:
    assert len(EXAMPLES) >= len(ROUTES)
    (tmp_path / ".curlrc").write_text("fail\nsilent\nshow-error\n")
    commands = os.environ["PATH"]
    if shutil.which("curl") is None:
        (tmp_path / "curl").write_text(f"#!{sys.executable}\n{CURL}")
        (tmp_path / "curl").chmod(0o700)
        commands = f"{tmp_path}:{commands}"
    environment = {"PATH": f"{Path(sys.executable).parent}:{commands}", "CURL_HOME": str(tmp_path)}
    results = await asyncio.gather(*(run(text, whole_api.base, environment) for text in EXAMPLES))
    for text, (code, output, errors) in zip(EXAMPLES, results, strict=True):
        refused = next((status for path, status in REFUSED.items() if path in text), None)
        if refused is not None:
            assert refused in errors, text
        elif "--max-time" in text:
            assert "event: state" in output, text
        else:
            assert (code, errors) == (0, ""), text
            assert output, text
    conditional = next(
        output for text, (_, output, _) in zip(EXAMPLES, results, strict=True) if "ETAG" in text
    )
    assert " 304 " in conditional.splitlines()[0]


async def run(text: str, base: str, environment: dict[str, str]) -> tuple[int, str, str]:
    text = text.replace("http://127.0.0.1:8080", base).replace("--max-time 5", "--max-time 1")
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-ec",
        text,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


CURL = """
import argparse, sys, urllib.error, urllib.request
parser = argparse.ArgumentParser()
for flag in "siIN":
    parser.add_argument(f"-{flag}", action="store_true")
parser.add_argument("-H", action="append", default=[])
parser.add_argument("--max-time", type=float)
parser.add_argument("url")
given = parser.parse_args()
headers = dict(header.split(": ", 1) for header in given.H)
request = urllib.request.Request(given.url, headers=headers, method="HEAD" if given.I else "GET")
try:
    response = urllib.request.urlopen(request, timeout=given.max_time)
except urllib.error.HTTPError as error:
    response = error
if response.status >= 400:
    sys.exit(f"error {response.status}")
if given.i or given.I:
    print(f"HTTP/1.1 {response.status} {response.reason}", response.headers, sep="\\r\\n")
try:
    for line in response:
        sys.stdout.buffer.write(line)
except TimeoutError:
    sys.exit(28)
"""
"""As much of curl as the examples need, where there is none."""


# --- The page ---------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Checks that elements are closed in order, and keeps what matters of them."""

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


async def test_the_page_needs_nothing_else(recorded_api: Api) -> None:
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


async def test_the_page_can_be_read_by_everyone(recorded_api: Api) -> None:
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
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


HOSTILE = "<script>alert(1)</script> & \"'"


def test_texts_are_only_ever_texts() -> None:
    blocks: list[Block] = [
        Paragraph(HOSTILE),
        Paragraph(f"`{HOSTILE}`"),
        Table([HOSTILE], [[HOSTILE]]),
        Code("sh", HOSTILE),
    ]
    section = Section(HOSTILE, [*blocks, Paragraph("[x](javascript:alert)")])
    shown = Page(html_page(Section(HOSTILE, blocks, [section]), HOSTILE))
    assert not shown.all("script")
    assert shown.text.count(HOSTILE) >= 10
    assert {attributes["href"] for attributes in shown.all("a")} == {
        "#content",
        f"#{slug(HOSTILE)}",
    }


def test_links_lead_somewhere() -> None:
    """In docs/api.md as on the page."""
    slugs = {section.slug for section, _ in nested_sections(REFERENCE)}
    links = re.findall(r"\]\((.+?)\)", write_markdown(REFERENCE))
    assert len(links) > 100
    assert {link.removeprefix("#") for link in links} <= slugs


def test_the_guide_is_read_as_it_is_written() -> None:
    text = "\n## A `b`\n\nOne\nline.\n\n- first\n- second\n  goes on\n\n| a | b |\n|---|---|\n| `c` | d |\n"
    text += "\n```sh\nx | y\n  z\n```\n"
    written = write_markdown(Section("T", (), read_markdown(text)))
    assert written == (
        "# T\n\n## A `b`\n\nOne line.\n\n- first\n- second goes on\n\n| a | b |\n| --- | --- |\n| `c` | d |\n\n"
        "```sh\nx | y\n  z\n```\n"
    )
