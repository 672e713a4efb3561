"""`python -m benchmarks.indexing_parts PART …`: measures one part and prints one line of JSON.

`seconds` is the time of the part without the start of Python, reading files into memory and the
preparation of documents for the part `bare`. `peak_mb` is the peak memory of the process.
"""

import asyncio
import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import bson
import click
from pymongo import AsyncMongoClient, MongoClient, WriteConcern

from cli.assembly.channel import new_progress
from devnet.peer import block_files
from indexer.pipeline.channel_indexer import ChannelIndexer
from indexer.pipeline.deferred_indexes import IndexPolicy
from indexer.pipeline.encoders import new_encoder
from indexer.sources.file_source import FileSource
from indexer.sources.peer_source import Endpoint, PeerSource
from ledger.archive.folder_archive import FolderArchive
from ledger.documents.encoding import EncodedBlock
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.indexes import IndexOptions
from ledger.mongodb.raw_block_archive import MongoArchive
from ledger.mongodb.store import LedgerStore
from ledger.ownership import decide_owners
from ledger.signing import load_signing_identity
from runtime.process import tune_process
from runtime.process_start import prepare_libraries

DATABASE = "bench"
_BATCH = 5_000
_FAR_BEHIND_BLOCKS = 10
"""So few that the measured ledgers, which are short, count as far ahead."""


@click.group()
def main() -> None:
    """Measure one part of indexing."""
    prepare_libraries()


def _report(seconds: float, **values: float) -> None:
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report = {"seconds": seconds, "peak_mb": round(peak_mb, 1), **values}
    sys.stdout.write(json.dumps(report) + "\n")


def _encoded_blocks(folder: Path) -> Iterator[tuple[EncodedBlock, float]]:
    """Yield the documents of each block, and the seconds from its bytes to the documents."""
    owned: set[str] = set()
    encoder = new_encoder()
    for file in block_files(folder)[1]:
        data = file.read_bytes()
        began = time.perf_counter()
        block = encoder.claims(encoder.read(data))
        owns = decide_owners(block, owned)
        encoded = encoder.encode(block, owns)
        seconds = time.perf_counter() - began
        owned |= {claim.tx_id for claim, owner in zip(block.claims, owns, strict=True) if owner}
        yield encoded, seconds


@main.command()
def indexes() -> None:
    """Print the indexes of each collection, as the command `createIndexes` takes them."""
    models = IndexOptions().models()
    specifications = {name: [model.document for model in models[name]] for name in models}
    sys.stdout.write(json.dumps(specifications) + "\n")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def decode(folder: Path) -> None:
    """Measure decoding: block bytes to encoded documents, in memory."""
    _report(sum(seconds for _, seconds in _encoded_blocks(folder)))


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--uri", required=True)
def bare(folder: Path, uri: str) -> None:
    """Measure `insert_many` of the same documents, with the same indexes and write concern."""
    documents: dict[str, list[dict[str, Any]]] = {TRANSACTIONS: [], EVENTS: [], BLOCKS: []}
    for encoded, _ in _encoded_blocks(folder):
        documents[TRANSACTIONS] += [bson.decode(document.raw) for document in encoded.transactions]
        documents[EVENTS] += [bson.decode(document.raw) for document in encoded.events]
        documents[BLOCKS].append(bson.decode(encoded.block.raw))
    with MongoClient[dict[str, Any]](uri) as client:
        client.drop_database(DATABASE)
        database = client.get_database(DATABASE, write_concern=WriteConcern("majority", j=True))
        for name, indexes in IndexOptions().models().items():
            database[name].create_indexes(list(indexes))
        began = time.perf_counter()
        for name, rows in documents.items():
            for start in range(0, len(rows), _BATCH):
                database[name].insert_many(rows[start : start + _BATCH], ordered=False)
        _report(time.perf_counter() - began)


@main.command()
@click.option("--uri", required=True)
@click.option("--port", required=True, type=int)
@click.option("--channel", required=True)
@click.option("--tls", required=True, type=click.Path(path_type=Path))
@click.option("--identity", required=True, type=click.Path(path_type=Path))
@click.option("--first", required=True, type=int)
@click.option("--height", required=True, type=int)
@click.option("--indexes", "creation", type=click.Choice(["deferred", "now"]), default="deferred")
def follow(**options: Any) -> None:
    """Measure indexing from a peer over mutual TLS to durable documents with all indexes.

    `catch_up_seconds` is the time until all blocks are stored, and `seconds` the time until the
    deferred indexes are built as well. `cpu_seconds` is the processor time of the process within
    `seconds`.
    """
    asyncio.run(_follow(**options))


async def _follow(
    *,
    uri: str,
    port: int,
    channel: str,
    tls: Path,
    identity: Path,
    first: int,
    height: int,
    creation: str,
) -> None:
    endpoint = Endpoint(
        address=f"localhost:{port}",
        tls_ca=tls / "ca.pem",
        client_certificate=tls / "client.pem",
        client_key=tls / "client.key",
    )
    source = PeerSource(
        endpoint,
        channel,
        lambda: load_signing_identity("Org1MSP", identity / "cert.pem", identity / "key.pem"),
    )
    async with AsyncMongoClient[dict[str, Any]](uri) as client:
        await client.drop_database(DATABASE)
        progress = new_progress(channel)
        policy = IndexPolicy(deferred=creation == "deferred", far_behind_blocks=_FAR_BEHIND_BLOCKS)
        store = LedgerStore(client, DATABASE)
        indexer = ChannelIndexer(
            store,
            [source],
            progress,
            first=first,
            index_policy=policy,
            raw_blocks=MongoArchive(store.database),
        )
        began, cpu = time.perf_counter(), time.process_time()
        running = asyncio.create_task(indexer.run())
        await _first_of(running, progress.wait_for_height(height))
        catch_up_seconds = time.perf_counter() - began
        await _first_of(running, progress.wait_until_caught_up())
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
        indexer.stop()
        await running
    _report(seconds, catch_up_seconds=catch_up_seconds, cpu_seconds=cpu_seconds)


async def _first_of(running: asyncio.Task[None], waiting: Coroutine[Any, Any, None]) -> None:
    """Wait until the indexer ends, which raises its error, or until `waiting` ends."""
    task = asyncio.create_task(waiting)
    await asyncio.wait((running, task), return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        task.cancel()
        await running


_archive_option = click.option(
    "--archive",
    default="mongodb",
    help="Where raw blocks are kept: none, mongodb, or a folder.",
    show_default=True,
)


@asynccontextmanager
async def _archive_at(place: str, store: LedgerStore, channel: str) -> AsyncIterator[Any]:
    """Yield the archive at a place, which `--archive` names, or None."""
    if place in ("none", "mongodb"):
        yield MongoArchive(store.database) if place == "mongodb" else None
        return
    archive = FolderArchive(Path(place), channel)
    await archive.open()
    yield archive
    await archive.close()


@main.command("import")
@_archive_option
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--uri", required=True)
@click.option("--channel", required=True)
@click.option("--first", required=True, type=int)
@click.option(
    "--again", is_flag=True, help="Import into the existing database, not into an empty one."
)
def import_files(
    *, folder: Path, uri: str, channel: str, first: int, again: bool, archive: str
) -> None:
    """Measure indexing from files to durable documents with all indexes."""
    asyncio.run(_import(folder, uri, channel, first, archive, again=again))


async def _import(
    folder: Path, uri: str, channel: str, first: int, place: str, *, again: bool
) -> None:
    async with AsyncMongoClient[dict[str, Any]](uri) as client:
        if not again:
            await client.drop_database(DATABASE)
        progress, store = new_progress(channel), LedgerStore(client, DATABASE)
        async with _archive_at(place, store, channel) as archive:
            indexer = ChannelIndexer(
                store, [FileSource([folder])], progress, first=first, raw_blocks=archive
            )
            began, cpu = time.perf_counter(), time.process_time()
            await indexer.run()
            seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
        kept = progress.archive.bytes if progress.archive is not None else 0
        _report(seconds, cpu_seconds=cpu_seconds, new_blocks=progress.blocks, kept_bytes=kept or 0)


if __name__ == "__main__":
    tune_process()
    main()
