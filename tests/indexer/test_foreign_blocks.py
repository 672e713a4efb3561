"""Documents in `blocks` whose `_id` is no block number: everyone ignores them, `verify` names them,
and `repair` removes them.
"""

import pytest

from indexer.audit.consistency import DifferenceKind
from indexer.audit.repair import Cause
from indexer.audit.verification import Difference, Verifier
from ledger.mongodb.block_identities import stored_identities
from ledger.mongodb.block_range import stored_height
from ledger.mongodb.collections import BLOCKS
from ledger.mongodb.leftovers import check_committed_surplus
from ledger.mongodb.outcome_queries import OutcomeQueries
from ledger.mongodb.store import LedgerStore
from ledger.position import BlockNumber, Height
from tests.indexer.damages import CHAIN, EXPECTED, LAST
from tests.indexer.foreign_blocks import FOREIGN, store_foreign_blocks
from tests.indexer.repairing import cut_off, repair
from tests.indexer.support import (
    EndingSource,
    ScriptedSource,
    assert_equal_documents,
    index,
    stored_documents,
)

HALF = len(CHAIN) // 2
NUMBERS = list(range(HALF))


@pytest.fixture
async def spoilt(store: LedgerStore) -> LedgerStore:
    """A store with the lower half of the chain, and foreign documents among its blocks."""
    await index(store, ScriptedSource(CHAIN[:HALF]))
    await store_foreign_blocks(store.database)
    return store


async def consistency(store: LedgerStore) -> tuple[int, list[Difference]]:
    found: list[Difference] = []
    return await Verifier(store, found.append, lambda _: None).check_consistency(), found


async def test_the_daemon_and_the_reconciliation_ignore_them(spoilt: LedgerStore) -> None:
    """The next run continues with the next block."""
    database, first, height = spoilt.database, BlockNumber(0), Height(HALF)
    await check_committed_surplus(database, 0, HALF)
    identities = await stored_identities(database, first, height, 1_000)
    assert [identity.number for identity in identities] == NUMBERS
    blocks = await OutcomeQueries(database).blocks(first, height, 1_000)
    assert [block["_id"] for block in blocks] == NUMBERS
    progress = await index(spoilt, ScriptedSource(CHAIN))
    assert progress.blocks == len(CHAIN) - HALF
    assert await stored_height(database) == len(CHAIN)


async def test_a_gap_beside_them_is_found(spoilt: LedgerStore) -> None:
    """As many documents as numbers in the range do not mean that every block is stored."""
    await spoilt.database[BLOCKS].delete_one({"_id": HALF - 2})
    checkpoint = await spoilt.checkpoint()
    assert checkpoint is not None
    assert (checkpoint.start, checkpoint.head.number) == (0, HALF - 3)


async def test_verify_names_exactly_them_and_repair_removes_them(spoilt: LedgerStore) -> None:
    await index(spoilt, ScriptedSource(CHAIN))
    height, found = await consistency(spoilt)
    assert height == len(CHAIN)
    assert {each.kind for each in found} == {DifferenceKind.COUNTS}
    assert sorted(each.what for each in found) == sorted(
        f"blocks: {key!r} is stored, but is no document of a block" for key in FOREIGN
    )
    findings, remaining = await repair(spoilt, None)
    assert (len(findings), remaining) == (len(FOREIGN), 0)
    assert {each.cause for each in findings} == {Cause.MISPLACED}
    assert_equal_documents(await stored_documents(spoilt.database), EXPECTED)
    assert await consistency(spoilt) == (len(CHAIN), [])


async def test_they_are_found_without_any_block(spoilt: LedgerStore) -> None:
    await spoilt.database[BLOCKS].delete_many({"_id": {"$in": NUMBERS}})
    assert await spoilt.checkpoint() is None
    height, found = await consistency(spoilt)
    assert (height, len(found)) == (0, len(FOREIGN))


async def test_a_number_that_is_stored_as_a_fraction_is_replaced(spoilt: LedgerStore) -> None:
    """MongoDB holds 3.0 for the same key as 3, so the block itself is missing."""
    blocks = spoilt.database[BLOCKS]
    document = await blocks.find_one_and_delete({"_id": 3})
    assert document is not None
    await blocks.insert_one(document | {"_id": 3.0})
    _, found = await consistency(spoilt)
    assert "blocks: 3.0 is stored, but is no document of a block" in {each.what for each in found}
    assert (await repair(spoilt, EndingSource(CHAIN)))[1] == 0
    await index(spoilt, ScriptedSource(CHAIN))
    assert_equal_documents(await stored_documents(spoilt.database), EXPECTED)


async def test_a_truncation_does_not_count_them(spoilt: LedgerStore) -> None:
    await index(spoilt, ScriptedSource(CHAIN))
    await cut_off(spoilt, HALF)
    assert await stored_height(spoilt.database) == HALF + 1 <= LAST
