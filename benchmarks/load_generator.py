"""Generates load with `wrk`: one thread and 32 connections without pauses between requests."""

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
_SCRIPT = Path(__file__).with_name("load_generator.lua")
_WARM_UP_S: Final = 1.0
_TIMEOUT_S: Final = 10


class Requests(Struct, frozen=True):
    """Paths to request in turn, their headers, and the status that every response must have."""

    paths: Sequence[str]
    headers: Mapping[str, str] = {}
    status: int = 200


class LoadResult(Struct, frozen=True):
    """A measurement of wrk: requests per second, and latencies in milliseconds."""

    rate: float
    p50_ms: float
    p99_ms: float


def require_wrk() -> None:
    """End the program with a hint if wrk is not installed."""
    if shutil.which("wrk") is None:
        click.echo(
            "wrk is not on PATH, so no load can be generated. Install it: apt-get install wrk",
            err=True,
        )
        raise SystemExit(Exit.UNAVAILABLE)


def measure(port: int, requests: Requests, seconds: float) -> LoadResult:
    """Send requests for some seconds after a warm-up; return the measurement.

    Raises RuntimeError if a response has another status or a connection breaks.
    """
    _check(port, requests)
    with tempfile.NamedTemporaryFile("w", prefix="kindledger-bench-", suffix=".txt") as paths:
        paths.write("\n".join(requests.paths))
        paths.flush()
        _run(port, requests, Path(paths.name), _WARM_UP_S)
        return _run(port, requests, Path(paths.name), seconds)


def get(port: int, path: str, headers: Mapping[str, str] = {}) -> http.client.HTTPResponse:
    """Return the response to one request, read to its end."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path, headers=dict(headers))
        response = connection.getresponse()
        response.read()
        return response
    finally:
        connection.close()


def _check(port: int, requests: Requests) -> None:
    status = get(port, requests.paths[0], requests.headers).status
    if status != requests.status:
        raise RuntimeError(
            f"{requests.paths[0]} returns the status {status} instead of {requests.status}"
        )


def _run(port: int, requests: Requests, paths: Path, seconds: float) -> LoadResult:
    load = ["--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{round(seconds)}s"]
    headers = [
        part
        for name, value in requests.headers.items()
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
        raise RuntimeError(f"{requests.paths[0]}: wrong responses or broken connections:\n{output}")
    rate = measured["requests"] / measured["microseconds"] * 1e6
    return LoadResult(rate, measured["p50_us"] / 1000, measured["p99_us"] / 1000)
