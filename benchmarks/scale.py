"""`python -m benchmarks.scale`: indexes many transactions, and shows how the rate changes.

The blocks come from an endless ledger, made in the same process. At the end it measures the builds
of the deferred indexes, the size of the store, a restart, and the API at this size.
"""

import asyncio
import os
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from statistics import median
from typing import Any, Final

import aiohttp
import click
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from benchmarks.endless_ledger import FIRST, TRANSACTIONS_PER_BLOCK, EndlessSource
from cli.assembly.channel import new_progress
from cli.configuration.settings import LogSettings
from cli.output.logs import configure_logs
from cli.version import VERSION
from devnet.servers import Mongod
from explorer_api.app import create_app, serve
from indexer.audit.verification import Difference, Verifier
from indexer.pipeline.channel_indexer import ChannelIndexer
from indexer.progress.channel_progress import ChannelProgress
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.store import LedgerStore
from runtime.process import tune_process
from runtime.process_start import prepare_libraries

_DATABASE: Final = "bench_scale"
_CHANNEL: Final = "kindledger"
_REPEATS: Final = 20
_RETRY_S: Final = 0.1
_PATHS: Final = {
    "newest transactions": "/transactions?limit=50",
    "transactions of a chaincode": "/transactions?chaincode=kindledger&limit=50",
    "transactions by status": "/transactions?status=MVCC_READ_CONFLICT&limit=50",
    "newest events": "/events?limit=50",
    "events by name": "/events?name=Mint&limit=50",
    "blocks": "/blocks?limit=50",
    "totals": "/stats",
}


@click.command()
@click.option("--transactions", default=10_000_000, show_default=True)
@click.option("--every", default=1_000_000, show_default=True, help="Transactions in a row.")
@click.option("--folder", type=click.Path(path_type=Path), help="Folder for the data of mongod.")
@click.option("--verify", is_flag=True, help="Measure `kindledger verify` as well.")
def main(*, transactions: int, every: int, folder: Path | None, verify: bool) -> None:
    """Index an endless ledger up to a number of transactions."""
    prepare_libraries()
    configure_logs(LogSettings(level="warning"))
    tune_process()
    with (
        tempfile.TemporaryDirectory(prefix="kindledger-scale-", dir=folder) as name,
        Mongod(Path(name) / "mongo") as mongod,
    ):
        asyncio.run(_measure(mongod.uri, transactions, every, verify=verify))


async def _measure(uri: str, transactions: int, every: int, *, verify: bool) -> None:
    height = FIRST + -(-transactions // TRANSACTIONS_PER_BLOCK)
    async with AsyncMongoClient[dict[str, Any]](uri, tz_aware=True) as client:
        await client.drop_database(_DATABASE)
        async with _indexing(client, height) as progress:
            await _follow(progress, height, every)
            began = time.monotonic()
            await progress.wait_until_caught_up()
            _print(f"deferred indexes built in {time.monotonic() - began:.0f} s")
            await _print_sizes(client[_DATABASE], progress.transactions)
        began = time.monotonic()
        async with _indexing(client, height) as progress:
            await progress.wait_until_caught_up()
            _print(f"restart until following: {time.monotonic() - began:.1f} s")
        await _measure_api(client)
        if verify:
            began = time.monotonic()
            verifier = Verifier(LedgerStore(client, _DATABASE), _print_difference, lambda _: None)
            await verifier.check_consistency()
            _print(f"\nverify: {time.monotonic() - began:.0f} s")


@asynccontextmanager
async def _indexing(
    client: AsyncMongoClient[dict[str, Any]], height: int
) -> AsyncIterator[ChannelProgress]:
    progress = new_progress(_CHANNEL)
    indexer = ChannelIndexer(
        LedgerStore(client, _DATABASE), [EndlessSource(height)], progress, first=FIRST
    )
    running = asyncio.create_task(indexer.run())
    try:
        yield progress
    finally:
        indexer.stop()
        await running


async def _follow(progress: ChannelProgress, height: int, every: int) -> None:
    """Print a row of the table after each `every` transactions."""
    _print("| transactions | tx/s of the last row | CPU µs/tx | memory MB | peak MB |")
    _print("|---|---|---|---|---|")
    began, cpu, done = time.monotonic(), time.process_time(), 0
    while progress.committed_height < height:
        await progress.wait_for_height(
            min(height, progress.committed_height + every // TRANSACTIONS_PER_BLOCK // 20 + 1)
        )
        count = progress.transactions - done
        if count < every and progress.committed_height < height:
            continue
        seconds, now_cpu = time.monotonic() - began, time.process_time()
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        _print(
            f"| {progress.transactions:,} | {count / seconds:,.0f} "
            f"| {(now_cpu - cpu) / count * 1e6:.1f} | {_resident_mb():.0f} | {peak_mb:.0f} |"
        )
        began, cpu, done = time.monotonic(), now_cpu, progress.transactions


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def _print_sizes(database: AsyncDatabase[dict[str, Any]], transactions: int) -> None:
    """Print the bytes on disk of the documents and of each index, for one transaction."""
    _print("\n| part | bytes a transaction |\n|---|---|")
    for name in (TRANSACTIONS, EVENTS, BLOCKS):
        stats = await database.command("collStats", name)
        _print(f"| {name}, documents | {stats['storageSize'] / transactions:.1f} |")
        for index, size in stats["indexSizes"].items():
            _print(f"| {name}, index {index} | {size / transactions:.1f} |")
    total = await database.command("dbStats")
    _print(f"| all | {total['totalSize'] / transactions:.1f} |\n")


async def _measure_api(client: AsyncMongoClient[dict[str, Any]]) -> None:
    """Print the time of requests that no cache answers."""
    runner, port = await serve(
        create_app(client, {_CHANNEL: _DATABASE}, version=VERSION), "127.0.0.1", 0
    )
    base = f"http://127.0.0.1:{port}/api/v1/channels/{_CHANNEL}"
    sample = await client[_DATABASE][TRANSACTIONS].aggregate([{"$sample": {"size": _REPEATS}}])
    tx_ids = [document["txId"] async for document in sample]
    _print("\n| request | median ms |\n|---|---|")
    requests = {name: [path] for name, path in _PATHS.items()}
    requests["transaction by id"] = [f"/transactions/{tx_id}" for tx_id in tx_ids]
    try:
        async with aiohttp.ClientSession() as session:
            for name, paths in requests.items():
                times = [await _get(session, base + path) for path in paths]
                _print(f"| {name} | {median(times):.1f} |")
    finally:
        await runner.cleanup()


async def _get(session: aiohttp.ClientSession, url: str) -> float:
    """Return the milliseconds until a request is answered; totals are counted after the start."""
    began = time.monotonic()
    while True:
        async with session.get(url) as response:
            await response.read()
            if response.status != HTTPStatus.SERVICE_UNAVAILABLE:
                response.raise_for_status()
                return (time.monotonic() - began) * 1000
        await asyncio.sleep(_RETRY_S)


def _print_difference(difference: Difference) -> None:
    _print(f"DIFFERENCE in block {difference.block}: {difference.what}")


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
