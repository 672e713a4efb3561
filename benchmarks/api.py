"""`python -m benchmarks.api`, run by `make bench-api`: requests per second of the explorer API.

The API runs in one process, as with `kindledger api`, and wrk sends the requests. A server with
minimal aiohttp handlers is measured in the same run. Each round starts new processes, and only one
server has load at a time. Ratios are computed within a round, and their medians are reported.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click
from msgspec import Struct
from msgspec.structs import asdict
from pymongo import MongoClient

from benchmarks.indexing_parts import DATABASE
from benchmarks.ledgers import MeasuredLedger, forged_tens
from benchmarks.load_generator import CONNECTIONS, LoadResult, Requests, get, measure, require_wrk
from benchmarks.processes import run_part, running
from devnet.servers import Mongod
from devnet.servers.ports import free_port
from ledger.mongodb.collections import TRANSACTIONS
from runtime.process import allow_open_files

_VARIED: Final = 4_000
"""The number of different requests of one kind, sent in turn to the API without a cache."""
_STREAM_SECONDS: Final = 6
"""The shortest measurement with streams: it includes several blocks and pings."""
_START_SECONDS: Final = 20.0
_SPARE_FILES: Final = 200

_GZIP: Final = {"Accept-Encoding": "gzip"}

Round = dict[str, LoadResult]


class Target(Struct, frozen=True):
    """The least ratio between the rates of two measurements."""

    measured: str
    reference: str
    least: float


TARGETS: Final = (
    Target("304", "hello", 0.5),
    Target("block", "hello", 0.5),
    Target("transactions, gzip", "hello", 0.5),
    Target("transaction, uncached", "find_one", 0.85),
    Target("transactions, uncached", "find of transactions", 0.5),
    Target("events, uncached", "find of events", 0.5),
    Target("block, idle streams", "block, no stream", 0.8),
    Target("block, busy streams", "block, no stream", 0.8),
)


@click.command()
@click.option(
    "--rounds",
    default=3,
    show_default=True,
    help="Rounds of all measurements; the report has medians.",
)
@click.option(
    "--seconds",
    default=3,
    show_default=True,
    help="Length of one measurement, after a second of warm-up.",
)
@click.option(
    "--streams",
    default=1_000,
    show_default=True,
    help="Open streams; 0 skips the measurements with streams.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(*, rounds: int, seconds: int, streams: int, as_json: bool) -> None:
    """Measure requests per second, p50 and p99.

    Results vary between runs: compare the ratios within one run, not the values of two runs.
    """
    require_wrk()
    allow_open_files(streams + _SPARE_FILES)  # child processes inherit the limit
    ledger = forged_tens()
    with (
        tempfile.TemporaryDirectory(prefix="kindledger-bench-") as name,
        Mongod(Path(name) / "mongo") as mongod,
    ):
        run_part(
            *("import", str(ledger.folder), "--uri", mongod.uri),
            *("--channel", ledger.channel, "--first", str(ledger.first)),
        )
        scenarios = _Scenarios(ledger, mongod.uri)
        report = _report([_round(scenarios, mongod.uri, seconds, streams) for _ in range(rounds)])
    report = {"cores": os.cpu_count(), "connections": CONNECTIONS, "streams": streams, **report}
    if as_json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        _print(report)


class _Scenarios:
    """The requests of each measurement."""

    def __init__(self, ledger: MeasuredLedger, uri: str) -> None:
        self.channel = ledger.channel
        self.base = f"/api/v1/channels/{ledger.channel}"
        self.block = Requests([f"{self.base}/blocks/{ledger.height // 2}"])
        with MongoClient[dict[str, Any]](uri) as client:
            newest_first = (
                client[DATABASE][TRANSACTIONS]
                .find({"txId": {"$type": "string"}}, {"txId": 1})
                .sort("_id", -1)
            )
            tx_ids = [quote(document["txId"], safe="") for document in newest_first.limit(_VARIED)]
        self.hello = Requests(["/hello"])
        self.cached = {
            "block": self.block,
            "transaction": Requests([f"{self.base}/transactions/{tx_ids[0]}"]),
            "transactions": Requests([f"{self.base}/transactions"]),
            "transactions, gzip": Requests([f"{self.base}/transactions"], _GZIP),
            "events": Requests([f"{self.base}/events"]),
        }
        blocks = range(ledger.height // 2, ledger.height)
        pages = [f"block.le={number}" for number in blocks]
        transactions = [f"/transactions?{page}" for page in pages]
        events = [f"/events?{page}" for page in pages]
        self.database_reads = {
            "find_one": Requests([f"/transactions/{tx_id}" for tx_id in tx_ids]),
            "transaction, uncached": self._below_channel(
                [f"/transactions/{tx_id}" for tx_id in tx_ids]
            ),
            "block, uncached": self._below_channel([f"/blocks/{number}" for number in blocks]),
            "find of transactions": Requests(transactions),
            "transactions, uncached": self._below_channel(transactions),
            "transactions, uncached, gzip": self._below_channel(transactions, _GZIP),
            "find of events": Requests(events),
            "events, uncached": self._below_channel(events),
        }
        """Requests that read MongoDB; each reference is next to what is compared with it."""

    def _below_channel(
        self, paths: Sequence[str], headers: Mapping[str, str] | None = None
    ) -> Requests:
        return Requests([f"{self.base}{path}" for path in paths], headers or {})

    def not_modified(self, port: int) -> Requests:
        """Return requests for the block from a client that has it in its cache."""
        etag = get(port, self.block.paths[0]).headers["ETag"]
        return Requests(self.block.paths, {"If-None-Match": etag}, status=304)


def _round(scenarios: _Scenarios, uri: str, seconds: int, streams: int) -> Round:
    results: Round = {}
    with (
        _baseline(scenarios, uri) as baseline,
        _api(scenarios, uri) as cached,
        _api(scenarios, uri, cache_bytes=0) as uncached,
    ):
        results["hello"] = measure(baseline, scenarios.hello, seconds)
        results["304"] = measure(cached, scenarios.not_modified(cached), seconds)
        results |= {
            name: measure(cached, requests, seconds) for name, requests in scenarios.cached.items()
        }
        references = {target.reference for target in TARGETS}
        results |= {
            name: measure(baseline if name in references else uncached, requests, seconds)
            for name, requests in scenarios.database_reads.items()
        }
    if streams:
        with _api(scenarios, uri) as port:
            results |= _with_streams(scenarios, port, uri, seconds, streams)
    return results


def _with_streams(scenarios: _Scenarios, port: int, uri: str, seconds: int, streams: int) -> Round:
    """Measure one block without streams, with idle streams, and with a block per second."""
    seconds = max(seconds, _STREAM_SECONDS)
    results = {"block, no stream": measure(port, scenarios.block, seconds)}
    held = ("--port", str(port), "--path", f"{scenarios.base}/stream", "--count", str(streams))
    with running("benchmarks.stream_load", "hold", *held) as holder:
        _next_line(holder)
        results["block, idle streams"] = measure(port, scenarios.block, seconds)
        with running(
            "benchmarks.stream_load", "grow", "--uri", uri, "--database", DATABASE
        ) as grower:
            _next_line(grower)
            results["block, busy streams"] = measure(port, scenarios.block, seconds)
            if grower.poll() is not None:
                raise RuntimeError("the process that stores new blocks has ended")
        holder.terminate()
        end = _next_line(holder)
        holder.wait()
    if end["open"] < streams or end["messages"] < streams * seconds:
        raise RuntimeError(f"not all of {streams} streams were served until the end: {end}")
    return results


def _next_line(process: subprocess.Popen[str]) -> dict[str, int]:
    """Return the next line of JSON that a process of `benchmarks.stream_load` prints."""
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        raise RuntimeError("a process of benchmarks.stream_load ended too early")
    values: dict[str, int] = json.loads(line)
    return values


@contextmanager
def _api(scenarios: _Scenarios, uri: str, **settings: int) -> Iterator[int]:
    """Run `kindledger api` with some settings and without a limit by client; yield its port."""
    port = free_port()
    all_settings = {"port": port, "streams_per_client": 0, **settings}
    environment = {
        f"KINDLEDGER_API__{name.upper()}": str(value) for name, value in all_settings.items()
    }
    with _served(["cli.main", "api"], environment, scenarios.channel, uri, port):
        yield port


@contextmanager
def _baseline(scenarios: _Scenarios, uri: str) -> Iterator[int]:
    """Run the server with minimal handlers; yield its port."""
    port = free_port()
    with _served(["benchmarks.baseline_server", str(port)], {}, scenarios.channel, uri, port):
        yield port


@contextmanager
def _served(
    command: list[str], environment: dict[str, str], channel: str, uri: str, port: int
) -> Iterator[None]:
    """Run a server process with this configuration only, and wait until it listens."""
    own_environment = {
        name: value for name, value in os.environ.items() if not name.startswith("KINDLEDGER_")
    }
    channels = json.dumps({channel: {"database": DATABASE}})
    own_environment |= {
        "KINDLEDGER_MONGO__URI": uri,
        "KINDLEDGER_CHANNELS": channels,
        "KINDLEDGER_LOG__LEVEL": "warning",
    }
    with running(*command, environment=own_environment | environment) as process:
        end = time.monotonic() + _START_SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(
                    f"{' '.join(command)} does not listen on port {port}; see its messages above"
                )
            time.sleep(0.05)
        yield


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _report(rounds: list[Round]) -> dict[str, Any]:
    measured = {
        name: LoadResult(
            *(statistics.median(getattr(each[name], field) for each in rounds) for field in _FIELDS)
        )
        for name in rounds[0]
    }
    return {
        "measured": {name: asdict(result) for name, result in measured.items()},
        "of_hello": {name: _ratio(rounds, name, "hello") for name in measured},
        "targets": [
            {**asdict(target), "ratio": ratio, "held": ratio >= target.least}
            for target in TARGETS
            if target.measured in measured
            for ratio in [_ratio(rounds, target.measured, target.reference)]
        ],
    }


_FIELDS: Final = ("rate", "p50_ms", "p99_ms")


def _ratio(rounds: list[Round], measured: str, reference: str) -> float:
    ratios = (results[measured].rate / results[reference].rate for results in rounds)
    return round(statistics.median(ratios), 3)


def _print(report: dict[str, Any]) -> None:
    machine = f"{report['cores']} cores, {report['connections']} connections"
    click.echo(f"{machine}, {report['streams']} streams\n")
    click.echo("| response | requests/s | of hello | p50 ms | p99 ms |\n|---|---|---|---|---|")
    for name, result in report["measured"].items():
        ratio = report["of_hello"][name]
        click.echo(
            f"| {name} | {result['rate']:,.0f} | {ratio:.2f} "
            f"| {result['p50_ms']:.2f} | {result['p99_ms']:.2f} |"
        )
    click.echo("\n| target | ratio | at least | held |\n|---|---|---|---|")
    for target in report["targets"]:
        held = "yes" if target["held"] else "NO"
        click.echo(
            f"| {target['measured']} / {target['reference']} | {target['ratio']:.2f} "
            f"| {target['least']} | {held} |"
        )


if __name__ == "__main__":
    main()
