"""A repair refuses a source with wrong codes, writes or signatures, and no honest one."""

from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from indexer.audit.repair import Cause
from indexer.audit.source_checks import DoubtfulHash
from ledger.decoding.blocks import UndecodedBlock, read_block
from ledger.errors import ChainMismatchError
from ledger.model import VALID
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.store import LedgerStore
from ledger.position import pack_position
from ledger.state_changes import Unchecked
from protos.common_pb2 import COMMIT_HASH, Block
from protos.transaction_pb2 import MVCC_READ_CONFLICT
from tests.indexer.damages import CHAIN, LAST, NUMBER, POSITION, Damage, all_of, change, delete
from tests.indexer.network import RunningIndexer
from tests.indexer.repairing import checks_of, recorded, repair
from tests.indexer.support import (
    EndingSource,
    ScriptedSource,
    assert_equal_documents,
    expected_documents,
    index,
    new_progress,
    stored_documents,
)
from tests.indexer.test_block_signatures import with_another_signature, without_signatures
from tests.indexer.test_commit_hashes import NOW, metadata_chain, written
from tests.ledger.commit_hash_blocks import with_code
from tests.ledger.wire_format import field

START = 3
ANCHOR = read_block(CHAIN[START - 1])
"""The CONFIG block in force at the block START."""


def with_flipped_code(raw: bytes) -> bytes:
    return with_code(raw, read_block(raw).codes.index(VALID), MVCC_READ_CONFLICT)


def with_another_commit_hash(raw: bytes) -> bytes:
    block = Block.FromString(raw)
    block.metadata.metadata[COMMIT_HASH] = field(1, b"x" * 32)
    return block.SerializeToString()


def replaced(number: int, forged: bytes) -> list[bytes]:
    return [*CHAIN[:number], forged, *CHAIN[number + 1 :]]


async def assert_refused(store: LedgerStore, source: EndingSource, message: str) -> None:
    """Check that the repair refuses the source with this message, and changes nothing."""
    before = await stored_documents(store.database)
    with pytest.raises(ChainMismatchError, match=f"{message}.*Nothing was changed.*another one"):
        await repair(store, source)
    assert_equal_documents(await stored_documents(store.database), before)
    assert await recorded(store) == []


LIES: dict[str, tuple[int, Callable[[bytes], bytes], str]] = {
    "a code": (NUMBER, with_flipped_code, "commit hash: expected [0-9a-f]{64}, got [0-9a-f]{64}"),
    "the commit hash of the head": (LAST, with_another_commit_hash, "commit hash: expected"),
    "no signature": (NUMBER, without_signatures, "orderers' signatures: expected those that"),
    "another's signature": (20, with_another_signature, "orderers' signatures: expected"),
}
DAMAGES: dict[str, Damage] = {
    "whole": all_of(),
    "documents missing": all_of(
        delete(BLOCKS, NUMBER), delete(TRANSACTIONS, POSITION), delete(EVENTS, POSITION)
    ),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_source_with_a_wrong_block_changes_nothing(store: LedgerStore, lie: str) -> None:
    """Whether the store is whole, which the lie would damage, or has something to repair."""
    number, forge, message = LIES[lie]
    source = EndingSource(replaced(number, forge(CHAIN[number])))
    await index(store, ScriptedSource(CHAIN))
    for damage in DAMAGES.values():
        await damage(store.database)
        await assert_refused(store, source, f"^block {number}: {message}")
    await repair(store, EndingSource(CHAIN))
    assert_equal_documents(await stored_documents(store.database), expected_documents(CHAIN))


class ChangingSource(EndingSource):
    """A source that is honest until its blocks were inspected."""

    requests = 0

    async def blocks(self, start: int, tip: int | None) -> AsyncGenerator[Any, None]:
        self.requests += 1
        if self.requests > 2:
            self._chain = replaced(NUMBER, without_signatures(CHAIN[NUMBER]))
        async for each in super().blocks(start, tip):
            yield each


async def test_a_block_that_changes_after_its_inspection_is_not_used(store: LedgerStore) -> None:
    await index(store, ScriptedSource(CHAIN))
    await delete(BLOCKS, NUMBER)(store.database)
    with pytest.raises(ChainMismatchError, match="another block now than a moment ago"):
        await repair(store, ChangingSource(CHAIN))
    assert await recorded(store) == []


VALUE_AT = pack_position(1, 0)
DAMAGED_VALUES: dict[str, Damage] = {
    "missing": delete(TRANSACTIONS, VALUE_AT),
    "another value": change(TRANSACTIONS, VALUE_AT, **{"rwsets.0.writes.0.value": "w"}),
    "several writes": change(TRANSACTIONS, VALUE_AT, **{"rwsets.0.writes": [{"key": "k"}] * 2}),
    "no write": change(TRANSACTIONS, VALUE_AT, **{"rwsets.0.writes.0": {"key": "k"}}),
}


@pytest.mark.parametrize("damage", DAMAGED_VALUES)
async def test_a_damaged_value_that_a_commit_hash_covers_refuses_no_honest_source(
    store: LedgerStore, damage: str
) -> None:
    """The block that writes only metadata is named as doubtful, until the value is repaired."""
    chain = metadata_chain([written(b"v")], b"v")
    await index(store, EndingSource(chain), policy=NOW)
    await DAMAGED_VALUES[damage](store.database)
    for doubts in (1, 0):
        progress = new_progress()
        checks = checks_of(store, progress)
        findings, remaining = await repair(store, EndingSource(chain), checks=checks)
        assert (len(findings), remaining) == (doubts, 0)
        assert progress.unchecked_commit_hashes[Unchecked.VALUE_UNKNOWN] == doubts
        stored = await stored_documents(store.database)
        assert_equal_documents(stored, expected_documents(tuple(chain)))


async def test_a_lie_in_a_block_that_needs_an_earlier_value_is_named(store: LedgerStore) -> None:
    """It cannot be told from a damaged value, so that both hashes are named."""
    chain = metadata_chain([written(b"v")], b"v")
    await index(store, EndingSource(chain), policy=NOW)
    checks = checks_of(store)
    lying = [*chain[:2], with_code(chain[2], 0, MVCC_READ_CONFLICT), *chain[3:]]
    await repair(store, EndingSource(lying), apply=False, checks=checks)
    claimed = read_block(chain[2]).metadata[COMMIT_HASH][2:].hex()
    assert isinstance(checks.doubtful, DoubtfulHash)
    assert (checks.doubtful.block, checks.doubtful.claimed) == (2, claimed)
    assert checks.doubtful.computed not in ("", claimed)


async def test_missing_blocks_of_the_source_are_no_reason_to_refuse_it(store: LedgerStore) -> None:
    """The hash before a block is then not known; its signatures are verified all the same."""
    await index(store, ScriptedSource(CHAIN))
    await delete(EVENTS, POSITION)(store.database)
    gap = NUMBER - 2
    findings, remaining = await repair(store, EndingSource([*CHAIN[:gap], *CHAIN[gap + 1 :]]))
    assert ([each.cause for each in findings], remaining) == ([Cause.UNKNOWN, Cause.MISSING], 1)
    assert_equal_documents(await stored_documents(store.database), expected_documents(CHAIN))
    unsigned = replaced(gap + 1, without_signatures(CHAIN[gap + 1]))
    with pytest.raises(ChainMismatchError, match=f"block {gap + 1}: orderers' signatures"):
        await repair(store, EndingSource([*unsigned[:gap], *unsigned[gap + 1 :]]))


@pytest.mark.parametrize(
    ("anchor", "unchecked"), [(None, LAST + 1 - START), (ANCHOR, 0)], ids=["unknown", "known"]
)
async def test_above_block_0_signatures_are_checked_from_the_configured_block_on(
    store: LedgerStore, anchor: UndecodedBlock | None, unchecked: int
) -> None:
    """Also if the stored block does not say any more which configuration is in force."""
    run = RunningIndexer(store, [EndingSource(CHAIN)], first=START, index_policy=NOW)
    await run.task
    await delete(BLOCKS, START)(store.database)
    progress = new_progress()
    source = EndingSource(CHAIN)
    _, remaining = await repair(store, source, checks=checks_of(store, progress, anchor))
    assert (remaining, progress.unchecked_signatures) == (0, unchecked)
    forged = EndingSource(replaced(START, without_signatures(CHAIN[START])))
    if anchor is not None:
        with pytest.raises(ChainMismatchError, match=f"block {START}: orderers' signatures"):
            await repair(store, forged, checks=checks_of(store, anchor=anchor))
