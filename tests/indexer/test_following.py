"""An indexer follows peers over gRPC: live blocks, restarts on both sides, several peers."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import grpc
import pytest

from devnet.peer import Ledger, Peer
from devnet.peer.faults import abort, at, delay, once, send_status
from indexer.pipeline.channel_indexer import PeerTimeouts
from indexer.sources.block_source import DeliveredBlock
from indexer.sources.peer_source import PeerSource
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ChannelState
from protos.common_pb2 import SERVICE_UNAVAILABLE
from tests.indexer.crashing import CrashError
from tests.indexer.network import (
    HEIGHT,
    MUTUAL_TLS,
    ORGANISATIONS,
    OTHER,
    OTHER_CHANNEL,
    TRUNK,
    WITHIN_S,
    Client,
    RunningIndexer,
    assert_stored,
    fill,
    indexing,
    peer_of,
)
from tests.indexer.support import (
    CHANNEL,
    assert_whole_prefix,
    delete_all_documents,
    expected_documents,
    stored_documents,
)


async def test_live_blocks_arrive_one_by_one(store: LedgerStore, client: Client) -> None:
    ledger = Ledger(TRUNK[:20])
    async with peer_of(ledger) as peer, indexing(store, client.source(peer)) as run:
        await run.wait_for_height(20)
        for number in range(20, HEIGHT):
            ledger.append(TRUNK[number])
            await run.wait_for_height(number + 1)
        await run.until(lambda progress: progress.state is ChannelState.FOLLOWING)
        assert (run.progress.lag, run.progress.peer, run.progress.error) == (0, peer.address, None)
    await assert_stored(store, TRUNK)


async def test_a_restarted_indexer_continues_after_the_last_stored_block(
    store: LedgerStore, client: Client
) -> None:
    ledger = Ledger(TRUNK[:12])
    async with peer_of(ledger) as peer:
        async with indexing(store, client.source(peer)) as run:
            await run.wait_for_height(12)
        for block in TRUNK[12:]:
            ledger.append(block)
        async with indexing(store, client.source(peer)) as run:
            await run.wait_for_height(HEIGHT)
            assert run.progress.blocks == HEIGHT - 12, "nothing is stored twice"
            assert run.progress.redelivered_blocks == 1, "the head, to compare the chains"
    await assert_stored(store, TRUNK)


async def test_a_peer_that_restarts_is_followed_again(store: LedgerStore, client: Client) -> None:
    """It sends GOAWAY and ends streams in the middle of the chain, and when all is delivered."""
    ledger = Ledger(TRUNK[:20])
    peer = peer_of(ledger, delay(lambda _: True, 0.01))
    await peer.start()
    async with indexing(store, client.source(peer)) as run:
        await run.wait_for_height(5)
        for height, grace in ((20, None), (25, 0.05), (HEIGHT, 0.0)):
            await peer.stop(grace)
            for number in range(ledger.height, height):
                ledger.append(TRUNK[number])
            await run.wait_until_waiting(peer.address)
            await peer.start()
            await run.wait_for_height(height)
        await run.until(lambda progress: progress.state is ChannelState.FOLLOWING)
    await peer.stop()
    await assert_stored(store, TRUNK)


async def test_the_retry_budget_begins_at_the_last_contact(
    store: LedgerStore, client: Client
) -> None:
    """A stream that breaks after a longer time than the budget is replaced."""
    faults = delay(lambda _: True, 0.1), abort(once(at(25)), grpc.StatusCode.UNAVAILABLE)
    short_budget = PeerTimeouts(poll_s=30, stall_s=30, peer_retry_s=2)
    async with (
        peer_of(TRUNK, *faults) as peer,
        indexing(store, client.source(peer), timeouts=short_budget) as run,
    ):
        await run.wait_for_height(HEIGHT)
    await assert_stored(store, TRUNK)


UNUSABLE: dict[str, tuple[Callable[[], Peer], str]] = {
    "forbidden": (
        lambda: Peer(
            {CHANNEL: Ledger(TRUNK)},
            tls=MUTUAL_TLS,
            organisations={"Org2MSP": ORGANISATIONS["Org2MSP"]},
        ),
        "no read right on the channel",
    ),
    "behind": (lambda: peer_of(TRUNK[:8]), "has 8 blocks"),
    "not on the channel": (
        lambda: peer_of(OTHER, channel=OTHER_CHANNEL),
        "the peer has not joined kindledger",
    ),
    "from a snapshot": (lambda: peer_of(Ledger(TRUNK).part(first=20)), "no block 11"),
    "unavailable": (
        lambda: peer_of(TRUNK, send_status(at(HEIGHT - 1), SERVICE_UNAVAILABLE)),
        "status 503",
    ),
}


@pytest.mark.parametrize(("first", "complaint"), UNUSABLE.values(), ids=UNUSABLE)
async def test_the_next_peer_is_used_when_one_fails(
    store: LedgerStore, client: Client, first: Callable[[], Peer], complaint: str
) -> None:
    await fill(store, client, TRUNK[:12])
    async with (
        first() as unusable,
        peer_of(TRUNK) as good,
        indexing(store, client.source(unusable), client.source(good)) as run,
    ):
        await run.wait_until_waiting(complaint)
        await run.wait_for_height(HEIGHT)
        assert run.progress.peer == good.address
    await assert_stored(store, TRUNK)


async def test_the_peer_that_runs_is_followed(store: LedgerStore, client: Client) -> None:
    """While no peer runs, all are tried in turn until one runs again."""
    ledger = Ledger(TRUNK[:10])
    peers = [peer_of(ledger), peer_of(ledger)]
    for peer in peers:
        await peer.start()
        await peer.stop()
    async with indexing(store, *(client.source(peer) for peer in peers)) as run:
        await run.wait_until_waiting("Connection refused")
        for turn, height in enumerate((10, 15, 20, 25, HEIGHT)):
            for number in range(ledger.height, height):
                ledger.append(TRUNK[number])
            await peers[turn % 2].start()
            await run.wait_for_height(height)
            assert run.progress.peer == peers[turn % 2].address
            await peers[turn % 2].stop()
    await assert_stored(store, TRUNK)


class CrashingSource:
    """A peer that crashes the process at one of its calls: for its height, a stream, or a block."""

    finite, seeks = False, True

    def __init__(self, source: PeerSource, crash_at: int, moment: str) -> None:
        self.name = source.name
        self._source, self._crash_at, self._moment = source, crash_at, moment
        self._calls = 0

    def _crash_at_call(self, moment: str) -> None:
        self._calls += moment == "before"
        if (self._calls, self._moment) == (self._crash_at, moment):
            raise CrashError

    async def newest(self) -> DeliveredBlock:
        """Crash, or request the height."""
        self._crash_at_call("before")
        newest = await self._source.newest()
        self._crash_at_call("after")
        return newest

    async def blocks(self, start: int, tip: int | None) -> AsyncGenerator[DeliveredBlock, None]:
        """Crash, or deliver."""
        async with aclosing(self._source.blocks(start, tip)) as blocks:
            while True:
                self._crash_at_call("before")
                delivered = await anext(blocks)
                self._crash_at_call("after")
                yield delivered


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_crash_at_any_call_of_the_source_leaves_complete_blocks(
    store: LedgerStore, client: Client, moment: str
) -> None:
    """The committed blocks are complete, and the next process stores the rest."""
    chain = TRUNK[:12]
    async with peer_of(chain) as peer:
        for call in range(1, len(chain) + 2):
            run = RunningIndexer(store, [CrashingSource(client.source(peer), call, moment)])
            with pytest.raises(CrashError):
                await asyncio.wait_for(run.task, WITHIN_S)
            assert_whole_prefix(await stored_documents(store.database), expected_documents(chain))
            async with indexing(store, client.source(peer)) as completing:
                await completing.wait_for_height(len(chain))
            await assert_stored(store, chain)
            await delete_all_documents(store)
