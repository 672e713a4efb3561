"""Load from `wrk`: one thread, 32 connections, each asking again as soon as it has its answer."""

import http.client
import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import click
from msgspec import Struct

from cli.errors import Exit

CONNECTIONS: Final = 32
_SCRIPT = Path(__file__).with_name("wrk.lua")
_WARM_UP_S: Final = 1.0
_TIMEOUT_S: Final = 10


class Question(Struct, frozen=True):
    """Paths to ask in turn, with these headers, and the status that every answer must have."""

    paths: Sequence[str]
    headers: Mapping[str, str] = {}
    status: int = 200


class Figures(Struct, frozen=True):
    """What wrk measured: requests a second, and milliseconds from a request to its answer."""

    rate: float
    p50_ms: float
    p99_ms: float


def require_wrk() -> None:
    """Ends the program with the line that installs wrk, where that is missing."""
    if shutil.which("wrk") is None:
        click.echo("wrk is not on PATH: apt-get install wrk", err=True)
        raise SystemExit(Exit.UNAVAILABLE)


def measure(port: int, question: Question, seconds: float) -> Figures:
    """Asks for so long, after a warm-up. Raises `RuntimeError` where any answer is not what it should be."""
    _check(port, question)
    with tempfile.NamedTemporaryFile("w", prefix="kindledger-bench-", suffix=".txt") as paths:
        paths.write("\n".join(question.paths))
        paths.flush()
        _run(port, question, Path(paths.name), _WARM_UP_S)
        return _run(port, question, Path(paths.name), seconds)


def answer(port: int, path: str, headers: Mapping[str, str] = {}) -> http.client.HTTPResponse:
    """One answer, read to its end."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path, headers=dict(headers))
        response = connection.getresponse()
        response.read()
        return response
    finally:
        connection.close()


def _check(port: int, question: Question) -> None:
    status = answer(port, question.paths[0], question.headers).status
    if status != question.status:
        raise RuntimeError(
            f"{question.paths[0]} is answered with {status} instead of {question.status}"
        )


def _run(port: int, question: Question, paths: Path, seconds: float) -> Figures:
    load = ["--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{round(seconds)}s"]
    headers = [
        part
        for name, value in question.headers.items()
        for part in ("--header", f"{name}: {value}")
    ]
    command = [
        "wrk",
        *load,
        *headers,
        "--script",
        str(_SCRIPT),
        f"http://127.0.0.1:{port}",
        "--",
        str(paths),
    ]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    measured = json.loads(output.splitlines()[-1])
    if measured["refused"] or measured["broken"] or not measured["requests"]:
        raise RuntimeError(f"{question.paths[0]}: wrong answers or broken connections:\n{output}")
    rate = measured["requests"] / measured["microseconds"] * 1e6
    return Figures(rate, measured["p50_us"] / 1000, measured["p99_us"] / 1000)
