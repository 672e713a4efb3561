"""The promise: whatever is repeated, reordered or killed, the documents end as one clean pass leaves them.

I1 contiguous, I4 idempotent, I5 convergent, I6 nothing torn visible, I8 the checkpoint never leads, I21 no difference.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo import AsyncMongoClient

from ledger.documents.encoding import EncodedBlock
from ledger.errors import ChainMismatchError, StoreConflictError
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.store import LedgerStore
from tests.indexer.support import (
    CrashError,
    CrashingStore,
    Dump,
    ScriptedSource,
    assert_equal_documents,
    assert_whole_prefix,
    expected_documents,
    hostile_chain,
    index,
    stored_documents,
)

CHAIN = hostile_chain()
EXPECTED = expected_documents(CHAIN)
MOMENTS = ("before", "midway", "after")

Client = AsyncMongoClient[dict[str, Any]]


async def empty(store: LedgerStore) -> None:
    """Removes every document and keeps the indexes."""
    for name in (BLOCKS, TRANSACTIONS, EVENTS):
        await store.database[name].delete_many({})


async def run_until_crash(
    store: CrashingStore, source: ScriptedSource, at: int, moment: str
) -> bool:
    """True if the run died at its k-th call, False if it ended before."""
    try:
        await index(store.crash(at, moment), source)
    except CrashError:
        await store.quiet()
        return True
    except ChainMismatchError as error:
        if error.field != "number":  # else the script skipped a block once too often
            raise
    return False


async def check_after_crash(store: LedgerStore) -> Dump:
    stored = await stored_documents(store.database)
    assert_whole_prefix(stored, EXPECTED)
    checkpoint = await store.checkpoint()
    assert (checkpoint.head.number + 1 if checkpoint else 0) == len(stored[BLOCKS])
    return stored


def test_the_chain_is_hostile_enough() -> None:
    """Ids that are owned by others or empty, and unparsable envelopes: without them these tests prove little."""
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
async def test_crash_at_every_store_call(mongo: Client, database_name: str, moment: str) -> None:
    """F1: for each k the process dies at its k-th call to the store; a new one on the same store completes."""
    store = CrashingStore(mongo, database_name)
    await store.prepare()
    k = 1
    while await run_until_crash(store, ScriptedSource(CHAIN), k, moment):
        await check_after_crash(store)
        assert not await run_until_crash(store, ScriptedSource(CHAIN), 0, moment)
        assert_equal_documents(await stored_documents(store.database), EXPECTED)
        await empty(store)
        k += 1
    assert k > 20, "the import made too few calls for this test to mean anything"


_deliveries = st.lists(st.integers(0, len(CHAIN) - 1), max_size=12)
_runs = st.lists(
    st.tuples(st.lists(_deliveries, max_size=4), st.integers(1, 40), st.sampled_from(MOMENTS)),
    min_size=1,
    max_size=4,
)


async def converges(store: CrashingStore, runs: Sequence[tuple[list[list[int]], int, str]]) -> None:
    """Runs, crashes and restarts as told, then one clean run: the documents must be those of one clean pass."""
    await empty(store)
    seen = 0
    for script, at, moment in runs:
        await run_until_crash(store, ScriptedSource(CHAIN, script), at, moment)
        stored = await check_after_crash(store)
        assert len(stored[BLOCKS]) >= seen, "the height fell"
        seen = len(stored[BLOCKS])
    assert not await run_until_crash(store, ScriptedSource(CHAIN), 0, "before")
    assert_equal_documents(await stored_documents(store.database), EXPECTED)


@settings(max_examples=60)
@given(runs=_runs)
async def test_any_order_repetition_and_crash(
    mongo: Client, database_name: str, runs: list[tuple[list[list[int]], int, str]]
) -> None:
    store = CrashingStore(mongo, database_name)
    await store.prepare()
    await converges(store, runs)


async def test_two_daemons_on_one_channel(mongo: Client, database_name: str) -> None:
    """F23, without fencing: each finds the other's documents, compares them and goes on."""
    stores = [LedgerStore(mongo, database_name) for _ in range(2)]
    await stores[0].prepare()
    await asyncio.gather(*(index(store, ScriptedSource(CHAIN)) for store in stores))
    assert_equal_documents(await stored_documents(stores[0].database), EXPECTED)


async def test_a_stored_document_that_differs_stops_the_channel(
    mongo: Client, database_name: str
) -> None:
    """Left behind by a crash, then changed by someone: it is neither overwritten nor accepted."""
    store = CrashingStore(mongo, database_name)
    await store.prepare()
    assert await run_until_crash(store, ScriptedSource(CHAIN), 1, "after")
    await store.database[TRANSACTIONS].update_one({}, {"$set": {"status": "VALID?"}})
    with pytest.raises(StoreConflictError, match="status"):
        await index(store, ScriptedSource(CHAIN))
    assert await store.database[TRANSACTIONS].count_documents({"status": "VALID?"}) == 1


class BlocksFirst(CrashingStore):
    """Breaks the write order: the commit marker goes before what it stands for."""

    async def insert_transactions(self, blocks: Sequence[EncodedBlock]) -> None:
        await super().insert_blocks(blocks)
        await super().insert_transactions(blocks)

    async def insert_blocks(self, blocks: Sequence[EncodedBlock]) -> None:
        pass


class EventsFirst(CrashingStore):
    """Breaks the write order: events go before their transactions."""

    async def insert_transactions(self, blocks: Sequence[EncodedBlock]) -> None:
        await super().insert_events(blocks)
        await super().insert_transactions(blocks)

    async def insert_events(self, blocks: Sequence[EncodedBlock]) -> None:
        pass


class Forgetful(CrashingStore):
    """Breaks the ownership rule: no lower block ever owns an id."""

    async def owned_ids(self, tx_ids: Iterable[str], below: int) -> set[str]:
        return set()


class Trusting(CrashingStore):
    """Breaks the comparison: whatever is there is taken for what belongs there."""

    async def _compare(self, name: str, documents: Sequence[RawBSONDocument]) -> None:
        pass


@pytest.mark.parametrize("broken", [BlocksFirst, EventsFirst, Forgetful])
async def test_these_tests_notice_a_broken_rule(
    mongo: Client, database_name: str, broken: type[CrashingStore]
) -> None:
    """The write order or the ownership rule is broken on purpose: the checks above must fail."""
    store = broken(mongo, database_name)
    await store.prepare()
    with pytest.raises((AssertionError, StoreConflictError)):
        await crash_everywhere(store)


async def crash_everywhere(store: CrashingStore) -> None:
    """A crash at each of the first calls."""
    for k in range(1, 30):
        for moment in MOMENTS:
            await converges(store, [([], k, moment)])


async def test_these_tests_notice_a_missing_comparison(mongo: Client, database_name: str) -> None:
    """A changed document is taken for the right one: the check above must fail."""
    store = Trusting(mongo, database_name)
    await store.prepare()
    assert await run_until_crash(store, ScriptedSource(CHAIN), 1, "after")
    await store.database[TRANSACTIONS].update_one({}, {"$set": {"status": "VALID?"}})
    await index(store, ScriptedSource(CHAIN))
    stored = await stored_documents(store.database)
    with pytest.raises(AssertionError):
        assert_equal_documents(stored, EXPECTED)
