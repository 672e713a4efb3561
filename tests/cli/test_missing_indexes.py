"""What the commands say about a ledger whose indexes are deferred, being built, or missing."""

import json
from datetime import UTC, datetime

import pytest
from pymongo import AsyncMongoClient

from cli.doctor.checks import Outcome
from devnet.servers import Mongod
from ledger.mongodb.collections import EVENTS, TRANSACTIONS
from ledger.mongodb.index_builds import build_steps
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ChannelState, IndexBuild, SyncState, write_sync_state
from tests.cli.support import CHANNEL, RECORDED, Json, checks_of, kindledger, run_checks, uri_of

Client = AsyncMongoClient[Json]


@pytest.fixture
async def settings(mongo: Client, mongo_uri: str, database_name: str) -> Json:
    """Settings of a stored ledger that lacks the indexes of transactions and events."""
    settings = {"mongo": {"uri": mongo_uri}, "channels": {CHANNEL: {"database": database_name}}}
    imported = kindledger("import", RECORDED, "--indexes", "now", settings=settings)
    assert imported.returncode == 0, imported.stderr
    assert "indexes_deferred" not in imported.stderr
    for name in (TRANSACTIONS, EVENTS):
        await mongo[database_name][name].drop_indexes()
    return settings


async def test_doctor_names_missing_indexes(
    mongo: Client, settings: Json, database_name: str
) -> None:
    part = f"mongodb, {CHANNEL}"
    check = checks_of(await run_checks(settings), part)["indexes"]
    assert (check.outcome, check.exit_code) == (Outcome.WARNING, None)
    assert "transactions_ledger.txId_1" in check.detail
    assert "near the head" in str(check.advice)
    await LedgerStore(mongo, database_name).prepare()
    check = checks_of(await run_checks(settings), part)["indexes"]
    assert (check.outcome, check.detail) == (Outcome.OK, "all indexes exist")
    empty = settings | {"channels": {CHANNEL: {"database": f"{database_name}_empty"}}}
    check = checks_of(await run_checks(empty), part)["indexes"]
    assert (check.outcome, "no block is stored yet" in check.detail) == (Outcome.OK, True)


async def test_status_shows_how_far_the_builds_are(
    mongo: Client, settings: Json, database_name: str
) -> None:
    now = datetime.now(UTC)
    for build, shown in (
        (IndexBuild(21, 0.5, 40.2), "building indexes, 40 s left"),
        (IndexBuild(21, None, None), "building indexes "),
    ):
        state = SyncState(
            channel=CHANNEL,
            state=ChannelState.BUILDING_INDEXES,
            peer=None,
            start_block=0,
            peer_height=136,
            seen_height=136,
            committed_height=136,
            transactions_per_second=0.0,
            error=None,
            started_at=now,
            updated_at=now,
            version="1.2.3",
            index_build=build,
        )
        await write_sync_state(mongo[database_name], state)
        assert shown in kindledger("status", settings=settings).stdout
    reported = json.loads(kindledger("status", "--json", settings=settings).stdout)
    assert reported["channels"][0]["sync"]["state"] == "building_indexes"


async def test_verify_and_import_on_a_ledger_without_indexes(
    mongo: Client, settings: Json, database_name: str
) -> None:
    """A verification does not read whole collections for each block; an import builds indexes."""
    refused = kindledger("verify", "--source", RECORDED, settings=settings)
    assert refused.returncode == 69
    assert "the index of transaction ids does not exist" in refused.stderr
    consistent = kindledger("verify", settings=settings)
    assert consistent.returncode == 0, consistent.stderr
    imported = kindledger("import", RECORDED, settings=settings)
    assert imported.returncode == 0, imported.stderr
    verified = kindledger("verify", "--source", RECORDED, settings=settings)
    assert verified.returncode == 0, verified.stderr


async def test_only_users_with_the_privilege_see_the_progress_of_builds(
    guarded_mongod: Mongod,
) -> None:
    for user, steps in (("kindledger_indexer", []), ("kindledger_api", None)):
        async with AsyncMongoClient[Json](uri_of(guarded_mongod, user)) as client:
            assert await build_steps(client["kindledger"]) == steps
