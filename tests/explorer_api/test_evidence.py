"""Evidence bundles over HTTP, made from the archive of raw blocks."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace
from pymongo import AsyncMongoClient

from explorer_api.options import ServiceLimits
from ledger.evidence.verification import Trusted, verify_bundle
from ledger.model import VALID
from ledger.mongodb.collections import RAW_BLOCKS
from ledger.mongodb.raw_block_archive import MongoArchive
from ledger.mongodb.store import LedgerStore
from ledger.position import pack_position
from tests.evidence.ledgers import forged_ledger
from tests.explorer_api.support import CHANNEL, Api, C, append, decoded, running_api
from tests.ledger.archives import compressed


@pytest.fixture
async def archive(store: LedgerStore) -> MongoArchive:
    """The archive in MongoDB, with all blocks of a forged ledger."""
    archive = MongoArchive(store.database)
    await archive.append(compressed(forged_ledger().blocks.values()))
    return archive


@pytest.fixture
async def api(
    client: AsyncMongoClient[Any], store: LedgerStore, archive: MongoArchive
) -> AsyncIterator[Api]:
    """The API over this ledger."""
    blocks = [decoded(raw) for raw in forged_ledger().blocks.values()]
    await append(client, store.database.name, blocks)
    async with running_api(client, {CHANNEL: store.database.name}) as api:
        yield api


async def test_the_bundle_of_each_transaction_is_that_of_the_command(api: Api) -> None:
    ledger = forged_ledger()
    provable = refused = 0
    for at in ledger.positions():
        path = f"{C}/blocks/{at.number}/transactions/{at.index}/evidence"
        response = await api.request("GET", path)
        if response.status == 409:
            assert response.json["type"].endswith(":not-provable")
            assert "no evidence can be made" in response.json["detail"]
            refused += 1
            continue
        assert response.status == 200, response.body
        assert response.body == ledger.bundle(at.number, at.index)
        provable += 1
    assert provable > 30
    assert refused >= 5


async def test_a_bundle_is_found_by_id_and_never_changes(api: Api) -> None:
    ledger = forged_ledger()
    tx_id = (await api.channel("/blocks/9/transactions/0"))["txId"]
    response = await api.get(f"{C}/transactions/{tx_id}/evidence")
    assert response.body == ledger.bundle(9, 0)
    assert verify_bundle(response.body, Trusted(ledger.anchor_hash)).verified
    assert "immutable" in response.headers["Cache-Control"]
    etag = {"If-None-Match": response.headers["ETag"]}
    await api.get(f"{C}/transactions/{tx_id}/evidence", 304, etag)
    await api.problem(f"{C}/transactions/{'0' * 64}/evidence", 404, "transaction-not-found")
    await api.problem(f"{C}/blocks/9/transactions/99/evidence", 404, "transaction-not-found")
    await api.problem(f"{C}/blocks/99/transactions/0/evidence", 404, "block-not-found")


async def test_a_block_that_is_not_kept_is_gone(api: Api, store: LedgerStore) -> None:
    for number in (0, 9):
        await store.database[RAW_BLOCKS].delete_one({"_id": pack_position(number, 0)})
    for number, missing in ((9, "0, 9"), (8, "0")):
        path = f"{C}/blocks/{number}/transactions/0/evidence"
        problem = await api.problem(path, 410, "raw-not-retained")
        assert problem.json["detail"].endswith(f"not kept: {missing}.")
        assert f"kindledger evidence {number}:0 -o FILE" in problem.json["hint"]


async def test_an_archive_with_other_blocks_proves_nothing(
    api: Api, archive: MongoArchive, store: LedgerStore
) -> None:
    path = f"{C}/blocks/9/transactions/0/evidence"
    (other,) = compressed([forged_ledger().blocks[8]])
    await archive.replace([replace(other, number=9)])
    problem = await api.problem(path, 409, "not-provable")
    assert "block 9: hash: expected" in problem.json["detail"]
    kept = {"_id": pack_position(9, 0)}
    await store.database[RAW_BLOCKS].update_one(kept, {"$set": {"data": b"damaged"}})
    problem = await api.problem(path, 409, "not-provable")
    assert RAW_BLOCKS in problem.json["detail"]


async def test_large_blocks_are_refused_and_bundles_are_made_one_by_one(
    client: AsyncMongoClient[Any], store: LedgerStore, archive: MongoArchive
) -> None:
    blocks = [decoded(raw) for raw in forged_ledger().blocks.values()]
    await append(client, store.database.name, blocks)
    sizes = {
        at.number: len(forged_ledger().blocks[at.number])
        for at in forged_ledger().positions()
        if at.number > 2 and (at.index, at.code) == (0, VALID)
    }
    small, large = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    size = sizes[small] + sum(map(len, forged_ledger().config_blocks(small)))
    limits = ServiceLimits(evidence_threads=1, evidence_block_bytes=size)
    async with running_api(client, {CHANNEL: store.database.name}, limits=limits) as api:
        problem = await api.problem(
            f"{C}/blocks/{large}/transactions/0/evidence", 409, "not-provable"
        )
        assert "are allowed here" in problem.json["detail"]
        by_hash = (await api.channel(f"/blocks/{small}"))["hash"]
        paths = [f"{C}/blocks/{block}/transactions/0/evidence" for block in (small, by_hash)]
        together = await asyncio.gather(*(api.get(path) for path in paths))
        assert {response.body for response in together} == {forged_ledger().bundle(small, 0)}
