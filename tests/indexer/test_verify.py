"""F17: whatever is deleted from the store or changed in it, verification finds it, and a restart refills a gap."""

import json
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
import msgspec
import pytest
from msgspec.structs import replace
from pymongo.asynchronous.database import AsyncDatabase

from indexer.block_source import DeliveredBlock, parse_delivered
from indexer.verification import Difference, DifferenceKind, Verifier
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
from ledger.position import pack_position
from tests.indexer.processes import block_files, result
from tests.indexer.support import (
    CHANNEL,
    ScriptedSource,
    assert_equal_documents,
    expected_documents,
    hostile_chain,
    index,
    stored_documents,
)

CHAIN = hostile_chain()
EXPECTED = expected_documents(CHAIN)
LAST = len(CHAIN) - 1

Database = AsyncDatabase[dict[str, Any]]
Damage = Callable[[Database], Awaitable[object]]

EVENT: dict[str, Any] = next(
    event
    for event in map(bson.decode, EXPECTED[EVENTS].values())
    if 12 < event["blockNumber"] < LAST
)
NUMBER: int = EVENT["blockNumber"]
"""The block to damage: it has an event, so it has a VALID transaction."""
PLACE = EVENT["_id"]
BLOCK: dict[str, Any] = bson.decode(EXPECTED[BLOCKS][NUMBER])
COUNT: int = BLOCK["transactionCount"]


def delete(name: str, key: int) -> Damage:
    return lambda database: database[name].delete_one({"_id": key})


def change(name: str, key: int, **fields: object) -> Damage:
    return lambda database: database[name].update_one({"_id": key}, {"$set": fields})


def copy(name: str, key: int, **fields: object) -> Damage:
    """Inserts another document like it."""
    document = bson.decode(EXPECTED[name][key]) | fields
    return lambda database: database[name].insert_one(document)


def both(*damages: Damage) -> Damage:
    async def all_of_them(database: Database) -> None:
        for damage in damages:
            await damage(database)

    return all_of_them


ZEROS = "00" * 32
NEW = pack_position(NUMBER, COUNT)
DAMAGES: dict[str, tuple[Damage, str | None, str]] = {
    "a block deleted": (
        delete(BLOCKS, NUMBER),
        f"blocks: missing up to block {NUMBER}",
        f"blocks: {NUMBER} is missing",
    ),
    "its transactions deleted too": (
        both(
            delete(BLOCKS, NUMBER),
            *(delete(TRANSACTIONS, pack_position(NUMBER, index)) for index in range(COUNT)),
        ),
        f"blocks: missing up to block {NUMBER}",
        f"blocks: {NUMBER} is missing",
    ),
    "a transaction deleted": (
        delete(TRANSACTIONS, PLACE),
        f"transactions_ledger: {COUNT - 1} documents, the block counts {COUNT}",
        f"transactions_ledger: {PLACE} is missing",
    ),
    "an event deleted": (
        delete(EVENTS, PLACE),
        f"chaincode_events: {BLOCK['eventCount'] - 1} documents, the block counts {BLOCK['eventCount']}",
        f"chaincode_events: {PLACE} is missing",
    ),
    "a transaction and its event deleted": (
        both(delete(TRANSACTIONS, PLACE), delete(EVENTS, PLACE)),
        f"transactions_ledger: no document at index {EVENT['txIndex']}",
        f"chaincode_events: {PLACE} is missing",
    ),
    "a transaction too many": (
        copy(TRANSACTIONS, PLACE, _id=NEW, txId="forged"),
        f"transactions_ledger: {COUNT + 1} documents, the block counts {COUNT}",
        f"transactions_ledger: {NEW} is stored, but not on the chain",
    ),
    "an event too many": (
        copy(EVENTS, PLACE, _id=NEW, txId="forged"),
        "chaincode_events: event of forged has no VALID transaction at its position",
        f"chaincode_events: {NEW} is stored, but not on the chain",
    ),
    "a block too many": (
        copy(BLOCKS, LAST, _id=LAST + 2, number=LAST + 2),
        f"blocks: missing up to block {LAST + 1}",
        f"the source ends here, {LAST + 3} blocks are stored",
    ),
    "a status": (
        change(TRANSACTIONS, PLACE, status="MVCC_READ_CONFLICT"),
        "has status MVCC_READ_CONFLICT, not code 0",
        f"transactions_ledger: {PLACE}: status: chain 'VALID', stored 'MVCC_READ_CONFLICT'",
    ),
    "a code": (
        change(TRANSACTIONS, PLACE, validationCode=11),
        "not code 0",
        f"transactions_ledger: {PLACE}: validationCode: chain 0, stored 11",
    ),
    "a transaction's id": (
        change(TRANSACTIONS, PLACE, txId="forged"),
        f"chaincode_events: event of {EVENT['txId']} has no VALID transaction at its position",
        f"transactions_ledger: {PLACE}: txId: chain '{EVENT['txId']}', stored 'forged'",
    ),
    "a transaction's block": (
        change(TRANSACTIONS, PLACE, blockNumber=NUMBER + 1),
        f"the block counts {COUNT}",
        f"transactions_ledger: {PLACE}: blockNumber: chain {NUMBER}, stored {NUMBER + 1}",
    ),
    "arguments": (
        change(TRANSACTIONS, PLACE, args=["1000000"]),
        None,
        f"transactions_ledger: {PLACE}: args: chain [",
    ),
    "a field added": (
        change(TRANSACTIONS, PLACE, note="checked"),
        None,
        f"transactions_ledger: {PLACE}: note: chain None, stored 'checked'",
    ),
    "an event's payload": (
        change(EVENTS, PLACE, payload={"amount": 1}),
        None,
        f"chaincode_events: {PLACE}: payload: chain ",
    ),
    "an event's id": (
        change(EVENTS, PLACE, txId="forged"),
        "chaincode_events: event of forged has no VALID transaction",
        f"chaincode_events: {PLACE}: txId: chain '{EVENT['txId']}', stored 'forged'",
    ),
    "a block's hash": (
        change(BLOCKS, NUMBER, blockHash=ZEROS),
        f"blocks: blockHash is {ZEROS}, its header gives {BLOCK['blockHash']}",
        f"blocks: {NUMBER}: blockHash: chain '{BLOCK['blockHash']}', stored '{ZEROS}'",
    ),
    "a block's previous hash": (
        change(BLOCKS, NUMBER, previousHash=ZEROS),
        f"blocks: previousHash is {ZEROS}, block {NUMBER - 1} has {BLOCK['previousHash']}",
        f"blocks: {NUMBER}: previousHash: chain ",
    ),
    "a block's data hash": (
        change(BLOCKS, NUMBER, dataHash=ZEROS),
        f"blocks: blockHash is {BLOCK['blockHash']}, its header gives ",
        f"blocks: {NUMBER}: dataHash: chain ",
    ),
    "a block's number": (
        change(BLOCKS, NUMBER, number=1_000),
        "blocks: number is 1000",
        f"blocks: {NUMBER}: number: chain {NUMBER}, stored 1000",
    ),
    "a block's count": (
        change(BLOCKS, NUMBER, transactionCount=COUNT + 1),
        f"{COUNT} documents, the block counts {COUNT + 1}",
        f"blocks: {NUMBER}: transactionCount: chain {COUNT}, stored {COUNT + 1}",
    ),
    "a block's codes": (
        change(
            BLOCKS, NUMBER, validationCodes=bytes(code ^ 1 for code in BLOCK["validationCodes"])
        ),
        "not code 1",
        f"blocks: {NUMBER}: validationCodes: chain ",
    ),
    "a block's sums": (
        change(BLOCKS, NUMBER, validCount=1_000),
        None,
        f"blocks: {NUMBER}: validCount: chain {BLOCK['validCount']}, stored 1000",
    ),
}


@pytest.fixture
async def indexed(store: LedgerStore) -> LedgerStore:
    """The store with the whole chain in it."""
    await index(store, ScriptedSource(CHAIN))
    return store


async def delivered() -> AsyncGenerator[DeliveredBlock, None]:
    for block in CHAIN:
        yield parse_delivered(block, "chain")


async def differences(store: LedgerStore) -> tuple[list[Difference], list[Difference]]:
    """What verification finds in the store alone, and against the chain."""
    itself: list[Difference] = []
    height = await Verifier(store, itself.append, lambda _: None).check_consistency()
    chain: list[Difference] = []
    verifier = Verifier(store, chain.append, lambda _: None)
    async with aclosing(delivered()) as blocks:
        await verifier.compare(blocks, 0, height)
    assert verifier.difference_count == len(chain)
    return itself, chain


async def restore(database: Database) -> None:
    """Undoes any damage."""
    for name, documents in (await stored_documents(database)).items():
        for key in documents.keys() | EXPECTED[name].keys():
            if documents.get(key) != EXPECTED[name].get(key):
                await database[name].delete_one({"_id": key})
        for key in EXPECTED[name]:
            if documents.get(key) != EXPECTED[name][key]:
                await database[name].insert_one(bson.decode(EXPECTED[name][key]))


async def test_an_untouched_store_has_no_difference(indexed: LedgerStore) -> None:
    assert await differences(indexed) == ([], [])


async def test_every_damage_is_found(indexed: LedgerStore) -> None:
    """Each is done to the whole store, and undone before the next."""
    for name, (damage, in_itself, against_chain) in DAMAGES.items():
        await damage(indexed.database)
        itself, chain = await differences(indexed)
        if in_itself is None:
            assert itself == [], name
        else:
            assert any(in_itself in difference.what for difference in itself), (name, itself)
        assert any(against_chain in difference.what for difference in chain), (name, chain)
        assert {difference.block for difference in chain} <= {NUMBER, LAST + 1, LAST + 2}, (
            name,
            chain,
        )
        await restore(indexed.database)
    assert await differences(indexed) == ([], [])


async def test_what_is_not_committed_is_no_difference(indexed: LedgerStore) -> None:
    """Transactions and events above the highest block are on their way; no reader sees them."""
    await indexed.database[BLOCKS].delete_one({"_id": LAST})
    assert await differences(indexed) == ([], [])


async def test_what_lies_below_the_start_block_is_a_difference(indexed: LedgerStore) -> None:
    await indexed.database[BLOCKS].delete_one({"_id": 0})
    itself, _ = await differences(indexed)
    assert itself == [
        Difference(0, DifferenceKind.COUNTS, "transactions_ledger: 1 documents below the start block 1")
    ]


KINDS: dict[str, DifferenceCounts] = {
    "a block deleted": DifferenceCounts(1, 2, 0, 1),
    "its transactions deleted too": DifferenceCounts(1, 1, BLOCK["eventCount"], COUNT + 1),
    "a transaction deleted": DifferenceCounts(0, 2, 1, 1),
    "an event deleted": DifferenceCounts(0, 1, 0, 1),
    "a transaction and its event deleted": DifferenceCounts(0, 3, 0, 2),
    "an event too many": DifferenceCounts(0, 1, 1, 1),
    "an event's payload": DifferenceCounts(0, 0, 0, 1),
    "a block's hash": DifferenceCounts(2, 0, 0, 1),
    "a block's codes": DifferenceCounts(0, COUNT, 0, 1),
}


@pytest.mark.parametrize("name", KINDS)
async def test_differences_are_counted_by_kind(indexed: LedgerStore, name: str) -> None:
    """An event whose transaction is gone is one, whether its block is there or not."""
    damage, _, _ = DAMAGES[name]
    await damage(indexed.database)
    found: list[Difference] = []
    verifier = Verifier(indexed, found.append, lambda _: None)
    height = await verifier.check_consistency()
    assert verifier.counts_by_kind == replace(KINDS[name], documents=None)
    async with aclosing(delivered()) as blocks:
        await verifier.compare(blocks, 0, height)
    assert verifier.counts_by_kind == KINDS[name], found
    assert len(found) == verifier.difference_count == sum(msgspec.structs.astuple(KINDS[name]))


@pytest.mark.parametrize("seed", range(6))
async def test_a_restart_refills_from_the_gap_on(indexed: LedgerStore, seed: int) -> None:
    """Block documents deleted at random, and with them or above them any transactions and events."""
    draws = random.Random(seed)
    gone = draws.sample(range(1, len(CHAIN)), draws.randrange(1, 8))
    above = {"blockNumber": {"$gte": min(gone)}}
    await indexed.database[BLOCKS].delete_many({"_id": {"$in": gone}})
    for name in (TRANSACTIONS, EVENTS):
        keys = [
            document["_id"] async for document in indexed.database[name].find(above, {"_id": 1})
        ]
        await indexed.database[name].delete_many(
            {"_id": {"$in": draws.sample(keys, len(keys) // 3)}}
        )
    progress = await index(indexed, ScriptedSource(CHAIN))
    assert progress.blocks == len(CHAIN) - min(gone), "everything above the gap is looked at again"
    assert_equal_documents(await stored_documents(indexed.database), EXPECTED)


async def test_what_an_older_version_wrote_can_be_read(store: LedgerStore) -> None:
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


async def test_the_command_finds_the_difference_and_says_so_with_its_exit_code(
    mongo_uri: str, indexed: LedgerStore, tmp_path: Path
) -> None:
    folder = block_files(tmp_path / "blocks", CHAIN)
    environment = {
        "KINDLEDGER_MONGO__URI": mongo_uri,
        "KINDLEDGER_CHANNELS": json.dumps({CHANNEL: {"database": indexed.database.name}}),
    }
    clean = await result("verify", "--source", folder, **environment)
    assert (clean.code, clean.stdout) == (0, "")
    assert f"{CHANNEL}: {len(CHAIN)} blocks verified, also against {folder}" in clean.stderr
    assert "no difference" in clean.stderr
    missing = await result("verify", "--source", tmp_path / "none", **environment)
    assert (missing.code, "no such file or folder" in missing.stderr) == (2, True)
    await indexed.database[EVENTS].update_one({"_id": PLACE}, {"$set": {"payload": {"amount": 1}}})
    compared = await result("verify", "--source", folder, "--json", **environment)
    assert compared.code == 65
    (report,) = json.loads(compared.stdout)["channels"]
    assert (report["channel"], report["height"], report["differences"]) == (CHANNEL, len(CHAIN), 1)
    kinds = {"chain": 0, "counts": 0, "eventsWithoutTransaction": 0, "documents": 1}
    assert (report["kinds"], report["shown"][0]["kind"]) == (kinds, "documents")
    assert report["shown"][0]["block"] == NUMBER
    recorded = await indexed.database[SYNC_STATE].find_one({"_id": CHANNEL})
    assert recorded is not None
    assert recorded["verification"]["kinds"] == kinds
    assert f"chaincode_events: {PLACE}: payload: chain" in report["shown"][0]["what"]
