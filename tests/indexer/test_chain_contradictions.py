"""Peers whose chain is not, or not yet, the stored chain."""

import asyncio
from collections.abc import Callable

import pytest

from devnet.peer import Ledger, Peer
from devnet.peer.faults import (
    at,
    tamper,
)
from ledger.errors import ChainMismatchError
from ledger.mongodb.collections import BLOCKS
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ChannelState
from protos.common_pb2 import TRANSACTIONS_FILTER, Block
from tests.indexer.network import (
    BRANCH,
    HEIGHT,
    REBUILT,
    TRUNK,
    WITHIN_S,
    Client,
    RunningIndexer,
    assert_stored,
    channel_error,
    error_message,
    fill,
    indexing,
    peer_of,
)
from tests.indexer.support import (
    assert_equal_documents,
    expected_documents,
    stored_documents,
)

HEAD = 20
"""The height of the stored chain."""


def with_another_code(serialized: bytes) -> bytes:
    """Return the block with another validation code for its first transaction."""
    block = Block.FromString(serialized)
    codes = block.metadata.metadata[TRANSACTIONS_FILTER]
    block.metadata.metadata[TRANSACTIONS_FILTER] = bytes((codes[0] ^ 1,)) + codes[1:]
    return block.SerializeToString()


CONTRADICTIONS: dict[str, tuple[Callable[[], Peer], int, str]] = {
    "a fork": (lambda: peer_of(BRANCH), HEAD - 1, "hash"),
    "a fork of the same height": (lambda: peer_of(BRANCH[:HEAD]), HEAD - 1, "hash"),
    "a shorter fork": (lambda: peer_of(BRANCH[: HEAD - 2]), HEAD - 3, "hash"),
    "a channel created again": (lambda: peer_of(REBUILT), HEAD - 1, "hash"),
    "a shorter channel created again": (lambda: peer_of(REBUILT[:4]), 3, "hash"),
    "other validation codes": (
        lambda: peer_of(TRUNK, tamper(at(HEAD - 1), with_another_code)),
        HEAD - 1,
        "validation codes",
    ),
}


@pytest.mark.parametrize(
    ("contradicting", "block", "field"), CONTRADICTIONS.values(), ids=CONTRADICTIONS
)
async def test_a_peer_that_contradicts_the_stored_chain_stops_the_channel(
    store: LedgerStore, client: Client, contradicting: Callable[[], Peer], block: int, field: str
) -> None:
    """The indexer compares the chains when it starts."""
    await fill(store, client, TRUNK[:HEAD])
    async with contradicting() as peer:
        error = await channel_error(store, client.source(peer))
    assert isinstance(error, ChainMismatchError)
    assert f"block {block}: {field}: expected " in str(error)
    assert "different chains" in str(error)
    await assert_stored(store, TRUNK[:HEAD])


@pytest.mark.parametrize(
    ("contradicting", "block", "field"), CONTRADICTIONS.values(), ids=CONTRADICTIONS
)
async def test_a_second_peer_that_contradicts_the_first_stops_the_channel(
    store: LedgerStore, client: Client, contradicting: Callable[[], Peer], block: int, field: str
) -> None:
    """The indexer compares the chains again when it reconnects."""
    first = peer_of(TRUNK[:HEAD])
    async with first, contradicting() as second, asyncio.timeout(WITHIN_S):
        run = RunningIndexer(store, [client.source(first), client.source(second)])
        await run.wait_for_height(HEAD)
        await first.stop()
        with pytest.raises(ChainMismatchError, match=f"block {block}: {field}: expected "):
            await run.task
    await assert_stored(store, TRUNK[:HEAD])


async def test_the_indexer_waits_for_a_peer_that_is_behind(
    store: LedgerStore, client: Client
) -> None:
    """The peer has the same chain, but fewer blocks than are stored."""
    await fill(store, client, TRUNK[:HEAD])
    ledger = Ledger(TRUNK[:10])
    async with peer_of(ledger) as peer, indexing(store, client.source(peer)) as run:
        await run.wait_until_waiting(
            f"{peer.address} has 10 blocks, but block {HEAD} is needed: waiting for it"
        )
        assert (run.progress.peer_height, run.progress.committed_height) == (10, HEAD)
        for block in TRUNK[10:HEAD]:
            ledger.append(block)
        await run.until(lambda progress: progress.state is ChannelState.FOLLOWING)
        assert run.progress.blocks == 0
        for block in TRUNK[HEAD:]:
            ledger.append(block)
        await run.wait_for_height(HEIGHT)
    await assert_stored(store, TRUNK)


async def test_a_peer_from_a_snapshot_serves_a_store_that_begins_there(
    store: LedgerStore, client: Client
) -> None:
    """The indexer is restarted without the option of the first block."""
    async with peer_of(Ledger(TRUNK).part(first=11)) as peer:
        async with indexing(store, client.source(peer), first=11) as run:
            await run.wait_for_height(HEIGHT)
        async with indexing(store, client.source(peer)) as run:
            await run.until(lambda progress: progress.state is ChannelState.FOLLOWING)
            assert (run.progress.start_block, run.progress.redelivered_blocks) == (11, 1)
    stored = await stored_documents(store.database)
    assert_equal_documents(stored, expected_documents(TRUNK[11:]))


async def test_a_peer_from_a_snapshot_cannot_fill_an_empty_store(
    store: LedgerStore, client: Client
) -> None:
    """The error says why; when another peer has the blocks, the channel continues."""
    ledger = Ledger(TRUNK)
    async with peer_of(ledger.part(first=11)) as young, peer_of(ledger) as old:
        await old.stop()
        async with indexing(store, client.source(young), client.source(old)) as run:
            await run.wait_until_waiting(
                f"{young.address} has no block 0 of channel kindledger: it joined"
            )
            assert "start_block" in error_message(run.progress)
            assert await store.database[BLOCKS].count_documents({}) == 0
            await old.start()
            await run.wait_for_height(HEIGHT)
    await assert_stored(store, TRUNK)
