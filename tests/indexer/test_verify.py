"""Verification finds every deletion and change in the store, and a restart fills gaps."""

import json
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from indexer.audit.consistency import DifferenceKind
from indexer.audit.verification import Difference, Verifier
from indexer.sources.block_source import DeliveredBlock, delivered_block
from ledger.mongodb.collections import BLOCKS, EVENTS, SYNC_STATE, TRANSACTIONS
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import (
    ChannelState,
    DifferenceCounts,
    SyncState,
    Verification,
    read_sync_state,
    write_sync_state,
)
from tests.block_files import write_block_files
from tests.indexer.damages import (
    BLOCK,
    CHAIN,
    COUNT,
    DAMAGES,
    EXPECTED,
    LAST,
    NUMBER,
    POSITION,
    restore,
)
from tests.indexer.processes import result
from tests.indexer.support import (
    CHANNEL,
    ScriptedSource,
    assert_equal_documents,
    index,
    stored_documents,
)


@pytest.fixture
async def indexed(store: LedgerStore) -> LedgerStore:
    """The store with the whole chain."""
    await index(store, ScriptedSource(CHAIN))
    return store


async def delivered() -> AsyncGenerator[DeliveredBlock, None]:
    for block in CHAIN:
        yield delivered_block(block, "chain")


async def differences(store: LedgerStore) -> tuple[list[Difference], list[Difference]]:
    """Return the differences in the store alone, and those from the chain."""
    itself: list[Difference] = []
    height = await Verifier(store, itself.append, lambda _: None).check_consistency()
    chain: list[Difference] = []
    verifier = Verifier(store, chain.append, lambda _: None)
    async with aclosing(delivered()) as blocks:
        await verifier.compare(blocks, 0, height)
    assert verifier.difference_count == len(chain)
    return itself, chain


async def test_an_untouched_store_has_no_difference(indexed: LedgerStore) -> None:
    assert await differences(indexed) == ([], [])


async def test_every_damage_is_found(indexed: LedgerStore) -> None:
    """Each damage is done to the complete store, and undone before the next."""
    for name, (damage, in_itself, against_chain) in DAMAGES.items():
        await damage(indexed.database)
        itself, chain = await differences(indexed)
        assert any(in_itself in difference.what for difference in itself), (name, itself)
        assert any(against_chain in difference.what for difference in chain), (name, chain)
        assert {difference.block for difference in chain} <= {NUMBER, LAST + 1, LAST + 2}, (
            name,
            chain,
        )
        await restore(indexed.database)
    assert await differences(indexed) == ([], [])


async def test_documents_of_uncommitted_blocks_are_no_difference(indexed: LedgerStore) -> None:
    """Transactions and events above the highest block are being written; no reader sees them."""
    await indexed.database[BLOCKS].delete_one({"_id": LAST})
    assert await differences(indexed) == ([], [])


async def test_documents_below_the_start_block_are_a_difference(indexed: LedgerStore) -> None:
    await indexed.database[BLOCKS].delete_one({"_id": 0})
    itself, _ = await differences(indexed)
    assert itself == [
        Difference(
            0, DifferenceKind.COUNTS, "transactions_ledger: 1 documents below the start block 1"
        ),
        Difference(
            1,
            DifferenceKind.DIGESTS,
            "blocks: the block's document or its digest was changed: they are not as they were "
            "written. `verify --source` names the changed fields",
        ),
    ]


KINDS: dict[str, DifferenceCounts] = {
    "a block deleted": DifferenceCounts(1, 2, 0, 1),
    "its transactions deleted too": DifferenceCounts(1, 1, BLOCK["eventCount"], COUNT + 1),
    "a transaction deleted": DifferenceCounts(0, 2, 1, 1, 1),
    "an event deleted": DifferenceCounts(0, 1, 0, 1, 1),
    "a transaction and its event deleted": DifferenceCounts(0, 3, 0, 2, 2),
    "an event too many": DifferenceCounts(0, 1, 1, 1, 1),
    "an event's payload": DifferenceCounts(0, 0, 0, 1, 1),
    "a block's hash": DifferenceCounts(2, 0, 0, 1, 1),
    "a block's codes": DifferenceCounts(0, COUNT, 0, 1, 1),
}


@pytest.mark.parametrize("name", KINDS)
async def test_differences_are_counted_by_kind(indexed: LedgerStore, name: str) -> None:
    """An event without a transaction is counted, whether its block is stored or not."""
    damage, _, _ = DAMAGES[name]
    await damage(indexed.database)
    reported: list[Difference] = []
    verifier = Verifier(indexed, reported.append, lambda _: None)
    height = await verifier.check_consistency()
    assert verifier.counts_by_kind == replace(KINDS[name], documents=None)
    async with aclosing(delivered()) as blocks:
        await verifier.compare(blocks, 0, height)
    assert verifier.counts_by_kind == KINDS[name], reported
    counts = [count or 0 for count in msgspec.structs.astuple(KINDS[name])]
    assert len(reported) == verifier.difference_count == sum(counts)


@pytest.mark.parametrize("seed", range(6))
async def test_a_restart_indexes_again_from_the_lowest_gap(indexed: LedgerStore, seed: int) -> None:
    """Block documents are deleted at random, and some transactions and events above the gap."""
    draws = random.Random(seed)
    deleted = draws.sample(range(1, len(CHAIN)), draws.randrange(1, 8))
    above = {"blockNumber": {"$gte": min(deleted)}}
    await indexed.database[BLOCKS].delete_many({"_id": {"$in": deleted}})
    for name in (TRANSACTIONS, EVENTS):
        keys = [
            document["_id"] async for document in indexed.database[name].find(above, {"_id": 1})
        ]
        await indexed.database[name].delete_many(
            {"_id": {"$in": draws.sample(keys, len(keys) // 3)}}
        )
    progress = await index(indexed, ScriptedSource(CHAIN))
    assert progress.blocks == len(CHAIN) - min(deleted), (
        "all blocks above the gap are indexed again"
    )
    assert_equal_documents(await stored_documents(indexed.database), EXPECTED)


async def test_the_verification_of_an_older_version_can_be_read(store: LedgerStore) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    await write_sync_state(
        store.database,
        SyncState(CHANNEL, ChannelState.FOLLOWING, None, 0, 9, 9, 9, 0.0, None, now, now, "1.2.3"),
    )
    await store.database[SYNC_STATE].update_one(
        {"_id": CHANNEL}, {"$set": {"verification": {"at": now, "height": 7, "differences": 2}}}
    )
    state = await read_sync_state(store.database)
    assert state is not None
    assert state.verification == Verification(now, 7, 2)


async def test_the_command_reports_the_difference_and_its_exit_code(
    mongo_uri: str, indexed: LedgerStore, tmp_path: Path
) -> None:
    folder = write_block_files(tmp_path / "blocks", CHAIN)
    environment = {
        "KINDLEDGER_MONGO__URI": mongo_uri,
        "KINDLEDGER_CHANNELS": json.dumps({CHANNEL: {"database": indexed.database.name}}),
    }
    source = ("--no-signatures", "--source", folder)
    clean = await result("verify", *source, **environment)
    assert (clean.code, clean.stdout) == (0, "")
    assert f"{CHANNEL}: {len(CHAIN)} blocks verified, also against {folder}" in clean.stderr
    assert "no difference" in clean.stderr
    missing = await result("verify", "--source", tmp_path / "none", **environment)
    assert (missing.code, "no such file or folder" in missing.stderr) == (2, True)
    await indexed.database[EVENTS].update_one(
        {"_id": POSITION}, {"$set": {"payload": {"amount": 1}}}
    )
    compared = await result("verify", *source, "--json", **environment)
    assert compared.code == 65
    (report,) = json.loads(compared.stdout)["channels"]
    assert (report["channel"], report["height"], report["differences"]) == (CHANNEL, len(CHAIN), 2)
    kinds = {
        "chain": 0,
        "counts": 0,
        "eventsWithoutTransaction": 0,
        "documents": 1,
        "digests": 1,
        "signatures": None,
        "rawBlocks": 0,
    }
    assert report["kinds"] == kinds
    assert {shown["kind"] for shown in report["shown"]} == {"documents", "digests"}
    assert report["shown"][0]["block"] == NUMBER
    recorded = await indexed.database[SYNC_STATE].find_one({"_id": CHANNEL})
    assert recorded is not None
    assert recorded["verification"]["kinds"] == kinds
    named = f"chaincode_events: {POSITION}: payload: chain"
    assert any(named in shown["what"] for shown in report["shown"])
