"""`python -m benchmarks`, run by `make bench`: throughput, latency and memory of the indexer."""

import asyncio
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import click

from benchmarks.block_latency import delivered_to_visible
from benchmarks.ledgers import (
    LIVE_FROM,
    MeasuredLedger,
    existing,
    forged,
    forged_large,
    forged_small,
)
from benchmarks.node_loader import (
    NodeLoaderUnavailableError,
    install_node_loader,
    run_node_loader,
)
from benchmarks.processes import peer_process, run_part, write_identity
from devnet.servers import Mongod
from runtime.process_start import prepare_libraries

_LIVE_BLOCKS_PER_S = 10.0
_TITLES = {
    "decode": "a  decode only",
    "bare": "b  bare insert_many",
    "follow": "c  peer to durable documents",
    "import": "d  files to durable documents",
    "again": "e  the same files again",
    "node": "Node loader",
}


@click.command()
@click.option(
    "--ledger",
    type=click.Path(exists=True, path_type=Path),
    help="Folder or archive of *.block files.",
)
@click.option(
    "--rounds", default=3, show_default=True, help="Rounds of all parts; the report has medians."
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
        report = asyncio.run(_measure(ledger, work, mongod.uri, rounds))
    if as_json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        _print(report)


async def _measure(ledger: Path | None, work: Path, uri: str, rounds: int) -> dict[str, Any]:
    latencies = await _latency(forged_small(), work, uri)
    ledgers = [forged(), *([existing(ledger)] if ledger is not None else [])]
    skipped = _skipped_parts()
    parts = tuple(part for part in _TITLES if part not in skipped)
    return {
        "throughput": [await _throughput(each, work, uri, rounds, parts) for each in ledgers],
        "skipped": skipped,
        "large_blocks": await _throughput(forged_large(), work, uri, rounds=1, parts=("follow",)),
        "latency_ms": latencies,
    }


def _skipped_parts() -> dict[str, str]:
    """Return the parts that cannot run on this machine, and why."""
    try:
        install_node_loader()
    except NodeLoaderUnavailableError as error:
        return {"node": str(error)}
    return {}


async def _throughput(
    ledger: MeasuredLedger, work: Path, uri: str, rounds: int, parts: tuple[str, ...]
) -> dict[str, Any]:
    """Return transactions per second and peak memory of each part, and the ratio c/b."""
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    async with peer_process(ledger.folder, ledger.channel, work / "tls") as (port, _):
        for _ in range(rounds):
            for part in parts:
                arguments = _arguments(part, ledger, work, uri, port)
                run = run_node_loader if part == "node" else run_part
                runs[part].append(await asyncio.to_thread(run, *arguments))
    rates = {
        part: ledger.transactions / statistics.median(run["seconds"] for run in runs[part])
        for part in parts
    }
    pairs = zip(runs["bare"], runs["follow"], strict=False)
    ratios = [bare["seconds"] / follow["seconds"] for bare, follow in pairs]
    return {
        "ledger": ledger.name,
        "blocks": ledger.height - ledger.first,
        "transactions": ledger.transactions,
        "megabytes": round(ledger.megabytes, 1),
        "transactions_per_second": {part: round(rate) for part, rate in rates.items()},
        "ratio_c_to_b": round(statistics.median(ratios), 3) if ratios else None,
        "peak_mb": {part: max(run["peak_mb"] for run in runs[part]) for part in parts},
    }


def _arguments(part: str, ledger: MeasuredLedger, work: Path, uri: str, port: int) -> list[str]:
    folder, chain = str(ledger.folder), ["--channel", ledger.channel, "--first", str(ledger.first)]
    match part:
        case "decode":
            return ["decode", folder]
        case "bare":
            return ["bare", folder, "--uri", uri]
        case "follow" | "node":
            peer = [
                "--port",
                str(port),
                "--tls",
                str(work / "tls"),
                "--identity",
                str(work / "identity"),
            ]
            options = ["--uri", uri, "--height", str(ledger.height), *peer, *chain]
            return options if part == "node" else [part, *options]
        case "again":
            return ["import", folder, "--uri", uri, "--again", *chain]
        case _:
            return ["import", folder, "--uri", uri, *chain]


async def _latency(ledger: MeasuredLedger, work: Path, uri: str) -> dict[str, float]:
    milliseconds = await delivered_to_visible(
        ledger.folder,
        work,
        uri,
        ledger.channel,
        live_from=LIVE_FROM,
        live_blocks=ledger.height - LIVE_FROM,
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
        for part, rate in rates.items():
            ratio, peak_mb = rate / rates["bare"], result["peak_mb"][part]
            click.echo(f"| {_TITLES[part]} | {rate:,} | {ratio:.2f} | {peak_mb:.0f} |")
        for part, reason in report["skipped"].items():
            click.echo(f"| {_TITLES[part]} | skipped: {reason} | | |")
        click.echo(f"\nc/b, median of the rounds: {result['ratio_c_to_b']}")
    large = report["large_blocks"]
    size = large["megabytes"] / large["blocks"]
    peak_mb = large["peak_mb"]["follow"]
    click.echo(f"\n{large['ledger']} ({size:.1f} MB each on average): peak {peak_mb:.0f} MB")
    click.echo(f"delivered to visible in the API, ms: {report['latency_ms']}")


if __name__ == "__main__":
    main()
