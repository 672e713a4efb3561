"""`kindledger verify --source` verifies the signatures in the blocks of the source."""

import json
from pathlib import Path
from typing import Any

import pytest

from devnet.peer import Ledger, Lie, lying_ledger
from ledger.decoding.blocks import read_block
from ledger.mongodb.collections import VERDICTS
from ledger.mongodb.store import LedgerStore
from protos.common_pb2 import SIGNATURES, Block
from tests.indexer.network import HEIGHT, Client, peer_of
from tests.indexer.processes import Ended, result
from tests.indexer.support import CHANNEL, EndingSource, index
from tests.indexer.test_verdicts import without_commit_hash
from tests.indexer.verifying import SIGNED, verifying

UNSIGNED_BLOCK = 20


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "blocks"
    folder.mkdir()
    return folder


async def verify(
    mongo_uri: str,
    store: LedgerStore,
    folder: Path,
    blocks: list[bytes],
    *options: str,
    genesis_hash: str = "",
) -> tuple[Ended, dict[str, Any]]:
    """Run `verify --source` with these blocks; return its end and its report."""
    configured = {"genesis_hash": genesis_hash} if genesis_hash else {}
    for number, data in enumerate(blocks):
        (folder / f"{number:06}.block").write_bytes(data)
    ended = await result(
        "verify",
        "--source",
        folder,
        "--json",
        *options,
        KINDLEDGER_MONGO__URI=mongo_uri,
        KINDLEDGER_CHANNELS=json.dumps({CHANNEL: {"database": store.database.name, **configured}}),
    )
    return ended, json.loads(ended.stdout)["channels"][0]


async def test_a_signed_chain_has_no_difference_and_a_changed_verdict_is_one(
    mongo_uri: str, store: LedgerStore, client: Client, files: Path
) -> None:
    async with peer_of(SIGNED) as peer, verifying(store, client.source(peer)) as daemon:
        await daemon.until_verified(HEIGHT)
        await daemon.stop()
    genesis = read_block(SIGNED[0]).hash.hex()
    ended, report = await verify(mongo_uri, store, files, list(SIGNED), genesis_hash=genesis)
    assert (ended.code, report["kinds"]["signatures"]) == (0, 0), ended.stderr
    await store.database[VERDICTS].update_one(
        {"failures": {"$exists": True}}, {"$unset": {"failures": 1}}
    )
    ended, report = await verify(mongo_uri, store, files, list(SIGNED))
    assert (ended.code, report["kinds"]["signatures"], report["differences"]) == (65, 1, 1)
    assert "verdicts: failures: the signatures give" in report["shown"][0]["what"]


async def test_wrong_signatures_and_codes_of_the_files_are_differences(
    mongo_uri: str, store: LedgerStore, files: Path
) -> None:
    """Also if the store was made from the same files."""
    lying = lying_ledger(Ledger(SIGNED), Lie.FLIP, 1)
    blocks = [without_commit_hash(lying.block(number)) for number in range(HEIGHT)]
    unsigned = Block.FromString(blocks[UNSIGNED_BLOCK])
    unsigned.metadata.metadata[SIGNATURES] = b""
    blocks[UNSIGNED_BLOCK] = unsigned.SerializeToString()
    await index(store, EndingSource(blocks))
    ended, report = await verify(mongo_uri, store, files, blocks, genesis_hash="00" * 32)
    assert ended.code == 65
    assert report["kinds"]["signatures"] == report["differences"] == 3
    shown = {each["what"]: each["block"] for each in report["shown"]}
    what = next(what for what, number in shown.items() if number == UNSIGNED_BLOCK)
    assert "orderers' signatures do not satisfy" in what
    assert any("is VALID: code 0, but kindledger: valid endorsements" in each for each in shown)
    assert any(each.startswith("hash: configured 00") for each in shown)
    skipped, report = await verify(mongo_uri, store, files, blocks, "--no-signatures")
    assert (skipped.code, report["kinds"]["signatures"]) == (0, None)
