"""Processes that are killed, stopped or paused at work: readers see only complete blocks."""

import asyncio
import json
import os
import random
import shutil
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from devnet.peer import Ledger, Peer
from devnet.peer.faults import delay
from ledger.archive.folder_archive import FolderRawBlocks
from ledger.mongodb.collections import BLOCKS, RAW_BLOCKS, TRANSACTIONS
from ledger.mongodb.indexes import IndexOptions
from ledger.mongodb.store import LedgerStore
from ledger.position import unpack_position
from tests.block_files import write_block_files
from tests.eventually import eventually
from tests.indexer.network import RECIPE, WITHIN_S, Client, assert_stored, forged, peer_of
from tests.indexer.processes import configuration, ending, kindledger, stop
from tests.indexer.support import (
    CHANNEL,
    Documents,
    assert_equal_documents,
    assert_whole_prefix,
    delete_all_documents,
    delete_everything,
    expected_documents,
    stored_documents,
)
from tests.ledger.archives import kept

CHAIN = forged(210, replace(RECIPE, transactions_per_block=10))
ARCHIVE = "archive"
"""The folder with raw blocks, if they are kept in one."""
SMALL_QUEUES = {"delivered_bytes": 100_000, "encoded_bytes": 100_000, "far_behind_blocks": 20}
"""With these limits the chain is stored in dozens of batches, and indexes can be deferred."""
STOPS_WITHIN_S = 20.0
"""A stop is not forced if no warning is logged: this limit only bounds the test."""
SEED = int(os.environ.get("FAULT_SEED", "1"))

Start = Callable[[], AbstractAsyncContextManager[Process]]
Clear = Callable[[LedgerStore], Awaitable[None]]


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    """A peer that takes more than a second to deliver the chain."""
    async with peer_of(CHAIN, delay(lambda _: True, 0.004)) as peer:
        yield peer


@pytest.fixture(params=["import", "run"])
def start(
    request: pytest.FixtureRequest,
    mongo_uri: str,
    store: LedgerStore,
    client: Client,
    peer: Peer,
    tmp_path: Path,
) -> Start:
    """Return a function that starts the command that indexes the chain, from files or the peer.

    From files, raw blocks are kept in a folder, from the peer in MongoDB.
    """
    database = store.database.name
    if request.param == "run":
        file = configuration(
            tmp_path / "kindledger.toml", mongo_uri, database, client, peer, **SMALL_QUEUES
        )
        return lambda: kindledger("--config", file, "run")
    folder = write_block_files(tmp_path / "blocks", CHAIN)
    environment = {
        f"KINDLEDGER_INDEXER__{name.upper()}": str(size) for name, size in SMALL_QUEUES.items()
    } | {"KINDLEDGER_ARCHIVE__FOLDER": str(tmp_path / ARCHIVE)}
    return lambda: kindledger(
        "import", folder, "--database", database, KINDLEDGER_MONGO__URI=mongo_uri, **environment
    )


class Counts(NamedTuple):
    """The numbers of stored transactions and blocks."""

    transactions: int
    blocks: int


async def wait_for_counts(
    process: Process, condition: Callable[[Counts], bool], store: LedgerStore
) -> None:
    """Wait until the stored counts fulfil the condition, or the process ends."""

    async def count() -> Counts:
        transactions = await store.database[TRANSACTIONS].estimated_document_count()
        return Counts(transactions, await store.database[BLOCKS].estimated_document_count())

    await eventually(
        count,
        lambda counts: process.returncode is not None or condition(counts),
        within_s=WITHIN_S,
        poll_s=0.005,
        describe="the condition of the stored counts",
    )


async def stored_with_archive(store: LedgerStore, tmp_path: Path) -> Documents:
    """Return what is stored, with the raw blocks of the folder if there is one."""
    stored = await stored_documents(store.database)
    if (tmp_path / ARCHIVE).exists():
        archive = FolderRawBlocks(tmp_path / ARCHIVE / store.database.name, CHANNEL)
        stored[RAW_BLOCKS] = dict(await kept(archive))
    return stored


async def check(store: LedgerStore, tmp_path: Path) -> Documents:
    """Check what readers may see, and return it. Every visible block has its raw block."""
    stored = await stored_with_archive(store, tmp_path)
    assert_whole_prefix(stored, expected_documents(CHAIN))
    return stored


async def start_and_kill(
    start: Start, store: LedgerStore, stored: Documents, after_s: float
) -> None:
    """Kill a new process `after_s` seconds after its first write."""
    before = Counts(len(stored[TRANSACTIONS]), len(stored[BLOCKS]))
    async with start() as process:
        await wait_for_counts(process, lambda counts: counts != before, store)
        await asyncio.sleep(after_s)
        if process.returncode is None:
            process.kill()
        await ending(process)


@pytest.mark.parametrize(
    "kills", [6, pytest.param(25, marks=(pytest.mark.long, pytest.mark.timeout(900)))]
)
@pytest.mark.parametrize("clear", [delete_all_documents, delete_everything])
async def test_a_process_killed_at_any_moment_leaves_complete_blocks(
    start: Start, store: LedgerStore, tmp_path: Path, kills: int, clear: Clear
) -> None:
    """After each kill a complete prefix is stored, never a shorter one than before.

    After a last run without a kill, the whole chain and all indexes are stored. If nothing is left
    between the runs, the indexes are deferred.
    """
    print(f"repeat with FAULT_SEED={SEED}")
    draws = random.Random(SEED)
    await clear(store)
    stored = await check(store, tmp_path)
    for _ in range(kills):
        height = len(stored[BLOCKS])
        if height == len(CHAIN):
            await clear(store)
            shutil.rmtree(tmp_path / ARCHIVE, ignore_errors=True)
            stored = await check(store, tmp_path)
            height = 0
        await start_and_kill(start, store, stored, draws.uniform(0, 0.5))
        stored = await check(store, tmp_path)
        assert len(stored[BLOCKS]) >= height, "the height fell"
    async with start() as process:
        await wait_for_counts(process, lambda counts: counts.blocks == len(CHAIN), store)
        await eventually(
            lambda: store.missing_indexes(IndexOptions()),
            lambda missing: not missing,
            within_s=WITHIN_S,
            describe="all indexes exist",
        )
        stop(process)
        await ending(process)
    stored = await stored_with_archive(store, tmp_path)
    assert_equal_documents(stored, expected_documents(CHAIN))


@pytest.mark.parametrize("signals", [1, 2])
async def test_sigterm_in_the_middle_of_a_batch_leaves_complete_blocks(
    start: Start, store: LedgerStore, tmp_path: Path, signals: int
) -> None:
    """After one signal the delivered blocks are stored; a second one ends the process at once.

    In both cases every stored block is complete.
    """
    async with start() as process:
        await wait_for_counts(process, lambda counts: counts.transactions > 0, store)
        for _ in range(signals):
            process.terminate()
            await asyncio.sleep(0.02)
        ended = await ending(process, STOPS_WITHIN_S)
    # A second signal may come when the handlers are removed: -15 here is 143 in a shell.
    assert ended.code == 143 or (ended.code, signals) == (-signal.SIGTERM, 2)
    stored = await check(store, tmp_path)
    assert len(stored[BLOCKS]) < len(CHAIN), "the process stopped only after the last batch"
    logged = [json.loads(line) for line in ended.stderr.splitlines() if line.startswith("{")]
    assert [line["event"] for line in logged if line["level"] != "info"] == []
    if signals == 1:
        assert logged[-1]["event"] == "channel_stopped"
        assert logged[-1]["height"] == len(stored[BLOCKS])
        assert stored[TRANSACTIONS].keys() == {
            key for key in stored[TRANSACTIONS] if unpack_position(key)[0] < len(stored[BLOCKS])
        }


async def test_a_paused_daemon_continues_after_another_has_stored_its_blocks(
    mongo_uri: str, store: LedgerStore, client: Client, tmp_path: Path
) -> None:
    """When the paused daemon resumes, it finds all blocks stored."""
    ledger = Ledger(CHAIN[:160])
    async with peer_of(ledger, delay(lambda _: True, 0.004)) as peer:
        file = configuration(
            tmp_path / "kindledger.toml",
            mongo_uri,
            store.database.name,
            client,
            peer,
            **SMALL_QUEUES,
        )
        async with (
            kindledger("--config", file, "run") as paused,
            kindledger("--config", file, "run") as other,
        ):
            await wait_for_counts(paused, lambda counts: counts.transactions > 0, store)
            paused.send_signal(signal.SIGSTOP)
            await wait_for_counts(other, lambda counts: counts.blocks == 160, store)
            paused.send_signal(signal.SIGCONT)
            other.terminate()
            ended = await ending(other, STOPS_WITHIN_S)
            assert ended.code == 143
            assert "failed" not in ended.stderr
            assert "stop_forced" not in ended.stderr
            for block in CHAIN[160:]:
                ledger.append(block)
            await wait_for_counts(paused, lambda counts: counts.blocks == len(CHAIN), store)
            await peer.stop()
            paused.terminate()
            ended = await ending(paused, STOPS_WITHIN_S)
            assert ended.code == 143
            assert "failed" not in ended.stderr
            assert "stop_forced" not in ended.stderr
            assert all(json.loads(line) for line in ended.stderr.splitlines()), (
                "only the log writes to stderr"
            )
    await assert_stored(store, CHAIN)
