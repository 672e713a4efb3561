"""Crashes, repetitions and reordering do not change the documents: they end as after one clean run.

The invariants of docs/guarantees.md are I1 (contiguous blocks), I4 (idempotent), I5 (convergent),
I6 (no incomplete block is visible), I8 (the checkpoint is never ahead of the documents) and I21 (no
difference).
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import bson
import pytest
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo import AsyncMongoClient

from ledger.documents.encoding import EncodedBlock
from ledger.errors import ChainMismatchError, StoreConflictError
from ledger.mongodb.collections import BLOCKS, TRANSACTIONS
from ledger.mongodb.indexes import IndexOptions
from ledger.mongodb.store import LedgerStore, Primaries
from tests.indexer.crashing import CrashError, CrashingStore
from tests.indexer.support import (
    Documents,
    EndingSource,
    ScriptedSource,
    assert_equal_documents,
    assert_whole_prefix,
    delete_all_documents,
    delete_everything,
    expected_documents,
    hostile_chain,
    index,
    stored_documents,
    stored_indexes,
)

CHAIN = hostile_chain()
EXPECTED = expected_documents(CHAIN)
MOMENTS = ("before", "midway", "after")

MongoClient = AsyncMongoClient[dict[str, Any]]


async def run_until_crash(
    store: CrashingStore, source: ScriptedSource, at: int, moment: str
) -> bool:
    """Return whether the run crashed at call number `at`; False if it ended before."""
    try:
        await index(store.plan_crash(at, moment), source)
    except CrashError:
        await store.wait_for_sent()
        return True
    except ChainMismatchError as error:
        if error.field != "number":  # the script may skip a block too often
            raise
    return False


async def check_after_crash(store: LedgerStore) -> Documents:
    """Check the stored documents and the checkpoint; return the documents."""
    stored = await stored_documents(store.database)
    assert_whole_prefix(stored, EXPECTED)
    checkpoint = await store.checkpoint()
    assert (checkpoint.head.number + 1 if checkpoint else 0) == len(stored[BLOCKS])
    return stored


def test_the_chain_is_hostile_enough() -> None:
    """It has unparsable envelopes, and ids that are empty or belong to other transactions."""
    documents = [bson.decode(raw) for raw in EXPECTED[TRANSACTIONS].values()]
    claims = [document for document in documents if "claimedTxId" in document]
    assert sum("errors" in document for document in documents) > 5
    assert sum(document["claimedTxId"] == "" for document in claims) > 3
    assert sum(document["claimedTxId"] != "" for document in claims) > 3


@pytest.mark.parametrize(
    "moment",
    [
        moment if moment == "before" else pytest.param(moment, marks=pytest.mark.long)
        for moment in MOMENTS
    ],
)
@pytest.mark.parametrize("indexes", ["at once", "deferred"])
async def test_a_crash_at_any_call_of_the_store_is_repaired_by_the_next_run(
    mongo: MongoClient, database_name: str, moment: str, indexes: str
) -> None:
    """The process crashes at each of its calls in turn; a new process completes the ledger.

    The calls that build the indexes are among them if these are deferred.
    """
    store = CrashingStore(mongo, database_name)
    await store.prepare()
    complete_indexes = await stored_indexes(store.database)
    source, clear = ScriptedSource, delete_all_documents
    if indexes == "deferred":
        source, clear = EndingSource, delete_everything
    await clear(store)
    call = 1
    while await run_until_crash(store, source(CHAIN), call, moment):
        await check_after_crash(store)
        assert not await run_until_crash(store, source(CHAIN), 0, moment)
        assert_equal_documents(await stored_documents(store.database), EXPECTED)
        assert await stored_indexes(store.database) == complete_indexes
        await clear(store)
        call += 1
    assert call > 20, "the run made too few calls for this test to be useful"


_deliveries = st.lists(st.integers(0, len(CHAIN) - 1), max_size=12)
_runs = st.lists(
    st.tuples(st.lists(_deliveries, max_size=4), st.integers(1, 40), st.sampled_from(MOMENTS)),
    min_size=1,
    max_size=4,
)


async def check_convergence(
    store: CrashingStore,
    runs: Sequence[tuple[list[list[int]], int, str]],
    *,
    deferred: bool = False,
) -> None:
    """Crash and restart as `runs` says, then run without faults: the documents must be complete."""
    await (delete_everything if deferred else delete_all_documents)(store)
    height = 0
    for script, at, moment in runs:
        source = ScriptedSource(CHAIN, script, reports_height=deferred)
        await run_until_crash(store, source, at, moment)
        stored = await check_after_crash(store)
        assert len(stored[BLOCKS]) >= height, "the height fell"
        height = len(stored[BLOCKS])
    assert not await run_until_crash(store, ScriptedSource(CHAIN), 0, "before")
    assert_equal_documents(await stored_documents(store.database), EXPECTED)


@settings(max_examples=60)
@given(runs=_runs)
async def test_any_order_repetitions_and_crashes_end_in_the_same_documents(
    mongo: MongoClient, database_name: str, runs: list[tuple[list[list[int]], int, str]]
) -> None:
    store = CrashingStore(mongo, database_name)
    await store.prepare()
    await check_convergence(store, runs)


@settings(max_examples=15)
@given(runs=_runs)
async def test_the_documents_are_the_same_if_indexes_are_built_in_the_middle(
    mongo: MongoClient, database_name: str, runs: list[tuple[list[list[int]], int, str]]
) -> None:
    """Near the head the indexes are built beside the indexing; a crash may interrupt both."""
    store = CrashingStore(mongo, database_name)
    await check_convergence(store, runs, deferred=True)
    assert not await run_until_crash(store, EndingSource(CHAIN), 0, "before")
    assert await store.missing_indexes(IndexOptions()) == {}


@pytest.mark.parametrize("source", [ScriptedSource, EndingSource])
async def test_two_daemons_on_one_channel_store_the_same_documents(
    mongo: MongoClient, database_name: str, source: type[ScriptedSource]
) -> None:
    """Each compares the other's documents with its own and continues.

    Both defer the indexes while they read files, and build them at the end.
    """
    stores = [LedgerStore(mongo, database_name) for _ in range(2)]
    await asyncio.gather(*(index(store, source(CHAIN)) for store in stores))
    assert_equal_documents(await stored_documents(stores[0].database), EXPECTED)
    assert await stores[0].missing_indexes(IndexOptions()) == {}


async def test_a_stored_document_that_differs_stops_the_channel(
    mongo: MongoClient, database_name: str
) -> None:
    """A document that was changed after a crash is neither overwritten nor accepted."""
    store = CrashingStore(mongo, database_name)
    await store.prepare()
    assert await run_until_crash(store, ScriptedSource(CHAIN), 1, "after")
    await store.database[TRANSACTIONS].update_one({}, {"$set": {"status": "VALID?"}})
    with pytest.raises(StoreConflictError, match="status"):
        await index(store, ScriptedSource(CHAIN))
    assert await store.database[TRANSACTIONS].count_documents({"status": "VALID?"}) == 1


class BlocksFirst(CrashingStore):
    """Breaks the write order: writes block documents, which mark a commit, first."""

    async def insert_transactions(
        self, blocks: Sequence[EncodedBlock], *, wait: bool = True
    ) -> Primaries:
        await super().insert_blocks(blocks)
        return await super().insert_transactions(blocks, wait=wait)

    async def insert_blocks(self, blocks: Sequence[EncodedBlock]) -> None:
        pass


class EventsFirst(CrashingStore):
    """Breaks the write order: writes events before their transactions."""

    async def insert_transactions(
        self, blocks: Sequence[EncodedBlock], *, wait: bool = True
    ) -> Primaries:
        await super().insert_events(blocks)
        return await super().insert_transactions(blocks, wait=wait)

    async def insert_events(self, blocks: Sequence[EncodedBlock]) -> Primaries:
        return set()


class NoLookup(CrashingStore):
    """Breaks the ownership rule: finds no lower block that owns an id."""

    async def owned_ids(self, tx_ids: Iterable[str], below: int) -> set[str]:
        return set()

    async def owned_ids_at(self, positions: Sequence[Int64]) -> set[str]:
        return set()


class NoComparison(CrashingStore):
    """Breaks the comparison: accepts every stored document."""

    async def _compare(self, name: str, documents: Sequence[RawBSONDocument]) -> None:
        pass


@pytest.mark.parametrize(
    ("broken", "deferred"),
    [(BlocksFirst, False), (EventsFirst, False), (NoLookup, False), (NoLookup, True)],
)
async def test_the_checks_fail_for_a_store_that_breaks_a_rule(
    mongo: MongoClient, database_name: str, broken: type[CrashingStore], *, deferred: bool
) -> None:
    store = broken(mongo, database_name)
    await store.prepare()
    with pytest.raises((AssertionError, StoreConflictError)):
        await crash_at_early_calls(store, deferred=deferred)


async def crash_at_early_calls(store: CrashingStore, *, deferred: bool) -> None:
    """Crash at each of the first calls, at every moment."""
    for call in range(1, 30):
        for moment in MOMENTS:
            await check_convergence(store, [([], call, moment)], deferred=deferred)


async def test_the_checks_fail_for_a_store_without_comparison(
    mongo: MongoClient, database_name: str
) -> None:
    store = NoComparison(mongo, database_name)
    await store.prepare()
    assert await run_until_crash(store, ScriptedSource(CHAIN), 1, "after")
    await store.database[TRANSACTIONS].update_one({}, {"$set": {"status": "VALID?"}})
    await index(store, ScriptedSource(CHAIN))
    stored = await stored_documents(store.database)
    with pytest.raises(AssertionError):
        assert_equal_documents(stored, EXPECTED)
