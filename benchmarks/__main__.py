"""`python -m benchmarks`, run by `make bench`: throughput, latency and memory of the indexer."""

import asyncio
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
from msgspec import Struct

from benchmarks.block_latency import delivered_to_visible
from benchmarks.ledgers import (
    LIVE_FROM,
    MeasuredLedger,
    existing,
    forged,
    forged_large,
    forged_tens,
)
from benchmarks.node_loader import (
    NodeLoaderUnavailableError,
    install_node_loader,
    run_node_loader,
)
from benchmarks.processes import (
    RunningPeer,
    cpu_seconds,
    peer_process,
    run_part,
    write_identity,
)
from devnet.servers import Mongod
from indexer.pipeline.encoders import PURE_VARIABLE
from runtime.process_start import prepare_libraries

_LIVE_BLOCKS_PER_S = 50.0
_LIVE_BLOCKS = 400
_PYTHON = {PURE_VARIABLE: "1"}


class Part(Struct, frozen=True):
    """A measured part: a command of `benchmarks.indexing_parts`, its options and environment."""

    command: str
    options: tuple[str, ...] = ()
    environment: dict[str, str] = {}


_PARTS = {
    "decode": Part("decode"),
    "decode-python": Part("decode", environment=_PYTHON),
    "bare": Part("bare"),
    "follow": Part("follow"),
    "follow-now": Part("follow", ("--indexes", "now")),
    "follow-python": Part("follow", environment=_PYTHON),
    "import": Part("import"),
    "again": Part("import", ("--again",)),
    "node": Part("node"),
}
_ROWS = (
    ("a  decode only, compiled", "decode", "seconds"),
    ("a  decode only, Python", "decode-python", "seconds"),
    ("b  bare insert_many, all indexes", "bare", "seconds"),
    ("c  peer to durable documents, catching up", "follow", "catch_up_seconds"),
    ("c  and with the indexes built", "follow", "seconds"),
    ("c  all indexes from the start", "follow-now", "seconds"),
    ("c  Python, and with the indexes built", "follow-python", "seconds"),
    ("d  files to durable documents, indexes built", "import", "seconds"),
    ("e  the same files again", "again", "seconds"),
    ("Node loader, all indexes from the start", "node", "seconds"),
)
"""The title of each row, its part, and the time from which its rate is calculated."""


@click.command()
@click.option(
    "--ledger",
    type=click.Path(exists=True, path_type=Path),
    help="Folder or archive of *.block files.",
)
@click.option(
    "--rounds", default=5, show_default=True, help="Rounds of all parts; the report has medians."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(*, ledger: Path | None, rounds: int, as_json: bool) -> None:
    """Measure throughput, latency and memory.

    Results vary between runs: compare the ratios within one run, not the values of two runs.
    """
    prepare_libraries()
    with (
        tempfile.TemporaryDirectory(prefix="kindledger-bench-") as name,
        Mongod(Path(name) / "mongo") as mongod,
    ):
        work = Path(name)
        write_identity(work)
        report = asyncio.run(_measure(ledger, Bench(work, mongod.uri, mongod.pid, rounds)))
    if as_json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        _print(report)


class Bench(Struct, frozen=True):
    """The work folder, the MongoDB server with its process id, and the number of rounds."""

    work: Path
    uri: str
    mongod_pid: int
    rounds: int


async def _measure(ledger: Path | None, bench: Bench) -> dict[str, Any]:
    ledgers = [forged(), *([existing(ledger)] if ledger is not None else [])]
    skipped = _skipped_parts()
    parts = [part for part in _PARTS if part not in skipped]
    return {
        "latency_ms": await _latency(bench),
        "throughput": [await _throughput(each, bench, parts) for each in ledgers],
        "skipped": skipped,
        "blocks_of_ten": await _throughput(forged_tens(), bench, ["follow"]),
        "large_blocks": await _throughput(forged_large(), bench, ["follow"]),
    }


def _skipped_parts() -> dict[str, str]:
    """Return the parts that cannot run on this machine, and why."""
    try:
        install_node_loader()
    except NodeLoaderUnavailableError as error:
        return {"node": str(error)}
    return {}


async def _throughput(ledger: MeasuredLedger, bench: Bench, parts: Sequence[str]) -> dict[str, Any]:
    """Return for each row the transactions per second, and the peak memory of its part."""
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    async with peer_process(ledger.folder, ledger.channel, bench.work / "tls") as peer:
        for _ in range(bench.rounds):
            for part in parts:
                runs[part].append(await _run(part, ledger, bench, peer))
    rates = {
        title: ledger.transactions / statistics.median(run[seconds] for run in runs[part])
        for title, part, seconds in _ROWS
        if part in runs
    }
    blocks = ledger.height - ledger.first
    catch_up_s = statistics.median(run["catch_up_seconds"] for run in runs["follow"])
    cpu_s = [sum(run["cpu"].values()) for run in runs["follow"]]
    return {
        "ledger": ledger.name,
        "blocks": blocks,
        "transactions": ledger.transactions,
        "megabytes": round(ledger.megabytes, 1),
        "transactions_per_second": {title: round(rate) for title, rate in rates.items()},
        "blocks_per_second": round(blocks / catch_up_s),
        "cpu_us_a_transaction": round(statistics.median(cpu_s) / ledger.transactions * 1e6, 1),
        "peak_mb": {
            title: max(run["peak_mb"] for run in runs[part])
            for title, part, _ in _ROWS
            if part in runs
        },
    }


async def _run(
    name: str, ledger: MeasuredLedger, bench: Bench, peer: RunningPeer
) -> dict[str, Any]:
    """Run a part once; return its values, and the processor time of all processes in `cpu`."""
    part, servers = _PARTS[name], {"peer": peer.pid, "mongod": bench.mongod_pid}
    arguments = _arguments(part, ledger, bench, peer.port)
    before = {server: cpu_seconds(pid) for server, pid in servers.items()}
    if name == "node":
        values = await asyncio.to_thread(run_node_loader, *arguments)
    else:
        run = partial(run_part, part.command, *arguments, environment=part.environment)
        values = await asyncio.to_thread(run)
    used = {server: cpu_seconds(pid) - before[server] for server, pid in servers.items()}
    return {**values, "cpu": {**used, "indexer": values.get("cpu_seconds", 0.0)}}


def _arguments(part: Part, ledger: MeasuredLedger, bench: Bench, port: int) -> list[str]:
    folder, work = str(ledger.folder), bench.work
    chain = ["--channel", ledger.channel, "--first", str(ledger.first), *part.options]
    match part.command:
        case "decode":
            return [folder]
        case "bare":
            return [folder, "--uri", bench.uri]
        case "import":
            return [folder, "--uri", bench.uri, *chain]
        case _:
            peer = ["--port", str(port), "--tls", str(work / "tls")]
            identity = ["--identity", str(work / "identity")]
            return ["--uri", bench.uri, "--height", str(ledger.height), *peer, *identity, *chain]


async def _latency(bench: Bench) -> dict[str, float]:
    ledger = forged_tens()
    milliseconds = await delivered_to_visible(
        ledger.folder,
        bench.work,
        bench.uri,
        ledger.channel,
        live_from=LIVE_FROM,
        live_blocks=_LIVE_BLOCKS,
        rate=_LIVE_BLOCKS_PER_S,
    )
    p90, p99 = (statistics.quantiles(milliseconds, n=100)[share - 1] for share in (90, 99))
    return {
        "median": round(statistics.median(milliseconds), 1),
        "p90": round(p90, 1),
        "p99": round(p99, 1),
    }


def _print(report: dict[str, Any]) -> None:
    for result in report["throughput"]:
        size = f"{result['transactions']:,} transactions, {result['megabytes']} MB"
        click.echo(f"\n{result['ledger']}: {result['blocks']} blocks, {size}\n")
        click.echo("| part | transactions/s | of b | peak MB |\n|---|---|---|---|")
        rates = result["transactions_per_second"]
        bare = next(rate for title, rate in rates.items() if title.startswith("b "))
        for title, rate in rates.items():
            peak_mb = result["peak_mb"][title]
            click.echo(f"| {title} | {rate:,} | {rate / bare:.2f} | {peak_mb:.0f} |")
        for part, reason in report["skipped"].items():
            click.echo(f"| {part} | skipped: {reason} | | |")
        cpu_us = result["cpu_us_a_transaction"]
        click.echo(f"\nc, indexes built: {cpu_us} µs of processor time a transaction, in all")
    tens = report["blocks_of_ten"]
    click.echo(f"\nblocks of 10, catching up: {tens['blocks_per_second']:,} blocks/s")
    large = report["large_blocks"]
    size = large["megabytes"] / large["blocks"]
    peak_mb = max(large["peak_mb"].values())
    click.echo(f"{large['ledger']} ({size:.1f} MB each on average): peak {peak_mb:.0f} MB")
    click.echo(
        f"500 transactions/s in blocks of 10, delivered to visible, ms: {report['latency_ms']}"
    )


if __name__ == "__main__":
    main()
