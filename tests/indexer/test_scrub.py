"""The scrub finds changed documents while the daemon runs, and tells operators."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from prometheus_client import CollectorRegistry

from indexer.audit.scrub import Scrub, ScrubRate
from indexer.monitoring.health_server import HealthServer
from indexer.progress.channel_progress import ChannelProgress
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ScrubPass, write_sync_state
from ledger.position import Height
from tests.eventually import eventually
from tests.explorer_api.support import sync_state
from tests.indexer.damages import CHAIN, EXPECTED, LAST, NUMBER, POSITION
from tests.indexer.support import CHANNEL, ScriptedSource, index

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FAST = ScrubRate(documents_per_s=1e9, pause_s=1e-3)
HEIGHT = len(CHAIN)
DOCUMENTS = sum(len(EXPECTED[name]) for name in (BLOCKS, TRANSACTIONS, EVENTS))


@asynccontextmanager
async def scrubbing(scrub: Scrub) -> AsyncIterator[None]:
    """Run the scrub while the context lasts."""
    task = asyncio.create_task(scrub.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_changed_document_is_found_and_shown(store: LedgerStore) -> None:
    progress = await index(store, ScriptedSource(CHAIN))
    scrub = Scrub(store, progress, FAST, lambda: NOW)
    status(progress)
    async with scrubbing(scrub):
        await eventually(lambda: last_pass(progress) == ScrubPass(NOW, HEIGHT, 0))
        assert status(progress) == "ok"
        await store.database[EVENTS].update_one({"_id": POSITION}, {"$set": {"payload": 1}})
        await eventually(lambda: last_pass(progress) == ScrubPass(NOW, HEIGHT, 1))
        assert status(progress) == "degraded"
        await store.database[TRANSACTIONS].delete_one({"blockNumber": LAST})
        await eventually(lambda: (last_pass(progress) or ScrubPass(NOW, 0, 0)).differences > 1)


async def test_the_scrub_keeps_its_rate_and_goes_on_after_a_restart(store: LedgerStore) -> None:
    progress = await index(store, ScriptedSource(CHAIN))
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0 if sum(waits) < 1e6 else 3600)

    rate = ScrubRate(documents_per_s=10.0, pause_s=1e6)
    status(progress)
    async with scrubbing(Scrub(store, progress, rate, lambda: NOW, sleep=sleep)):
        await eventually(lambda: waits[-1:] == [1e6])
    assert sum(waits[:-1]) == pytest.approx(DOCUMENTS / 10)
    assert progress.scrub is not None
    interrupted = sync_state(
        CHANNEL,
        scrub=type(progress.scrub)(NUMBER, NOW - timedelta(hours=1), differences=0, last=None),
    )
    await write_sync_state(store.database, interrupted)
    waits.clear()
    again = ChannelProgress(CHANNEL, lambda: 0.0, lambda: NOW)
    again.resume(progress.start_block, Height(HEIGHT))
    status(again)
    async with scrubbing(Scrub(store, again, rate, lambda: NOW, sleep=sleep)):
        await eventually(lambda: waits[-1:] == [1e6])
    checked = sum(waits[:-1]) * 10
    assert 0 < checked < DOCUMENTS
    assert again.scrub is not None
    assert again.scrub.started_at == NOW - timedelta(hours=1)


def last_pass(progress: ChannelProgress) -> ScrubPass | None:
    return progress.scrub.last if progress.scrub is not None else None


def status(progress: ChannelProgress) -> str:
    """Return what `/health` says while the channel follows its peer."""
    progress.record_peer_height(Height(HEIGHT))
    progress.set_working_state()
    return HealthServer({CHANNEL: progress}, {}, CollectorRegistry()).health().status


async def test_a_cancelled_scrub_ends_at_whatever_moment_it_is_cancelled(
    store: LedgerStore,
) -> None:
    """PyMongo loses a cancellation that comes just when a wait ends, before Python 3.12."""
    progress = await index(store, ScriptedSource(CHAIN))
    status(progress)
    random = Random(1)
    for _ in range(150):
        scrub = Scrub(store, progress, ScrubRate(documents_per_s=1e9), lambda: NOW)
        task = asyncio.create_task(scrub.run())
        await asyncio.sleep(random.uniform(0, 0.02))
        task.cancel()
        done, _ = await asyncio.wait((task,), timeout=10)
        assert done
