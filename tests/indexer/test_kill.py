"""Real processes under load: killed, told to stop, paused. What readers see stays whole."""

import asyncio
import json
import os
import random
import signal
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from msgspec.structs import replace

from devnet.peer import Ledger, Peer
from devnet.peer.faults import delay
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.store import LedgerStore
from tests.indexer.network import RECIPE, WITHIN_S, Client, assert_stored, forged, peer_of
from tests.indexer.processes import block_files, configuration, ending, kindledger, stop
from tests.indexer.support import Dump, assert_whole_prefix, expected_documents, stored_documents

CHAIN = forged(210, replace(RECIPE, transactions_per_block=10))
SMALL_QUEUES = {"delivered_bytes": 100_000, "encoded_bytes": 100_000}
"""So that the chain takes dozens of batches."""
STOPS_WITHIN_S = 8.0
SEED = int(os.environ.get("FAULT_SEED", "1"))

Start = Callable[[], AbstractAsyncContextManager[Process]]


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    """Takes more than a second for the chain."""
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
    """Starts the command that indexes the chain, from files or from the peer."""
    database = store.database.name
    if request.param == "run":
        file = configuration(
            tmp_path / "kindledger.toml", mongo_uri, database, client, peer, **SMALL_QUEUES
        )
        return lambda: kindledger("--config", file, "run")
    folder = block_files(tmp_path / "blocks", CHAIN)
    environment = {
        f"KINDLEDGER_INDEXER__{name.upper()}": str(size) for name, size in SMALL_QUEUES.items()
    }
    return lambda: kindledger(
        "import", folder, "--database", database, KINDLEDGER_MONGO__URI=mongo_uri, **environment
    )


async def until(
    process: Process, condition: Callable[[int, int], bool], store: LedgerStore
) -> None:
    """Waits until the numbers of stored transactions and blocks fit, or the process ends."""
    deadline = time.monotonic() + WITHIN_S
    while process.returncode is None:
        transactions = await store.database[TRANSACTIONS].estimated_document_count()
        blocks = await store.database[BLOCKS].estimated_document_count()
        if condition(transactions, blocks):
            return
        assert time.monotonic() < deadline, f"stuck at {transactions} transactions, {blocks} blocks"
        await asyncio.sleep(0.005)


async def check(store: LedgerStore) -> Dump:
    """What readers may see."""
    stored = await stored_documents(store.database)
    assert_whole_prefix(stored, expected_documents(CHAIN))
    return stored


async def empty(store: LedgerStore) -> None:
    for name in (BLOCKS, TRANSACTIONS, EVENTS):
        await store.database[name].delete_many({})


async def killed(start: Start, store: LedgerStore, stored: Dump, after_s: float) -> None:
    """Kills a new process so many seconds after its first write."""
    before = len(stored[TRANSACTIONS]), len(stored[BLOCKS])
    async with start() as process:
        await until(process, lambda transactions, blocks: (transactions, blocks) != before, store)
        await asyncio.sleep(after_s)
        if process.returncode is None:
            process.kill()
        await ending(process)


@pytest.mark.parametrize(
    "kills", [10, pytest.param(50, marks=(pytest.mark.long, pytest.mark.timeout(900)))]
)
async def test_kill_9_at_any_moment(start: Start, store: LedgerStore, kills: int) -> None:
    """F2: after each kill a whole prefix, never lower than before; after a last run without one, everything."""
    print(f"repeat with FAULT_SEED={SEED}")
    draws = random.Random(SEED)
    stored = await check(store)
    for _ in range(kills):
        seen = len(stored[BLOCKS])
        if seen == len(CHAIN):
            await empty(store)
            stored = await check(store)
            seen = 0
        await killed(start, store, stored, draws.uniform(0, 0.5))
        stored = await check(store)
        assert len(stored[BLOCKS]) >= seen, "the height fell"
    async with start() as process:
        await until(process, lambda _, blocks: blocks == len(CHAIN), store)
        stop(process)
        await ending(process)
    await assert_stored(store, CHAIN)


@pytest.mark.parametrize("signals", [1, 2])
async def test_sigterm_in_the_middle_of_a_batch(
    start: Start, store: LedgerStore, signals: int
) -> None:
    """F3: the first signal makes durable what was taken, the second ends at once; either way nothing is torn."""
    async with start() as process:
        await until(process, lambda transactions, _: transactions > 0, store)
        for _ in range(signals):
            process.terminate()
            await asyncio.sleep(0.02)
        ended = await ending(process, STOPS_WITHIN_S)
    # a second signal may find the work done and the handlers gone: what a shell calls 143 is -15 here
    assert ended.code == 143 or (ended.code, signals) == (-signal.SIGTERM, 2)
    stored = await check(store)
    assert len(stored[BLOCKS]) < len(CHAIN), "it was not in the middle"
    logged = [json.loads(line) for line in ended.stderr.splitlines() if line.startswith("{")]
    assert [line["event"] for line in logged if line["level"] != "info"] == []
    if signals == 1:
        assert logged[-1]["event"] == "channel_stopped"
        assert logged[-1]["height"] == len(stored[BLOCKS])
        assert stored[TRANSACTIONS].keys() == {
            key for key in stored[TRANSACTIONS] if key >> 20 < len(stored[BLOCKS])
        }


async def test_two_daemons_one_of_them_paused(
    mongo_uri: str, store: LedgerStore, client: Client, tmp_path: Path
) -> None:
    """F23, without fencing: the one that sleeps finds everything stored when it wakes up, and goes on."""
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
            kindledger("--config", file, "run") as sleeper,
            kindledger("--config", file, "run") as other,
        ):
            await until(sleeper, lambda transactions, _: transactions > 0, store)
            sleeper.send_signal(signal.SIGSTOP)
            await until(other, lambda _, blocks: blocks == 160, store)
            sleeper.send_signal(signal.SIGCONT)
            other.terminate()
            ended = await ending(other, STOPS_WITHIN_S)
            assert (ended.code, "failed" in ended.stderr) == (143, False)
            for block in CHAIN[160:]:
                ledger.append(block)
            await until(sleeper, lambda _, blocks: blocks == len(CHAIN), store)
            await peer.stop()
            sleeper.terminate()
            ended = await ending(sleeper, STOPS_WITHIN_S)
            assert (ended.code, "failed" in ended.stderr) == (143, False)
            assert all(json.loads(line) for line in ended.stderr.splitlines()), (
                "nothing else writes into the log"
            )
    await assert_stored(store, CHAIN)
