"""`python -m benchmarks.archive`, run by `make bench-archive`: what it costs to keep raw blocks.

The same files are imported without an archive, with one in MongoDB, and with one in a folder, in
turn. Processor time is measured too, since other load on the machine matters little for it.
"""

import shutil
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import click
from msgspec import Struct
from pymongo import MongoClient

from benchmarks.indexing_parts import DATABASE
from benchmarks.ledgers import MeasuredLedger, existing, forged, forged_tens
from benchmarks.processes import cpu_seconds, run_part
from devnet.servers import Mongod
from runtime.process_start import prepare_libraries

_PLACES: Final = ("none", "mongodb", "folder")


class Measured(Struct, frozen=True):
    """One import: its time, the processor time of the daemon and of mongod, and sizes in bytes."""

    seconds: float
    daemon: float
    mongod: float
    archive: float
    on_disk: float


@click.command()
@click.option("--ledger", type=click.Path(exists=True, path_type=Path), help="Another ledger, too.")
@click.option("--rounds", default=5, show_default=True, help="The report has medians.")
def main(*, ledger: Path | None, rounds: int) -> None:
    """Measure imports without an archive, with one in MongoDB, and with one in a folder."""
    prepare_libraries()
    ledgers = [forged(), forged_tens(), *([existing(ledger)] if ledger is not None else [])]
    click.echo(
        "| ledger | archive | transactions/s | daemon, µs | mongod, µs | both | archive, bytes a "
        "transaction | on disk |"
    )
    click.echo("|---|---|---|---|---|---|---|---|")
    for measured in ledgers:
        with tempfile.TemporaryDirectory(prefix="kindledger-bench-") as name:
            with Mongod(Path(name) / "mongo") as mongod:
                results = defaultdict[str, list[Measured]](list)
                for number in range(rounds):
                    for place in _PLACES[:: 1 if number % 2 == 0 else -1]:
                        results[place].append(_import(measured, place, mongod, Path(name)))
            for place in _PLACES:
                click.echo(_row(measured, place, results[place], results["none"]))


def _import(ledger: MeasuredLedger, place: str, mongod: Mongod, work: Path) -> Measured:
    folder = work / "archive"
    shutil.rmtree(folder, ignore_errors=True)
    before = cpu_seconds(mongod.pid)
    values = run_part(
        *("import", str(ledger.folder), "--uri", mongod.uri, "--channel", ledger.channel),
        *("--first", str(ledger.first), "--archive", str(folder) if place == "folder" else place),
    )
    used = cpu_seconds(mongod.pid) - before
    return Measured(
        values["seconds"],
        values["cpu_seconds"],
        used,
        values["kept_bytes"],
        sum(path.stat().st_size for path in folder.glob("*"))
        if place == "folder"
        else _stored_bytes(mongod.uri),
    )


def _stored_bytes(uri: str) -> float:
    """Return the size of the collection of raw blocks on disk."""
    with MongoClient[Any](uri) as client:
        statistics_of = client[DATABASE].command("collStats", "raw_blocks")
    return float(statistics_of["storageSize"])


def _row(
    ledger: MeasuredLedger, place: str, results: list[Measured], without: list[Measured]
) -> str:
    count = ledger.transactions

    def median(name: str, of: list[Measured] = results) -> float:
        return float(statistics.median(getattr(each, name) for each in of))

    both = [each.daemon + each.mongod for each in results]
    before = statistics.median(each.daemon + each.mongod for each in without)
    share = statistics.median(both) / before - 1
    return (
        f"| {ledger.name} | {place} | {count / median('seconds'):,.0f} "
        f"| {median('daemon') / count * 1e6:.1f} | {median('mongod') / count * 1e6:.1f} "
        f"| {statistics.median(both) / count * 1e6:.1f} ({share:+.1%}) "
        f"| {median('archive') / count:,.0f} | {median('on_disk') / count:,.0f} |"
    )


if __name__ == "__main__":
    main()
