"""Documents of another chain, left in the database, never become part of a committed block."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import pytest
from pymongo import AsyncMongoClient
from structlog.testing import capture_logs

from ledger.documents.encoding import EncodedBlock
from ledger.errors import LedgerError, StoreConflictError, SurplusDocumentsError
from ledger.model import VALID
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.store import LedgerStore, Primaries
from ledger.position import pack_position
from protos.common_pb2 import TRANSACTIONS_FILTER, Block
from tests.indexer.crashing import CrashError, CrashingStore
from tests.indexer.network import BRANCH, FORK, TRUNK
from tests.indexer.support import (
    Documents,
    ScriptedSource,
    assert_equal_documents,
    below,
    delete_all_documents,
    expected_documents,
    index,
    stored_documents,
)
from tests.indexer.surplus import with_surplus

MongoClient = AsyncMongoClient[dict[str, Any]]
T = TypeVar("T")

NUMBER = 12
"""The block to which a lying peer adds a transaction."""
LATER = next(
    data
    for data in BRANCH[20:]
    if Block.FromString(data).metadata.metadata[TRANSACTIONS_FILTER][-1] == VALID
)
LIE = with_surplus(TRUNK[NUMBER], LATER)
COUNT = len(Block.FromString(TRUNK[NUMBER]).data.data)
"""The number of transactions that the block has on the chain."""
SURPLUS = pack_position(NUMBER, COUNT)


class DyingStore(LedgerStore):
    """A store whose process dies before a block document."""

    async def insert_blocks(self, blocks: Sequence[EncodedBlock]) -> None:
        if blocks[-1].number >= NUMBER:
            raise CrashError
        await super().insert_blocks(blocks)


async def leave_surplus(store: LedgerStore) -> None:
    """Index up to the block before, then the lying peer's block, and die before it is committed."""
    await index(store, ScriptedSource(TRUNK[:NUMBER]))
    with pytest.raises(CrashError):
        await index(
            DyingStore(store.database.client, store.database.name),
            ScriptedSource((*TRUNK[:NUMBER], LIE)),
        )
    assert await store.database[TRANSACTIONS].find_one({"_id": SURPLUS}) is not None


async def test_a_transaction_too_many_of_a_lying_peer_stops_the_channel(store: LedgerStore) -> None:
    """The daemon dies before the block document, and then follows an honest peer."""
    await leave_surplus(store)
    with pytest.raises(SurplusDocumentsError) as caught, capture_logs() as logs:
        await index(store, ScriptedSource(TRUNK))
    error, message = caught.value, str(caught.value)
    assert (error.block, error.collection, error.positions) == (NUMBER, TRANSACTIONS, (SURPLUS,))
    for part in (f"block {NUMBER}", TRANSACTIONS, f"index {COUNT}", "lying peer", "repair"):
        assert part in message
    stored = await stored_documents(store.database)
    assert max(stored[BLOCKS]) == NUMBER - 1, "nothing above was committed"
    (logged,) = [line for line in logs if line["event"] == "uncommitted_documents"]
    assert (logged["transactions"], logged["highest_block"]) == (COUNT + 1, NUMBER)


async def test_an_event_too_many_stops_the_channel(store: LedgerStore) -> None:
    await index(store, ScriptedSource(TRUNK[:NUMBER]))
    event = {"_id": pack_position(NUMBER, COUNT), "txId": "forged", "blockNumber": NUMBER}
    await store.database[EVENTS].insert_one(event)
    with pytest.raises(SurplusDocumentsError, match=EVENTS):
        await index(store, ScriptedSource(TRUNK))
    assert await store.database[BLOCKS].count_documents({}) == NUMBER


async def test_a_surplus_in_a_committed_block_is_found_at_the_start(store: LedgerStore) -> None:
    """Another program, killed since, wrote it after the documents of the block were counted."""
    await index(store, ScriptedSource(TRUNK))
    for name in (TRANSACTIONS, EVENTS):
        document = {"_id": SURPLUS, "txId": "forged", "blockNumber": NUMBER}
        await store.database[name].insert_one(document)
        with pytest.raises(SurplusDocumentsError, match=f"block {NUMBER}: {name}"):
            await index(store, ScriptedSource(TRUNK))
        await store.database[name].delete_one({"_id": SURPLUS})
    await index(store, ScriptedSource(TRUNK))


async def test_documents_of_an_interrupted_run_are_continued(store: LedgerStore) -> None:
    """They belong to the same chain: the next run compares them, and continues."""
    await index(store, ScriptedSource(TRUNK[:NUMBER]))
    with pytest.raises(CrashError):
        await index(DyingStore(store.database.client, store.database.name), ScriptedSource(TRUNK))
    with capture_logs() as logs:
        await index(store, ScriptedSource(TRUNK))
    assert "uncommitted_documents" in [line["event"] for line in logs]
    assert_equal_documents(await stored_documents(store.database), expected_documents(TRUNK))


class SlowStore(LedgerStore):
    """A store each of whose steps waits for a random number of turns of the event loop."""

    draws: random.Random

    async def _slowly(
        self, step: Callable[[Sequence[EncodedBlock]], Awaitable[T]], blocks: Any
    ) -> T:
        await asyncio.sleep(self.draws.choice((0, 0, 0.002, 0.01)))
        return await step(blocks)

    async def check_committed(self, blocks: Sequence[EncodedBlock]) -> None:
        await self._slowly(super().check_committed, blocks)

    async def insert_transactions(
        self, blocks: Sequence[EncodedBlock], *, wait: bool = True
    ) -> Primaries:
        insert = super().insert_transactions
        return await self._slowly(lambda each: insert(each, wait=wait), blocks)

    async def insert_events(self, blocks: Sequence[EncodedBlock]) -> Primaries:
        return await self._slowly(super().insert_events, blocks)

    async def check_surplus(self, blocks: Sequence[EncodedBlock]) -> None:
        await self._slowly(super().check_surplus, blocks)

    async def insert_blocks(self, blocks: Sequence[EncodedBlock]) -> None:
        await self._slowly(super().insert_blocks, blocks)


async def index_both(store: LedgerStore, seed: int) -> list[LedgerError]:
    """Index trunk and fork into one database at once; return the errors."""
    stores = [SlowStore(store.database.client, store.database.name) for _ in range(2)]
    for number, each in enumerate(stores):
        each.draws = random.Random(seed * 2 + number)
    outcomes = await asyncio.gather(
        *(
            index(each, ScriptedSource(chain))
            for each, chain in zip(stores, (TRUNK, BRANCH), strict=True)
        ),
        return_exceptions=True,
    )
    errors = [outcome for outcome in outcomes if isinstance(outcome, LedgerError)]
    assert len(errors) == sum(isinstance(each, BaseException) for each in outcomes), outcomes
    return errors


def foreign(stored: Documents) -> set[tuple[str, int]]:
    """Return the visible documents that the chain of the committed blocks does not have."""
    height = len(stored[BLOCKS])
    chains = [expected_documents(chain) for chain in (TRUNK, BRANCH)]
    last = stored[BLOCKS][height - 1] if height else b""
    expected = next((c for c in chains if c[BLOCKS].get(height - 1) == last), chains[0])
    return {
        (name, key)
        for name in (BLOCKS, TRANSACTIONS, EVENTS)
        for key, document in below(height, name, stored[name]).items()
        if expected[name].get(key) != document
    }


@pytest.mark.parametrize(
    "moment",
    ["midway", *(pytest.param(each, marks=pytest.mark.long) for each in ("before", "after"))],
)
async def test_an_importer_of_a_fork_killed_at_any_call_leaves_no_visible_document(
    mongo: MongoClient, database_name: str, moment: str
) -> None:
    """Afterwards the trunk is stored completely, or its channel stops; then a repair cures it."""
    store = CrashingStore(mongo, database_name)
    await store.prepare()
    stopped, call, crashed = 0, 1, True
    while crashed:
        await delete_all_documents(store)
        await index(store.plan_crash(0, ""), ScriptedSource(TRUNK[:FORK]))
        try:
            await index(store.plan_crash(call, moment), ScriptedSource(BRANCH[: FORK + 6]))
            crashed = False
        except CrashError:
            await store.wait_for_sent()
        try:
            await index(store.plan_crash(0, ""), ScriptedSource(TRUNK))
        except LedgerError:
            stopped += 1
        assert not foreign(await stored_documents(store.database)), (call, moment)
        call += 1
    assert call > 3
    assert stopped > 1


@pytest.mark.parametrize("seed", range(10))
async def test_two_importers_of_trunk_and_fork_show_no_foreign_document(
    store: LedgerStore, seed: int
) -> None:
    """Their blocks begin with different transactions: one of them stops before it writes others."""
    trunk, branch = (expected_documents(chain)[TRANSACTIONS] for chain in (TRUNK, BRANCH))
    first = [pack_position(number, 0) for number in range(FORK, len(TRUNK))]
    assert all(trunk[position] != branch[position] for position in first)
    errors = await index_both(store, seed)
    assert errors, "two chains cannot both be stored"
    assert not foreign(await stored_documents(store.database))


async def test_a_run_that_left_documents_in_committed_blocks_names_them(store: LedgerStore) -> None:
    """A lying peer's block that begins as the right one is written after that was committed."""

    class LateStore(LedgerStore):
        async def check_committed(self, blocks: Sequence[EncodedBlock]) -> None:
            await super().check_committed(blocks)
            await index(store, ScriptedSource(TRUNK[: NUMBER + 1]))

    await index(store, ScriptedSource(TRUNK[:NUMBER]))
    late = LateStore(store.database.client, store.database.name)
    with pytest.raises(StoreConflictError, match="readers see them") as caught:
        await index(late, ScriptedSource((*TRUNK[:NUMBER], LIE)))
    assert f"block {NUMBER}: {TRANSACTIONS} {SURPLUS}" in str(caught.value)
