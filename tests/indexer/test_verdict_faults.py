"""The verification of envelopes goes on after restarts, crashes and outages."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from devnet.peer import Ledger
from devnet.servers import Mongod
from indexer.sources.block_source import DeliveredBlock
from indexer.sources.peer_source import PeerSource
from ledger.mongodb.collections import VERDICTS
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.verdicts import StoredVerdict, VerdictStore
from tests.eventually import eventually
from tests.indexer.network import HEIGHT, Client, peer_of
from tests.indexer.support import CHANNEL
from tests.indexer.verifying import (
    CODES,
    SIGNED,
    SPLIT,
    stored_verdicts,
    verifying,
)

Documents = list[dict[str, Any]]


async def clean_verdicts(store: LedgerStore, client: Client) -> Documents:
    """Verify the whole signed chain at once; return the verdicts, and delete them."""
    async with peer_of(SIGNED) as peer, verifying(store, client.source(peer)) as daemon:
        await daemon.until_verified(HEIGHT)
        await daemon.stop()
    verdicts = await stored_verdicts(store)
    await store.database[VERDICTS].delete_many({})
    return verdicts


async def test_a_restart_goes_on_after_the_last_verdict(store: LedgerStore, client: Client) -> None:
    """The configuration and the definitions in force are learned again, not guessed."""
    clean = await clean_verdicts(store, client)
    async with peer_of(SIGNED[:SPLIT]) as peer, verifying(store, client.source(peer)) as daemon:
        await daemon.until_verified(SPLIT)
        await daemon.stop()
    await store.database[VERDICTS].delete_many({"_id": {"$gte": SPLIT}})
    async with peer_of(SIGNED) as peer, verifying(store, client.source(peer)) as daemon:
        await daemon.until_verified(HEIGHT)
        envelopes = daemon.envelopes
        assert envelopes.checked + envelopes.not_checked == sum(map(len, CODES[SPLIT:]))
    assert await stored_verdicts(store) == clean


class CrashError(BaseException):
    """The crash of the process; no `except Exception` catches it."""


class CrashingVerdicts(VerdictStore):
    """A store of verdicts that crashes before, after or half-way through its first insertion."""

    moment = ""

    async def insert(self, verdicts: Sequence[StoredVerdict]) -> None:
        """Crash, or insert."""
        count = {"before": 0, "midway": len(verdicts) // 2}.get(self.moment, len(verdicts))
        await super().insert(verdicts[:count])
        if self.moment:
            raise CrashError


async def test_after_a_crash_at_any_call_of_the_store_the_verdicts_are_the_same(
    store: LedgerStore, client: Client
) -> None:
    clean = await clean_verdicts(store, client)
    async with peer_of(SIGNED) as peer:
        for moment in ("before", "midway", "after"):
            await store.database[VERDICTS].delete_many({"_id": {"$gte": SPLIT}})
            verdicts = CrashingVerdicts(store.database)
            verdicts.moment = moment
            async with verifying(store, client.source(peer), verdicts=verdicts) as daemon:
                with pytest.raises(CrashError):
                    await daemon.task
            async with verifying(store, client.source(peer)) as daemon:
                await daemon.until_verified(HEIGHT)
            assert await stored_verdicts(store) == clean, moment


async def test_two_daemons_store_the_same_verdicts(store: LedgerStore, client: Client) -> None:
    clean = await clean_verdicts(store, client)
    async with peer_of(SIGNED) as peer:
        source = client.source(peer)
        async with verifying(store, source) as one, verifying(store, source) as other:
            await one.until_verified(HEIGHT)
            await other.until_verified(HEIGHT)
    assert await stored_verdicts(store) == clean


class KillingSource(PeerSource):
    """A peer during whose delivery the process that verifies is killed, once."""

    killed = False

    async def blocks(self, start: int, tip: int | None) -> AsyncGenerator[DeliveredBlock, None]:
        """Yield the blocks; kill the process before a block in the middle."""
        async for delivered in super().blocks(start, tip):
            if delivered.number == SPLIT and not self.killed and start < SPLIT:
                self.killed = kill_verifiers()
            yield delivered


def kill_verifiers() -> bool:
    """Kill the processes that this process started to verify envelopes."""
    found = False
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in map(int, children.read_text().split()):
            if "indexer.envelopes.process" in Path(f"/proc/{pid}/cmdline").read_text():
                os.kill(pid, signal.SIGKILL)
                found = True
    return found


async def test_the_verification_goes_on_when_its_process_is_killed(
    store: LedgerStore, client: Client
) -> None:
    clean = await clean_verdicts(store, client)
    async with peer_of(SIGNED) as peer:
        source = KillingSource(client.endpoint(peer.address), CHANNEL, client.identity)
        async with verifying(store, source) as daemon:
            await daemon.until_verified(HEIGHT)
        assert source.killed
    assert await stored_verdicts(store) == clean


async def test_a_verdict_that_was_changed_or_is_of_another_chain_stops_the_verification(
    store: LedgerStore, client: Client
) -> None:
    """The indexing goes on, and the error says what differs."""
    async with peer_of(SIGNED[:SPLIT]) as peer, verifying(store, client.source(peer)) as daemon:
        await daemon.until_verified(SPLIT)
        await daemon.stop()
    last = SPLIT - 1
    await store.database[VERDICTS].update_one({"_id": last}, {"$set": {"blockHash": "00"}})
    async with peer_of(SIGNED) as peer, verifying(store, client.source(peer)) as daemon:
        await daemon.until(lambda progress: progress.committed_height == HEIGHT)
        report = await eventually(lambda: daemon.envelopes.error, lambda error: error is not None)
        assert report is not None
        assert f"verdicts {last}: blockHash" in report.message
        await asyncio.sleep(0)
        assert len(await stored_verdicts(store)) == SPLIT


async def test_the_verification_goes_on_when_mongodb_is_back(
    store: LedgerStore, client: Client, tmp_path: Path
) -> None:
    clean = await clean_verdicts(store, client)
    ledger = Ledger(SIGNED[:SPLIT])
    with Mongod(tmp_path / "mongo") as mongod:
        uri = f"{mongod.uri}&serverSelectionTimeoutMS=500"
        async with AsyncMongoClient[Any](uri) as own, peer_of(ledger) as peer:
            away = LedgerStore(own, "verdicts")
            async with verifying(away, client.source(peer)) as daemon:
                await daemon.until_verified(SPLIT)
                mongod.kill()
                for block in SIGNED[SPLIT:]:
                    ledger.append(block)
                await daemon.until(lambda progress: progress.seen_height > SPLIT)
                mongod.start()
                await daemon.until_verified(HEIGHT)
            assert await stored_verdicts(away) == clean
