"""Daemons with one or several channels, and their end."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from devnet.peer import Ledger, Peer
from devnet.peer.faults import from_block, substitute
from indexer.daemon import Daemon
from indexer.pipeline.channel_indexer import PeerTimeouts
from ledger.errors import ChainMismatchError
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ChannelState, SyncState, read_sync_state
from tests.indexer.network import (
    BRANCH,
    FORK,
    HEIGHT,
    MUTUAL_TLS,
    ORGANISATIONS,
    OTHER,
    OTHER_CHANNEL,
    TRUNK,
    WITHIN_S,
    Client,
    assert_stored,
    daemon_channel,
    fill,
    peer_of,
    wait_until,
)
from tests.indexer.processes import configuration, result
from tests.indexer.support import CHANNEL

STOPS_WITHIN_S = 9.0
"""Less than the ten seconds after which the daemon forces the end."""


@pytest.fixture
async def other_store(
    mongo: AsyncMongoClient[dict[str, Any]], database_name: str
) -> AsyncIterator[LedgerStore]:
    """The store of a second channel."""
    store = LedgerStore(mongo, f"{database_name}_other")
    await store.prepare()
    yield store
    await mongo.drop_database(store.database.name)


@pytest.mark.parametrize("idle_s", [0.0, 2.5])
async def test_a_daemon_stops_within_seconds(
    mongo_uri: str, database_name: str, client: Client, idle_s: float
) -> None:
    """The daemon is stopped as it indexes, and after a time without blocks.

    In the second case it writes its status as it stops.

    The client has a socket timeout as in the command: with it, PyMongo waits with
    `asyncio.wait_for`, see `raise_if_cancelled`.
    """
    async with (
        AsyncMongoClient[dict[str, Any]](mongo_uri, tz_aware=True, socketTimeoutMS=30_000) as mongo,
        peer_of(TRUNK) as peer,
    ):
        following = daemon_channel(
            LedgerStore(mongo, database_name), client.source(peer), timeouts=PeerTimeouts()
        )
        daemon = Daemon([following], "test")
        running = asyncio.create_task(daemon.run())
        try:
            await wait_until(
                running, following.progress, lambda progress: progress.committed_height == HEIGHT
            )
            await asyncio.sleep(idle_s)
            daemon.stop()
            await asyncio.wait_for(asyncio.shield(running), STOPS_WITHIN_S)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        state = await state_of(LedgerStore(mongo, database_name))
        assert (state.state, state.committed_height) == (ChannelState.STOPPED, HEIGHT)


async def state_of(store: LedgerStore) -> SyncState:
    """Return the stored status."""
    state = await read_sync_state(store.database)
    assert state is not None
    return state


async def test_a_channel_that_fails_does_not_stop_the_others(
    store: LedgerStore, other_store: LedgerStore, client: Client
) -> None:
    """Both channels come from one peer; one of them is forked."""
    other = Ledger(OTHER[:10])
    ledgers = {CHANNEL: Ledger(TRUNK), OTHER_CHANNEL: other}
    fork = {CHANNEL: [substitute(from_block(FORK + 1), Ledger(BRANCH))]}
    async with (
        Peer(ledgers, tls=MUTUAL_TLS, organisations=ORGANISATIONS, faults=fork) as peer,
        asyncio.timeout(WITHIN_S),
    ):
        failing = daemon_channel(store, client.source(peer))
        working = daemon_channel(
            other_store, client.source(peer, OTHER_CHANNEL), channel=OTHER_CHANNEL
        )
        daemon = Daemon([failing, working], "test")
        running = asyncio.create_task(daemon.run())
        try:
            await wait_until(
                running, failing.progress, lambda progress: progress.state is ChannelState.FAILED
            )
            for block in OTHER[10:]:
                other.append(block)
            await wait_until(
                running, working.progress, lambda progress: progress.committed_height == HEIGHT
            )
        finally:
            daemon.stop()
        await running
    await assert_stored(store, TRUNK[: FORK + 1])
    await assert_stored(other_store, OTHER)
    failed, stopped = await state_of(store), await state_of(other_store)
    assert (failed.channel, failed.state, failed.committed_height) == (
        CHANNEL,
        ChannelState.FAILED,
        FORK + 1,
    )
    assert failed.error is not None
    assert f"block {FORK + 1}: previous_hash: expected " in failed.error.message
    assert (stopped.channel, stopped.state, stopped.committed_height) == (
        OTHER_CHANNEL,
        ChannelState.STOPPED,
        HEIGHT,
    )
    assert (stopped.peer, stopped.error) == (peer.address, None)


async def test_the_daemon_ends_when_every_channel_has_failed(
    store: LedgerStore, other_store: LedgerStore, client: Client
) -> None:
    swapped = {CHANNEL: Ledger(OTHER), OTHER_CHANNEL: Ledger(TRUNK)}
    async with (
        Peer(swapped, tls=MUTUAL_TLS, organisations=ORGANISATIONS) as peer,
        asyncio.timeout(WITHIN_S),
    ):
        stores = {CHANNEL: store, OTHER_CHANNEL: other_store}
        channels = [
            daemon_channel(each, client.source(peer, channel), channel=channel)
            for channel, each in stores.items()
        ]
        with pytest.raises(
            ChainMismatchError, match="block 0: channel_id: expected 'bystander', got 'kindledger'"
        ):
            await Daemon(channels, "test").run()
    for each in (store, other_store):
        await assert_stored(each, [])
        assert (await state_of(each)).state is ChannelState.FAILED


async def test_the_exit_code_says_whether_a_restart_helps(
    mongo_uri: str, store: LedgerStore, client: Client, tmp_path: Path
) -> None:
    await fill(store, client, TRUNK[:20])
    async with peer_of(BRANCH) as peer:
        file = configuration(
            tmp_path / "kindledger.toml",
            mongo_uri,
            store.database.name,
            client,
            peer,
            peer_retry_s=1,
        )
        forked = await result("--config", file, "run")
        await peer.stop()
        alone = await result("--config", file, "run")
    assert forked.code == 65
    assert f"kindledger: block {FORK}: header hash: the stored block" in forked.stderr
    assert alone.code == 75
    assert (
        f"kindledger: no peer of channel kindledger could be followed: {peer.address}: UNAVAILABLE"
        in alone.stderr
    )
    await assert_stored(store, TRUNK[:20])
