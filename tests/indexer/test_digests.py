"""Every change of a stored document is found in the store alone, by the digests of its block."""

import json
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from pymongo.asynchronous.database import AsyncDatabase

from indexer.audit.consistency import DifferenceKind
from indexer.audit.verification import Difference, Verifier
from ledger.documents.digests import NO_DIGEST, stored_digests
from ledger.errors import StoreFormatError
from ledger.mongodb.collections import BLOCKS, EVENTS, SYNC_STATE, TRANSACTIONS
from ledger.mongodb.store import LedgerStore
from tests.block_files import write_block_files
from tests.indexer.damages import CHAIN, EXPECTED, LAST, NUMBER, POSITION
from tests.indexer.processes import result
from tests.indexer.support import (
    CHANNEL,
    ScriptedSource,
    assert_equal_documents,
    index,
    stored_documents,
)
from tests.indexer.test_verify import delivered

Database = AsyncDatabase[dict[str, Any]]
Change = tuple[str, object]
"""The path of a field, and another value for it."""


@pytest.fixture
async def indexed(store: LedgerStore) -> LedgerStore:
    """The store with the whole chain."""
    await index(store, ScriptedSource(CHAIN))
    return store


async def in_store(store: LedgerStore, known_height: int = 0) -> list[Difference]:
    """Return the differences that the store alone shows."""
    found: list[Difference] = []
    await Verifier(store, found.append, lambda _: None).check_consistency(known_height)
    return found


async def from_chain(store: LedgerStore) -> list[Difference]:
    """Return the differences from the blocks of the chain."""
    found: list[Difference] = []
    async with aclosing(delivered()) as blocks:
        await Verifier(store, found.append, lambda _: None).compare(blocks, 0, len(CHAIN))
    return found


def _changes(document: dict[str, Any], path: str = "") -> Iterator[Change]:
    """Yield for each field of a document, also of nested ones, another value of the same type."""
    for key, value in document.items():
        where = f"{path}{key}"
        yield where, _other(value)
        if isinstance(value, dict):
            yield from _changes(value, f"{where}.")
        if isinstance(value, list):
            for index_, item in enumerate(value):
                if isinstance(item, dict):
                    yield from _changes(item, f"{where}.{index_}.")
                else:
                    yield f"{where}.{index_}", _other(item)


def _other(value: Any) -> object:
    match value:
        case bool():
            return not value
        case int():
            return value + 1_000_000
        case str():
            return value + "x"
        case bytes():
            return value + b"\0"
        case list():
            return [*value, "x"]
        case dict():
            return {**value, "x": 1}
        case _:
            return "x"


async def test_each_changed_field_is_found_and_named(indexed: LedgerStore) -> None:
    """The store alone names the collection and the block, and the chain names the field."""
    for name, key in ((TRANSACTIONS, POSITION), (EVENTS, POSITION), (BLOCKS, NUMBER)):
        original = bson.decode(EXPECTED[name][key])
        changes = [change for change in _changes(original) if change[0] != "_id"]
        assert len(changes) >= 10
        for path, value in changes:
            await indexed.database[name].update_one({"_id": key}, {"$set": {path: value}})
            itself, chain = await in_store(indexed), await from_chain(indexed)
            await indexed.database[name].replace_one({"_id": key}, original)
            assert any(
                each.block == NUMBER
                and each.kind is DifferenceKind.DIGESTS
                and each.what.startswith(f"{name}: ")
                for each in itself
            ), (name, path, itself)
            field = path.partition(".")[0]
            if field not in ("signers", "signersDigest"):  # each peer may have other signers
                assert any(f"{name}: {key}: {field}: " in each.what for each in chain), (
                    path,
                    chain,
                )
    assert await in_store(indexed) == await from_chain(indexed) == []


async def test_other_digests_of_a_changed_ledger_are_other_than_the_noted_one(
    indexed: LedgerStore,
) -> None:
    """Someone changes a document and computes all digests again: the head's digest tells it."""
    noted = (await _head(indexed)).digest
    await indexed.database[BLOCKS].update_one({"_id": NUMBER}, {"$set": {"validCount": 99}})
    digest = NO_DIGEST
    for number in range(len(CHAIN)):
        block = RawBSONDocument((await stored_documents(indexed.database))[BLOCKS][number])
        digest, of_signers = stored_digests(block, digest)
        new = {"digest": digest.hex(), "signersDigest": of_signers}
        await indexed.database[BLOCKS].update_one({"_id": number}, {"$set": new})
    assert await in_store(indexed) == []
    assert (await _head(indexed)).digest not in (NO_DIGEST, noted)


async def _head(store: LedgerStore) -> Any:
    checkpoint = await store.checkpoint()
    assert checkpoint is not None
    return checkpoint.head


async def test_a_missing_head_is_found_by_the_recorded_height(indexed: LedgerStore) -> None:
    await indexed.database[BLOCKS].delete_one({"_id": LAST})
    assert await in_store(indexed, known_height=LAST) == []
    (found,) = await in_store(indexed, known_height=LAST + 1)
    assert (found.block, found.kind) == (LAST, DifferenceKind.CHAIN)
    assert found.what == f"blocks: missing up to block {LAST}, which was stored before"


async def test_documents_that_no_block_can_have_are_found(indexed: LedgerStore) -> None:
    for name in (TRANSACTIONS, EVENTS):
        await indexed.database[name].insert_one({"_id": "forged", "txId": f"{name} forged"})
    assert [each.what for each in await in_store(indexed)] == [
        f"{name}: 'forged' is stored, but is no document of a block"
        for name in (TRANSACTIONS, EVENTS)
    ]


async def test_a_ledger_of_the_format_without_digests_is_continued(store: LedgerStore) -> None:
    """The digests begin with the first new block; what the older program stored is compared."""
    await index(store, ScriptedSource(CHAIN[:10]))
    await _make_older(store.database)
    await index(store, ScriptedSource(CHAIN))
    assert await in_store(store) == await from_chain(store) == []
    first = await store.block(9)
    assert first is not None
    assert first.digest == NO_DIGEST
    assert (await _head(store)).digest != NO_DIGEST
    await store.database[TRANSACTIONS].update_one({"blockNumber": 5}, {"$set": {"envelopeSize": 1}})
    (found,) = await from_chain(store)
    assert (found.block, "envelopeSize" in found.what) == (5, True)


async def _make_older(database: Database) -> None:
    digests = {"digest": "", "transactionsDigest": "", "eventsDigest": "", "signersDigest": ""}
    await database[BLOCKS].update_many({}, {"$unset": digests})
    for name in (BLOCKS, TRANSACTIONS, EVENTS):
        await database[name].update_many({}, {"$set": {"format": 2}})


async def test_a_ledger_of_an_unknown_format_is_not_continued(store: LedgerStore) -> None:
    await index(store, ScriptedSource(CHAIN[:10]))
    await store.database[BLOCKS].update_one({"_id": 9}, {"$set": {"format": 99}})
    before = await stored_documents(store.database)
    with pytest.raises(StoreFormatError, match="stored block 9 has format 99, and this program"):
        await index(store, ScriptedSource(CHAIN))
    assert_equal_documents(await stored_documents(store.database), before)


async def test_the_command_prints_the_digest_that_the_verification_confirms(
    mongo_uri: str, indexed: LedgerStore, tmp_path: Path
) -> None:
    environment = {
        "KINDLEDGER_MONGO__URI": mongo_uri,
        "KINDLEDGER_CHANNELS": json.dumps({CHANNEL: {"database": indexed.database.name}}),
    }
    head = await _head(indexed)
    printed = await result("digest", "--json", **environment)
    assert json.loads(printed.stdout)["channels"] == [
        {
            "channel": CHANNEL,
            "startBlock": 0,
            "number": LAST,
            "blockHash": head.hash.hex(),
            "digest": head.digest.hex(),
        }
    ]
    folder = write_block_files(tmp_path / "blocks", CHAIN)
    verified = await result("verify", "--no-signatures", "--source", folder, **environment)
    assert f"no difference, digest {head.digest.hex()}" in verified.stderr
    fifth = await result("digest", "--at", "5", **environment)
    block = await indexed.block(5)
    assert block is not None
    assert block.digest.hex() in fifth.stdout
    missing = await result("digest", "--at", str(LAST + 1), **environment)
    assert (missing.code, f"the blocks 0 to {LAST} are" in missing.stderr) == (78, True)
    await indexed.database[SYNC_STATE].delete_many({})
