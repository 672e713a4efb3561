"""`python -m benchmarks.api`: requests a second of the explorer API, beside bare aiohttp handlers. `make bench-api`.

One process serves, as `kindledger api` does it; wrk asks. In each round every server is a new process, and only one of
them is asked at a time. Ratios are those within a round, medians of all rounds: only they can be compared.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click
from msgspec import Struct
from msgspec.structs import asdict
from pymongo import MongoClient

from benchmarks.ledgers import MeasuredLedger, forged_tens
from benchmarks.parts import DATABASE
from benchmarks.processes import run_part, running
from benchmarks.wrk import CONNECTIONS, Figures, Question, answer, measure, require_wrk
from devnet.servers import Mongod
from devnet.servers.ports import free_port
from ledger.mongodb.collections import TRANSACTIONS
from runtime.process import allow_open_files

_VARIED: Final = 4_000
"""Different questions of one kind, asked in turn where the service keeps nothing."""
_STREAM_SECONDS: Final = 6
"""The least for what is measured beside streams: several blocks, and a steady share of pings."""
_START_SECONDS: Final = 20.0
_SPARE_FILES: Final = 200

Round = dict[str, Figures]


class Target(Struct, frozen=True):
    """The rate of one measurement is to be at least so much of another one's."""

    measured: str
    beside: str
    least: float


TARGETS: Final = (
    Target("304", "hello", 0.5),
    Target("block", "hello", 0.5),
    Target("transaction, uncached", "find_one", 0.5),
    Target("block, idle streams", "block, no stream", 0.8),
    Target("block, busy streams", "block, no stream", 0.8),
)


@click.command()
@click.option(
    "--rounds", default=3, show_default=True, help="Rounds of all measurements; medians are shown."
)
@click.option(
    "--seconds", default=3, show_default=True, help="Of one measurement, after a second of warm-up."
)
@click.option(
    "--streams",
    default=1_000,
    show_default=True,
    help="Streams held open; 0 leaves these parts out.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(*, rounds: int, seconds: int, streams: int, as_json: bool) -> None:
    """Requests a second, p50 and p99. Machines are noisy: trust the ratios of one run, not the figures of two."""
    require_wrk()
    allow_open_files(
        streams + _SPARE_FILES
    )  # each is one, for this process and those that it starts
    ledger = forged_tens()
    with (
        tempfile.TemporaryDirectory(prefix="kindledger-bench-") as name,
        Mongod(Path(name) / "mongo") as mongod,
    ):
        run_part(
            *("import", str(ledger.folder), "--uri", mongod.uri),
            *("--channel", ledger.channel, "--first", str(ledger.first)),
        )
        questions = _Questions(ledger, mongod.uri)
        report = _report([_round(questions, mongod.uri, seconds, streams) for _ in range(rounds)])
    report = {"cores": os.cpu_count(), "connections": CONNECTIONS, "streams": streams, **report}
    if as_json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        _print(report)


class _Questions:
    """What is asked of the ledger."""

    def __init__(self, ledger: MeasuredLedger, uri: str) -> None:
        self.channel = ledger.channel
        self.base = f"/api/v1/channels/{ledger.channel}"
        self.block = Question([f"{self.base}/blocks/{ledger.height // 2}"])
        with MongoClient[dict[str, Any]](uri) as client:
            found = (
                client[DATABASE][TRANSACTIONS]
                .find({"txId": {"$type": "string"}}, {"txId": 1})
                .sort("_id", -1)
            )
            tx_ids = [quote(document["txId"], safe="") for document in found.limit(_VARIED)]
        self.hello = Question(["/hello"])
        self.find_one = Question([f"/transactions/{tx_id}" for tx_id in tx_ids])
        self.kept = {
            "block": self.block,
            "transaction": Question([f"{self.base}/transactions/{tx_ids[0]}"]),
            "transactions": Question([f"{self.base}/transactions"]),
            "events": Question([f"{self.base}/events"]),
        }
        blocks = range(ledger.height // 2, ledger.height)
        self.uncached = {
            "transaction, uncached": Question(
                [f"{self.base}/transactions/{tx_id}" for tx_id in tx_ids]
            ),
            "block, uncached": Question([f"{self.base}/blocks/{number}" for number in blocks]),
            "transactions, uncached": Question(
                [f"{self.base}/transactions?block.le={number}" for number in blocks]
            ),
            "events, uncached": Question(
                [f"{self.base}/events?block.le={number}" for number in blocks]
            ),
        }

    def not_modified(self, port: int) -> Question:
        """The block, by a client that has it."""
        etag = answer(port, self.block.paths[0]).headers["ETag"]
        return Question(self.block.paths, {"If-None-Match": etag}, status=304)


def _round(questions: _Questions, uri: str, seconds: int, streams: int) -> Round:
    figures: Round = {}
    with (
        _bare(questions, uri) as bare,
        _api(questions, uri) as kept,
        _api(questions, uri, cache_bytes=0) as uncached,
    ):
        figures["hello"] = measure(bare, questions.hello, seconds)
        figures["304"] = measure(kept, questions.not_modified(kept), seconds)
        figures |= {
            name: measure(kept, question, seconds) for name, question in questions.kept.items()
        }
        figures["find_one"] = measure(bare, questions.find_one, seconds)
        figures |= {
            name: measure(uncached, question, seconds)
            for name, question in questions.uncached.items()
        }
    if streams:
        with _api(questions, uri) as port:
            figures |= _beside_streams(questions, port, uri, seconds, streams)
    return figures


def _beside_streams(
    questions: _Questions, port: int, uri: str, seconds: int, streams: int
) -> Round:
    """The same block asked for without streams, with idle ones, and while each of them tells of a block a second."""
    seconds = max(seconds, _STREAM_SECONDS)
    figures = {"block, no stream": measure(port, questions.block, seconds)}
    held = ("--port", str(port), "--path", f"{questions.base}/stream", "--count", str(streams))
    with running("benchmarks.streams", "hold", *held) as holder:
        _said(holder)
        figures["block, idle streams"] = measure(port, questions.block, seconds)
        with running("benchmarks.streams", "grow", "--uri", uri, "--database", DATABASE) as grower:
            _said(grower)
            figures["block, busy streams"] = measure(port, questions.block, seconds)
            if grower.poll() is not None:
                raise RuntimeError("the ledger stopped growing")
        holder.terminate()
        end = _said(holder)
        holder.wait()
    if end["open"] < streams or end["messages"] < streams * seconds:
        raise RuntimeError(f"not all of {streams} streams were served to the end: {end}")
    return figures


def _said(process: subprocess.Popen[str]) -> dict[str, int]:
    """The line of JSON that a process of `benchmarks.streams` prints next."""
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        raise RuntimeError("a process of benchmarks.streams ended before its time")
    said: dict[str, int] = json.loads(line)
    return said


@contextmanager
def _api(questions: _Questions, uri: str, **settings: int) -> Iterator[int]:
    """The port of a new `kindledger api`; its settings are the defaults, but for those and the limit by client."""
    port = free_port()
    chosen = {"port": port, "streams_per_client": 0, **settings}
    environment = {f"KINDLEDGER_API__{name.upper()}": str(value) for name, value in chosen.items()}
    with _served(["cli.main", "api"], environment, questions.channel, uri, port):
        yield port


@contextmanager
def _bare(questions: _Questions, uri: str) -> Iterator[int]:
    """The port of the bare handlers."""
    port = free_port()
    with _served(["benchmarks.bare", str(port)], {}, questions.channel, uri, port):
        yield port


@contextmanager
def _served(
    command: list[str], environment: dict[str, str], channel: str, uri: str, port: int
) -> Iterator[None]:
    """A process that listens, configured by this environment alone."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("KINDLEDGER_")}
    channels = json.dumps({channel: {"database": DATABASE}})
    ours |= {
        "KINDLEDGER_MONGO__URI": uri,
        "KINDLEDGER_CHANNELS": channels,
        "KINDLEDGER_LOG__LEVEL": "warning",
    }
    with running(*command, environment=ours | environment) as process:
        end = time.monotonic() + _START_SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(
                    f"{' '.join(command)} does not listen on port {port}; its messages are above"
                )
            time.sleep(0.05)
        yield


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _report(rounds: list[Round]) -> dict[str, Any]:
    measured = {
        name: Figures(
            *(statistics.median(getattr(one[name], field) for one in rounds) for field in _FIELDS)
        )
        for name in rounds[0]
    }
    return {
        "measured": {name: asdict(figures) for name, figures in measured.items()},
        "of_hello": {name: _ratio(rounds, name, "hello") for name in measured},
        "targets": [
            {**asdict(target), "ratio": ratio, "held": ratio >= target.least}
            for target in TARGETS
            if target.measured in measured
            for ratio in [_ratio(rounds, target.measured, target.beside)]
        ],
    }


_FIELDS: Final = ("rate", "p50_ms", "p99_ms")


def _ratio(rounds: list[Round], measured: str, beside: str) -> float:
    return round(statistics.median(one[measured].rate / one[beside].rate for one in rounds), 3)


def _print(report: dict[str, Any]) -> None:
    click.echo(
        f"{report['cores']} cores, {report['connections']} connections, {report['streams']} streams\n"
    )
    click.echo("| answer | requests/s | of hello | p50 ms | p99 ms |\n|---|---|---|---|---|")
    for name, figures in report["measured"].items():
        ratio = report["of_hello"][name]
        click.echo(
            f"| {name} | {figures['rate']:,.0f} | {ratio:.2f} | {figures['p50_ms']:.2f} | {figures['p99_ms']:.2f} |"
        )
    click.echo("\n| target | ratio | at least | held |\n|---|---|---|---|")
    for target in report["targets"]:
        held = "yes" if target["held"] else "NO"
        click.echo(
            f"| {target['measured']} / {target['beside']} | {target['ratio']:.2f} | {target['least']} | {held} |"
        )


if __name__ == "__main__":
    main()
