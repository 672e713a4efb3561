"""A damaged store is repaired from a source; a repair that is killed can be run again."""

from typing import Any

import bson
import pytest
from bson.codec_options import CodecOptions
from bson.int64 import Int64

from indexer.audit.repair import Cause
from ledger.errors import ChainMismatchError, LedgerError
from ledger.mongodb.certificates import INVENTORY
from ledger.mongodb.collections import BLOCKS, CERTIFICATES, EVENTS, TRANSACTIONS, VERDICTS
from ledger.mongodb.repairs import Act
from ledger.mongodb.store import LedgerStore
from ledger.position import pack_position
from tests.indexer.crashing import CrashError
from tests.indexer.damages import (
    CHAIN,
    COUNT,
    DAMAGES,
    EVENT,
    EXPECTED,
    LAST,
    NUMBER,
    POSITION,
    Damage,
    all_of,
    change,
    copy,
    delete,
)
from tests.indexer.network import BRANCH, FORK, TRUNK, Client, peer_of
from tests.indexer.repairing import AT, cut_off, recorded, repair, repairs_of
from tests.indexer.support import (
    EndingSource,
    ScriptedSource,
    assert_equal_documents,
    expected_documents,
    index,
    stored_documents,
)
from tests.indexer.test_leftovers import NUMBER as LYING_BLOCK
from tests.indexer.test_leftovers import foreign, index_both, leave_surplus

FILES = EndingSource(CHAIN)


@pytest.fixture
async def indexed(store: LedgerStore) -> LedgerStore:
    """The store with the whole chain."""
    await index(store, ScriptedSource(CHAIN))
    return store


async def assert_equal_to_chain(store: LedgerStore) -> None:
    assert_equal_documents(await stored_documents(store.database), EXPECTED)


async def test_a_lying_peers_surplus_is_shown_then_removed(store: LedgerStore) -> None:
    """After the repair indexing goes on, to a store that equals the chain."""
    await leave_surplus(store)
    with pytest.raises(LedgerError):
        await index(store, ScriptedSource(TRUNK))
    before = await stored_documents(store.database)
    findings, remaining = await repair(store, EndingSource(TRUNK), apply=False)
    assert {(each.block, each.cause, each.repair) for each in findings} == {
        (LYING_BLOCK, Cause.LEFTOVER, Act.REMOVE)
    }
    assert remaining == len(findings)
    assert await stored_documents(store.database) == before, "it only shows"
    assert (await repair(store, EndingSource(TRUNK)))[1] == 0
    await index(store, ScriptedSource(TRUNK))
    assert_equal_documents(await stored_documents(store.database), expected_documents(TRUNK))


async def test_without_a_source_all_leftovers_are_removed(store: LedgerStore) -> None:
    await leave_surplus(store)
    assert (await repair(store, None))[1] == 0
    await index(store, ScriptedSource(TRUNK))
    assert_equal_documents(await stored_documents(store.database), expected_documents(TRUNK))


@pytest.mark.parametrize("seed", range(10))
async def test_the_trunk_is_indexed_after_a_fork_was_written_beside_it(
    store: LedgerStore, seed: int
) -> None:
    """Blocks of the fork that were committed are cut off; the repair refuses to touch them."""
    await index_both(store, seed)
    blocks = (await stored_documents(store.database))[BLOCKS]
    if any(each != expected_documents(TRUNK)[BLOCKS][number] for number, each in blocks.items()):
        before = await stored_documents(store.database)
        with pytest.raises(ChainMismatchError, match="different chains"):
            await repair(store, EndingSource(TRUNK))
        assert await stored_documents(store.database) == before
        await cut_off(store, FORK - 1)
    assert (await repair(store, EndingSource(TRUNK)))[1] == 0
    assert not foreign(await stored_documents(store.database))
    await index(store, ScriptedSource(TRUNK))
    assert_equal_documents(await stored_documents(store.database), expected_documents(TRUNK))


OTHER_POSITION = next(
    key for key in EXPECTED[TRANSACTIONS] if key > POSITION + (1 << 20) and key & 0xFFFFF == 0
)
OTHER: dict[str, Any] = bson.decode(EXPECTED[TRANSACTIONS][OTHER_POSITION])
STORED_EVENT: dict[str, Any] = bson.decode(EXPECTED[EVENTS][POSITION], CodecOptions(tz_aware=True))
REPAIRABLE: dict[str, Damage] = {
    **{name: damage for name, (damage, _, _) in DAMAGES.items() if name != "a block too many"},
    "the first blocks deleted": all_of(delete(BLOCKS, 0), delete(BLOCKS, 1)),
    "ids exchanged": all_of(
        change(TRANSACTIONS, POSITION, txId="for a moment"),
        change(TRANSACTIONS, OTHER_POSITION, txId=EVENT["txId"]),
        change(TRANSACTIONS, POSITION, txId=OTHER["txId"]),
    ),
    "a missing id taken by a later block": all_of(
        delete(TRANSACTIONS, POSITION), change(TRANSACTIONS, OTHER_POSITION, txId=EVENT["txId"])
    ),
    "a document whose _id is no number": copy(
        TRANSACTIONS, POSITION, _id="\x1b[31mnone", txId="forged"
    ),
    "a document below block 0": copy(EVENTS, POSITION, _id=Int64(-5)),
    "a whole block": all_of(
        delete(BLOCKS, NUMBER),
        *(delete(TRANSACTIONS, pack_position(NUMBER, index)) for index in range(COUNT)),
        *(delete(EVENTS, pack_position(NUMBER, index)) for index in range(COUNT)),
    ),
}


async def test_every_damage_is_repaired(indexed: LedgerStore) -> None:
    for name, damage in REPAIRABLE.items():
        await damage(indexed.database)
        shown, _ = await repair(indexed, FILES, apply=False)
        assert shown, name
        _, remaining = await repair(indexed, FILES)
        assert remaining == 0, name
        await assert_equal_to_chain(indexed)
        assert await repair(indexed, FILES) == ([], 0), name


async def test_each_act_is_recorded_with_before_and_after(indexed: LedgerStore) -> None:
    await DAMAGES["an event's payload"][0](indexed.database)
    await DAMAGES["a transaction too many"][0](indexed.database)
    await repair(indexed, FILES)
    replaced, removed = sorted(await recorded(indexed), key=lambda each: str(each["collection"]))
    assert (replaced["act"], replaced["key"], replaced["field"]) == ("replace", POSITION, "payload")
    assert replaced["before"] == STORED_EVENT | {"payload": {"amount": 1}}
    assert replaced["after"] == STORED_EVENT
    assert (removed["act"], removed["block"], removed["after"]) == ("remove", NUMBER, None)
    assert removed["before"]["txId"] == "forged"
    for record in (replaced, removed):
        assert record["at"] == AT
        assert (record["osUser"], record["mongoUser"]) == ("operator", "kindledger_repair@admin")
        assert (record["source"], record["reason"]) == ("files", "a test")


async def test_a_document_that_no_record_can_hold_is_recorded_as_bytes(
    indexed: LedgerStore,
) -> None:
    """A writer can nest a document as deeply as MongoDB allows."""
    nested: dict[str, Any] = {}
    for _ in range(178):
        nested = {"a": nested}
    await change(EVENTS, POSITION, payload=nested)(indexed.database)
    stored = (await stored_documents(indexed.database))[EVENTS][POSITION]
    assert (await repair(indexed, FILES))[1] == 0
    (record,) = await recorded(indexed)
    assert record["before"] in (stored, bson.decode(stored, CodecOptions(tz_aware=True)))
    await assert_equal_to_chain(indexed)


async def test_a_block_above_the_end_of_the_source_is_kept(indexed: LedgerStore) -> None:
    """The source may be behind; only a truncation removes blocks."""
    findings, remaining = await repair(indexed, EndingSource(CHAIN[:-3]))
    assert remaining == 1
    assert [each.cause for each in findings] == [Cause.UNKNOWN]
    await assert_equal_to_chain(indexed)
    await DAMAGES["a block too many"][0](indexed.database)
    assert (await repair(indexed, FILES))[1] == 2, "the block, and its raw block that is not kept"
    await cut_off(indexed, LAST)
    await assert_equal_to_chain(indexed)


async def test_without_the_right_to_change_missing_documents_are_inserted(
    indexed: LedgerStore,
) -> None:
    await delete(EVENTS, POSITION)(indexed.database)
    await change(TRANSACTIONS, OTHER_POSITION, note="altered")(indexed.database)
    findings, remaining = await repair(indexed, FILES, may_change=False)
    assert (len(findings), remaining) == (2, 1)
    assert await indexed.database[EVENTS].find_one({"_id": POSITION}) == STORED_EVENT
    assert [each["act"] for each in await recorded(indexed)] == ["insert"]
    assert (await repair(indexed, FILES))[1] == 0
    await assert_equal_to_chain(indexed)


@pytest.mark.parametrize("height", [len(TRUNK), 20])
async def test_a_peer_repairs_as_far_as_it_has_blocks(
    store: LedgerStore, client: Client, height: int
) -> None:
    await index(store, ScriptedSource(TRUNK))
    expected = expected_documents(TRUNK)
    wanted = next(iter(expected[EVENTS]))
    await delete(EVENTS, wanted)(store.database)
    async with peer_of(TRUNK[:height]) as peer:
        _, remaining = await repair(store, client.source(peer))
    assert remaining == (0 if height == len(TRUNK) else 1), "blocks that it does not have"
    assert_equal_documents(await stored_documents(store.database), expected)


async def test_blocks_that_do_not_continue_each_other_repair_nothing(indexed: LedgerStore) -> None:
    """A source with the stored head, but another block in the middle, is not believed."""
    await delete(EVENTS, POSITION)(indexed.database)
    liar = (*TRUNK[:FORK], *BRANCH[FORK : FORK + 2], *TRUNK[FORK + 2 :])
    with pytest.raises(ChainMismatchError):
        await repair(indexed, EndingSource(liar))
    assert await recorded(indexed) == []


MOMENTS = [
    *(pytest.param(moment, marks=pytest.mark.long) for moment in ("before", "after")),
    "midway",
]
SEVERAL: Damage = all_of(
    *(
        REPAIRABLE[name]
        for name in (
            "a block deleted",
            "a transaction too many",
            "an event too many",
            "ids exchanged",
            "a document below block 0",
        )
    )
)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("damage", [SEVERAL, REPAIRABLE["a whole block"]])
async def test_a_killed_repair_can_be_run_again(
    indexed: LedgerStore, moment: str, damage: Damage
) -> None:
    """It is killed at each of its changes in turn; no incomplete block becomes visible."""
    crash_at = 1
    crashed = True
    while crashed:
        await damage(indexed.database)
        before = set((await stored_documents(indexed.database))[BLOCKS])
        try:
            await repair(indexed, FILES, repairs=repairs_of(indexed, crash_at, moment))
            crashed = False
        except CrashError:
            stored = await stored_documents(indexed.database)
            for number in set(stored[BLOCKS]) - before:
                for name in (TRANSACTIONS, EVENTS):
                    expected = {k: d for k, d in EXPECTED[name].items() if k >> 20 == number}
                    assert {k: d for k, d in stored[name].items() if k in expected} == expected
            assert (await repair(indexed, FILES))[1] == 0
        await assert_equal_to_chain(indexed)
        crash_at += 1
    assert crash_at > 3


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_killed_truncation_leaves_whole_blocks_and_can_be_run_again(
    indexed: LedgerStore, moment: str
) -> None:
    cut = LAST - 6
    crash_at, crashed = 1, True
    while crashed:
        try:
            await cut_off(indexed, cut, repairs_of(indexed, crash_at, moment))
            crashed = False
        except CrashError:
            numbers = sorted((await stored_documents(indexed.database))[BLOCKS])
            assert numbers == list(range(len(numbers))), "the blocks that remain have no gap"
            assert len(numbers) > cut
            await cut_off(indexed, cut)
        assert_equal_documents(
            await stored_documents(indexed.database), expected_documents(CHAIN[: cut + 1])
        )
        await index(indexed, ScriptedSource(CHAIN))
        await assert_equal_to_chain(indexed)
        crash_at += 1
    assert crash_at > 3


async def test_a_truncation_removes_the_verdicts_on_the_blocks_and_the_certificates(
    indexed: LedgerStore,
) -> None:
    verdicts, certificates = indexed.database[VERDICTS], indexed.database[CERTIFICATES]
    await verdicts.insert_many({"_id": number} for number in range(LAST + 1))
    await certificates.insert_many([{"_id": "0" * 64}, {"_id": INVENTORY}, {"_id": "f" * 64}])
    await cut_off(indexed, LAST - 6)
    assert [each["_id"] async for each in verdicts.find()] == list(range(LAST - 5))
    assert await certificates.count_documents({}) == 0
    records = [
        each["key"] for each in await recorded(indexed) if each["collection"] == CERTIFICATES
    ]
    assert records == [INVENTORY, "f" * 64, "0" * 64], "what says that it is complete goes first"


async def test_a_truncation_needs_a_stored_block(indexed: LedgerStore) -> None:
    with pytest.raises(LedgerError, match="Nothing was changed"):
        await cut_off(indexed, LAST + 5)
    await assert_equal_to_chain(indexed)
