"""docs/api.md: it is up to date, its examples work, and its tables are complete."""

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path

from explorer_api.docs.content import Code, Section, Table, nested_sections
from explorer_api.docs.markdown import read_markdown, write_markdown
from explorer_api.docs.reference import reference
from explorer_api.generate_docs import TARGET, generate
from explorer_api.routes import ROUTES
from tests.explorer_api.support import Api

REFERENCE = reference(ROUTES)


def test_the_committed_file_is_up_to_date() -> None:
    assert TARGET.read_text(encoding="utf-8") == generate(), "run `make docs`"


EXAMPLES = [
    block.text
    for section, _ in nested_sections(REFERENCE)
    for block in section.blocks
    if isinstance(block, Code) and block.language == "sh"
]
REFUSED_EXAMPLES = {"/blocks/0/raw": "410", "/evidence": "410"}
"""Examples that every demo refuses."""


async def test_every_example_can_be_run(whole_api: Api, tmp_path: Path) -> None:
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
        refused = next((status for path, status in REFUSED_EXAMPLES.items() if path in text), None)
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
    text = text.replace("http://127.0.0.1:8080", base)
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
"""A replacement for curl, with the options that the examples use."""


def test_the_reference_says_which_parameters_are_required() -> None:
    required = {
        (route.path, name)
        for route in ROUTES
        for parameter in route.parameters
        for name in parameter.names
        if parameter.required
    }
    assert required == {("/api/v1/channels/{channel}/search", "q")}
    for section, _ in nested_sections(REFERENCE):
        for block in section.blocks:
            if isinstance(block, Table) and block.columns[0] == "parameter":
                for names, _, default in block.rows:
                    path = section.title.removeprefix("GET ").strip("`")
                    is_required = "in the path" in names or (path, names.strip("`")) in required
                    assert (default == "required") == is_required, (path, names)


def test_every_link_leads_to_a_section() -> None:
    slugs = {section.slug for section, _ in nested_sections(REFERENCE)}
    links = re.findall(r"\]\((.+?)\)", write_markdown(REFERENCE))
    assert len(links) > 100
    assert {link.removeprefix("#") for link in links} <= slugs


def test_markdown_is_written_as_it_was_read() -> None:
    text = "\n## A `b`\n\nOne\nline.\n\n- first\n- second\n  goes on\n\n"
    text += "| a | b |\n|---|---|\n| `c` | d |\n"
    text += "\n```sh\nx | y\n  z\n```\n"
    written = write_markdown(Section("T", (), read_markdown(text)))
    assert written == (
        "# T\n\n## A `b`\n\nOne line.\n\n- first\n- second goes on\n\n"
        "| a | b |\n| --- | --- |\n| `c` | d |\n\n"
        "```sh\nx | y\n  z\n```\n"
    )
