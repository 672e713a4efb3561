"""Blocks and transactions beyond the limits of gRPC and MongoDB, stored in bounded memory."""

import asyncio
import re
from collections.abc import Callable, Iterable
from contextlib import aclosing
from functools import cache
from hashlib import sha256
from pathlib import Path

import bson
import pytest

from devnet.forge.chain import Chain
from devnet.forge.gateway import timestamp
from devnet.forge.hostile_builders import (
    OVERSIZED_BYTES,
    HostileContext,
    HostileEnvelope,
    oversized,
)
from devnet.forge.network import Network
from devnet.forge.random_stream import RandomStream
from devnet.peer import Ledger
from devnet.peer.ledger_files import write_ledger_files
from indexer.pipeline.pipeline import PipelineLimits
from indexer.sources.file_source import FileSource
from ledger.decoding.blocks import decode_block, read_block
from ledger.mongodb.collections import BLOCKS, TRANSACTIONS
from ledger.mongodb.store import LedgerStore
from ledger.position import pack_position
from protos.transaction_pb2 import VALID
from tests.block_files import write_block_files
from tests.indexer.network import RECIPE, WITHIN_S, Client, assert_stored, indexing, peer_of
from tests.indexer.processes import configuration, ending, kindledger, stop
from tests.indexer.support import CHANNEL

NETWORK = Network(RECIPE.seed, CHANNEL, signed=False)
MANY = 10_000
CEILING_MB = 400


def hostile_context(purpose: str) -> HostileContext:
    return HostileContext(
        network=NETWORK,
        random=RandomStream(purpose),
        timestamp=timestamp(1_800_000_000_000),
        other_id="",
    )


def chain_of(*blocks: Iterable[HostileEnvelope]) -> tuple[bytes, ...]:
    """Return the serialized chain of a genesis block and these blocks."""
    chain = Chain(NETWORK)
    return (chain.genesis(1_800_000_000), *(chain.cut(list(block)) for block in blocks))


@cache
def large_chain() -> tuple[bytes, ...]:
    """Return a chain with three large blocks.

    One is larger than gRPC's usual 4 MiB, one has a transaction larger than BSON's 16 MiB, and one
    has 10,000 transactions.
    """
    context = hostile_context("large")
    many = [HostileEnvelope(context.transaction().seal(), VALID) for _ in range(MANY)]
    return chain_of(
        [oversized(context, 5 << 20)],
        [oversized(context), HostileEnvelope(context.transaction().seal(), VALID)],
        many,
    )


async def test_large_blocks_are_delivered_and_stored(store: LedgerStore, client: Client) -> None:
    chain = large_chain()
    async with (
        peer_of(chain) as peer,
        indexing(store, client.source(peer), limits=PipelineLimits()) as run,
    ):
        await run.wait_for_height(len(chain))
    await assert_stored(store, chain)
    assert await store.database[TRANSACTIONS].count_documents({"blockNumber": 3}) == MANY


async def test_a_value_that_no_document_can_hold_is_replaced_by_its_hash(
    store: LedgerStore, client: Client
) -> None:
    """Everything else of the transaction is stored."""
    chain = large_chain()[:3]
    async with peer_of(chain) as peer, indexing(store, client.source(peer)) as run:
        await run.wait_for_height(3)
    (action,) = decode_block(read_block(chain[2])).transactions[0].actions
    value = action.rwsets[0].writes[0].value
    smaller, huge = [
        await store.database[TRANSACTIONS].find_one({"_id": pack_position(number, 0)}) or {}
        for number in (1, 2)
    ]
    assert huge["rwsets"][0]["writes"][0]["value"] == {
        "omitted": True,
        "sha256": sha256(value).hexdigest(),
        "size": len(value),
    }
    assert len(value) >= OVERSIZED_BYTES - 64
    assert len(bson.encode(huge)) < 16 << 20
    assert huge.keys() == smaller.keys()
    assert (huge["status"], huge["function"]) == ("VALID", "PutNote")


@pytest.mark.parametrize("write", [write_block_files, write_ledger_files])
async def test_files_are_not_read_far_ahead(
    tmp_path: Path, write: Callable[[Path, Iterable[bytes]], Path]
) -> None:
    context = hostile_context("ahead")
    chain = chain_of(*([oversized(context, 3 << 20)] for _ in range(9)))
    source = FileSource([write(tmp_path, chain)])
    async with aclosing(source.blocks(0, None)) as blocks:
        await anext(blocks)
        assert source.read_bytes < 8 << 20


def ten_megabyte_blocks() -> tuple[bytes, ...]:
    """Return blocks with thousands of ordinary transactions, and blocks with a few large ones."""
    context = hostile_context("10 MB")
    ordinary = (
        [HostileEnvelope(context.transaction().seal(), VALID) for _ in range(2_500)]
        for _ in range(3)
    )
    large = ([oversized(context, 500_000) for _ in range(20)] for _ in range(7))
    return chain_of(*ordinary, *large)


async def peak_mb(process: asyncio.subprocess.Process, store: LedgerStore, height: int) -> int:
    """Return the peak memory of the process, until it has stored `height` blocks or has ended."""
    peak = 0
    async with asyncio.timeout(2 * WITHIN_S):
        while (
            process.returncode is None
            and await store.database[BLOCKS].estimated_document_count() < height
        ):
            peak = _peak_mb(process.pid) or peak
            await asyncio.sleep(0.02)
    return peak


def _peak_mb(pid: int) -> int | None:
    """Return the peak resident memory; None for a process that has ended."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) >> 10 if found else None


@pytest.mark.parametrize("command", ["import", "run"])
async def test_memory_stays_bounded(
    mongo_uri: str, store: LedgerStore, client: Client, tmp_path: Path, command: str
) -> None:
    chain = ten_megabyte_blocks()
    assert all(9_000_000 < len(block) < 13_000_000 for block in chain[1:])
    folder = write_block_files(tmp_path / "blocks", chain)
    database = store.database.name
    async with peer_of(Ledger(sorted(folder.iterdir()))) as peer:
        arguments: list[str | Path] = ["import", folder, "--database", database]
        if command == "run":
            file = configuration(tmp_path / "kindledger.toml", mongo_uri, database, client, peer)
            arguments = ["--config", file, "run"]
        async with kindledger(*arguments, KINDLEDGER_MONGO__URI=mongo_uri) as process:
            peak = await peak_mb(process, store, len(chain))
            stop(process)
            await ending(process)
    print(f"{peak} MB")
    assert await store.database[BLOCKS].count_documents({}) == len(chain)
    assert await store.database[TRANSACTIONS].count_documents({}) == 1 + 3 * 2_500 + 7 * 20
    assert 0 < peak < CEILING_MB
