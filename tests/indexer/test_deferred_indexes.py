"""Indexes of a channel that is far behind are built near the head, whatever happens before."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from structlog.testing import capture_logs

from devnet.peer import Ledger
from devnet.servers import Mongod
from indexer.pipeline.deferred_indexes import IndexPolicy
from indexer.progress.channel_progress import Stage
from ledger.decoding.blocks import decode_block, read_block
from ledger.errors import StoreConflictError
from ledger.model import VALID
from ledger.mongodb.collections import TRANSACTIONS
from ledger.mongodb.index_builds import IndexModels
from ledger.mongodb.indexes import IndexOptions
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ChannelState
from ledger.position import pack_position
from tests.block_files import write_block_files
from tests.indexer.crashing import CrashError
from tests.indexer.network import (
    HEIGHT,
    TRUNK,
    WITHIN_S,
    Client,
    RunningIndexer,
    assert_stored,
    indexing,
    peer_of,
)
from tests.indexer.processes import result
from tests.indexer.support import (
    DEFERRED,
    EndingSource,
    assert_equal_documents,
    expected_documents,
    hostile_chain,
    index,
    stored_documents,
    stored_indexes,
)

MongoClient = AsyncMongoClient[dict[str, Any]]
NOW = IndexPolicy(deferred=False)
OPTIONS = IndexOptions()
CHAIN = hostile_chain()


class ObservedStore(LedgerStore):
    """A store that records which indexes are missing at each build, and can hold up the builds."""

    def observe(self) -> "ObservedStore":
        """Begin to record. Return the store."""
        self.builds: list[dict[str, list[str]]] = []
        self.may_build = asyncio.Event()
        self.may_build.set()
        return self

    async def build_indexes(self, indexes: IndexModels) -> None:
        """Record the indexes, wait until builds are allowed, and build."""
        names = {name: [m.document["name"] for m in models] for name, models in indexes.items()}
        self.builds.append(names)
        await self.may_build.wait()
        await super().build_indexes(indexes)


@pytest.fixture
def observed(mongo: MongoClient, database_name: str) -> ObservedStore:
    """A store without collections."""
    return ObservedStore(mongo, database_name).observe()


async def all_indexes(store: LedgerStore) -> dict[str, dict[str, Any]]:
    """Return the indexes of a store in which they are created first of all."""
    other = LedgerStore(store.database.client, f"{store.database.name}_now")
    await index(other, EndingSource(CHAIN), policy=NOW)
    indexes = await stored_indexes(other.database)
    await store.database.client.drop_database(other.database.name)
    return indexes


ALL = sum(map(len, OPTIONS.models().values()))
"""The number of indexes of a complete store."""


async def count_missing(store: LedgerStore) -> int:
    """Return the number of missing indexes."""
    return sum(map(len, (await store.missing_indexes(OPTIONS)).values()))


@pytest.mark.parametrize("owned_ids_bytes", [8 << 20, 256, 8], ids=["room", "full", "no room"])
async def test_a_store_whose_indexes_were_deferred_equals_any_other(
    observed: ObservedStore, owned_ids_bytes: int
) -> None:
    """When the owned ids have no room in memory, the index of transaction ids is built earlier."""
    policy = IndexPolicy(owned_ids_bytes=owned_ids_bytes)
    progress = await index(observed, EndingSource(CHAIN), policy=policy)
    assert progress.state is not ChannelState.STARTING
    assert progress.stages[Stage.BUILD_INDEXES].sum > 0
    assert_equal_documents(await stored_documents(observed.database), expected_documents(CHAIN))
    assert await stored_indexes(observed.database) == await all_indexes(observed)
    builds = [sum(map(len, names.values())) for names in observed.builds]
    is_full = owned_ids_bytes < 8 << 20
    assert builds == ([1, ALL - 1] if is_full else [ALL])
    if is_full:
        assert observed.builds[0] == {TRANSACTIONS: ["txId_1"]}


async def test_live_blocks_are_stored_while_the_indexes_are_built(
    observed: ObservedStore, client: Client
) -> None:
    """The channel follows its peer when both are complete, and not before."""
    ledger = Ledger(TRUNK[:20])
    observed.may_build.clear()
    async with (
        peer_of(ledger) as peer,
        indexing(observed, client.source(peer), index_policy=DEFERRED) as run,
    ):
        await run.wait_for_height(20)
        for number in range(20, HEIGHT):
            ledger.append(TRUNK[number])
            await run.wait_for_height(number + 1)
        await run.until(lambda progress: progress.state is ChannelState.BUILDING_INDEXES)
        assert (run.progress.lag, run.progress.caught_up) == (0, False)
        assert len(observed.builds) == 1
        observed.may_build.set()
        await run.until(lambda progress: progress.state is ChannelState.FOLLOWING)
        assert await count_missing(observed) == 0
    await assert_stored(observed, TRUNK)


async def test_a_channel_near_the_head_has_its_indexes_before_its_first_block(
    observed: ObservedStore, client: Client
) -> None:
    observed.may_build.clear()
    async with (
        peer_of(TRUNK[:5]) as peer,
        indexing(observed, client.source(peer), index_policy=DEFERRED) as run,
    ):
        await run.until(lambda _: bool(observed.builds))
        assert run.progress.committed_height == 0
        observed.may_build.set()
        await run.until(lambda progress: progress.state is ChannelState.FOLLOWING)


async def killed_during_the_backfill(store: LedgerStore) -> None:
    """Leave a store with some blocks and no indexes."""

    class CrashingBuild(LedgerStore):
        async def build_indexes(self, indexes: IndexModels) -> None:
            raise CrashError

    crashing = CrashingBuild(store.database.client, store.database.name)
    with pytest.raises(CrashError):
        await index(crashing, EndingSource(TRUNK[:12]))
    assert await count_missing(store) == ALL


async def test_a_restart_far_behind_builds_only_what_ownership_needs(
    observed: ObservedStore, client: Client
) -> None:
    await killed_during_the_backfill(observed)
    async with (
        peer_of(TRUNK) as peer,
        indexing(observed, client.source(peer), index_policy=DEFERRED) as run,
    ):
        await run.until(lambda progress: progress.state is ChannelState.FOLLOWING)
    assert observed.builds[0] == {TRANSACTIONS: ["txId_1"]}
    assert len(observed.builds) == 2
    await assert_stored(observed, TRUNK)
    assert await count_missing(observed) == 0


async def test_a_restart_near_the_head_builds_everything_first(
    observed: ObservedStore, client: Client
) -> None:
    await killed_during_the_backfill(observed)
    async with (
        peer_of(TRUNK[:14]) as peer,
        indexing(observed, client.source(peer), index_policy=DEFERRED) as run,
    ):
        await run.until(lambda progress: progress.state is ChannelState.FOLLOWING)
    assert [set(names) for names in observed.builds] == [set(OPTIONS.models())]
    await assert_stored(observed, TRUNK[:14])


async def test_a_complete_store_keeps_its_indexes_however_far_behind_it_is(
    observed: ObservedStore,
) -> None:
    await observed.prepare()
    await index(observed, EndingSource(CHAIN))
    assert len(observed.builds) == 1, "only those of `prepare`"


async def test_a_stop_during_the_builds_does_not_wait_for_them(
    observed: ObservedStore, client: Client
) -> None:
    """The next start waits for the builds, which MongoDB continues, or begins them again."""
    observed.may_build.clear()
    source = EndingSource(TRUNK)
    run = RunningIndexer(observed, [source], index_policy=DEFERRED)
    await run.until(lambda progress: progress.state is ChannelState.BUILDING_INDEXES)
    run.indexer.stop()
    await asyncio.wait_for(run.task, WITHIN_S)
    observed.may_build.set()
    async with peer_of(TRUNK) as peer, indexing(observed, client.source(peer)) as again:
        await again.until(lambda progress: progress.state is ChannelState.FOLLOWING)
    assert await count_missing(observed) == 0


def valid_transaction(number: int) -> tuple[int, str]:
    """Return the position and the id of a VALID transaction of a block of the trunk."""
    block = decode_block(read_block(TRUNK[number]))
    claims = enumerate(zip(block.claims, block.codes, strict=True))
    index, tx_id = next((index, claim.tx_id) for index, (claim, code) in claims if code == VALID)
    return pack_position(number, index), tx_id


async def test_two_owners_of_an_id_are_found_by_the_build(
    mongo: MongoClient, mongo_uri: str, database_name: str, tmp_path: Path
) -> None:
    """Another writer has added a document, which no index refused."""
    surplus = pack_position(7000, 3)
    position, tx_id = valid_transaction(9)
    await mongo[database_name][TRANSACTIONS].insert_one({"_id": surplus, "txId": tx_id})
    folder = write_block_files(tmp_path, TRUNK)
    for _ in range(2):
        ended = await result(
            *("import", folder, "--database", database_name), KINDLEDGER_MONGO__URI=mongo_uri
        )
        assert ended.code == 65, ended.stderr
        message = ended.stderr.splitlines()[-1]
        assert f"transactions_ledger {surplus}: txId: the chain says {tx_id!r}" in message
        assert f"stored is the same id at position {position}." in message
    stored = await stored_documents(mongo[database_name])
    assert stored[TRANSACTIONS].pop(surplus)
    assert_equal_documents(stored, expected_documents(tuple(TRUNK)))


async def test_two_owners_of_an_id_stop_a_channel_that_follows_a_peer(
    observed: ObservedStore, client: Client
) -> None:
    _, tx_id = valid_transaction(9)
    surplus = {"_id": pack_position(7000, 3), "txId": tx_id}
    await observed.database[TRANSACTIONS].insert_one(surplus)
    async with peer_of(TRUNK) as peer:
        run = RunningIndexer(observed, [client.source(peer)], index_policy=DEFERRED)
        with pytest.raises(StoreConflictError, match="the same id at position"):
            await asyncio.wait_for(run.task, WITHIN_S)


async def test_a_daemon_and_an_import_defer_indexes_at_the_same_time(
    observed: ObservedStore, client: Client
) -> None:
    """Each builds what is missing; MongoDB lets one wait for the builds of the other."""
    other = LedgerStore(observed.database.client, observed.database.name)
    async with (
        peer_of(TRUNK) as peer,
        indexing(observed, client.source(peer), index_policy=DEFERRED) as run,
    ):
        await index(other, EndingSource(TRUNK))
        await run.until(lambda progress: progress.state is ChannelState.FOLLOWING)
    await assert_stored(observed, TRUNK)
    assert await count_missing(observed) == 0


class RestartingStore(LedgerStore):
    """A store whose MongoDB is killed, and started again, while it builds indexes."""

    kill: Callable[[], None]

    async def build_indexes(self, indexes: IndexModels) -> None:
        """Build; kill MongoDB during the first call."""
        building = asyncio.ensure_future(super().build_indexes(indexes))
        kill, self.kill = self.kill, lambda: None
        await asyncio.to_thread(kill)
        await building


async def test_the_builds_are_repeated_when_mongodb_restarts(tmp_path: Path) -> None:
    with Mongod(tmp_path / "mongo") as mongod:

        def restart() -> None:
            mongod.kill()
            mongod.start()

        async with AsyncMongoClient[dict[str, Any]](mongod.uri) as mongo:
            store = RestartingStore(mongo, "restarted")
            store.kill = restart
            await index(store, EndingSource(CHAIN))
            assert await count_missing(store) == 0
            assert_equal_documents(
                await stored_documents(store.database), expected_documents(CHAIN)
            )


async def test_the_log_tells_what_is_deferred_and_built(observed: ObservedStore) -> None:
    with capture_logs() as logs:
        await index(observed, EndingSource(CHAIN))
    events = {entry["event"]: entry for entry in logs}
    assert events["indexes_deferred"]["indexes"] == ALL
    assert f"{TRANSACTIONS}.txId_1" in events["indexes_building"]["indexes"]
    assert len(events["indexes_building"]["indexes"]) == ALL
    assert events["indexes_built"]["indexes"] == ALL
    assert events["indexes_built"]["seconds"] >= 0
