"""A daemon of one channel that compares its peers, for the tests of agreement."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from indexer.agreement.peer_comparison import ComparisonTimings
from indexer.agreement.peer_comparisons import PeerComparisons
from indexer.daemon import Daemon, DaemonChannel
from indexer.pipeline.channel_indexer import ChannelIndexer, PeerTimeouts
from indexer.progress.agreement import Agreement
from indexer.progress.channel_progress import ChannelProgress
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import PeerComparisonReport, PeerState
from tests.indexer.network import QUICK, WITHIN_S, Client, wait_until
from tests.indexer.support import CHANNEL, SMALL, new_progress

Peers: TypeAlias = Mapping[Any, str | None]
"""Peers, or their addresses, each with its organisation; None if that is not known."""

TIMINGS = ComparisonTimings(stall_s=1.0, first_retry_s=0.05, last_retry_s=0.2)


class ComparingDaemon:
    """A daemon that follows the first peer that works, and compares all of them.

    `peers` has the organisation of each peer, None if it is not known.
    """

    def __init__(
        self,
        store: LedgerStore,
        client: Client,
        peers: Peers,
        required: int,
        timeouts: PeerTimeouts = QUICK,
    ) -> None:
        sources = [client.source(peer) for peer in peers]
        names = [source.name for source in sources]
        organisations = dict(zip(names, peers.values(), strict=True))
        self.progress = new_progress(CHANNEL, Agreement(organisations, required))
        self.indexer = ChannelIndexer(
            store, sources, self.progress, limits=SMALL, timeouts=timeouts
        )
        self.comparisons = PeerComparisons(store.database, sources, self.progress, TIMINGS)
        channel = DaemonChannel(
            self.indexer, self.progress, store.database, comparisons=self.comparisons
        )
        self.daemon = Daemon([channel], "test")
        self.task = asyncio.create_task(self.daemon.run())

    async def until(self, condition: Callable[[ChannelProgress], bool]) -> None:
        """Wait for the condition; raise the error that stops the channel."""
        await wait_until(self.task, self.progress, condition)

    async def until_agreed(self, height: int) -> None:
        """Wait until exactly the blocks below `height` are agreed."""
        await self.until(lambda progress: progress.agreed_height == height)

    def peer(self, name: str) -> PeerComparisonReport:
        """Return how far the peer at an address agrees now."""
        return next(each for each in self.comparisons.reports() or () if each.name == name)

    async def until_peer(self, name: str, state: PeerState) -> PeerComparisonReport:
        """Wait until the comparison of a peer has a state."""
        await self.until(
            lambda progress: progress.agreement.resumed and self.peer(name).state is state
        )
        return self.peer(name)

    async def stop(self) -> None:
        """Stop the daemon in order."""
        self.daemon.stop()
        async with asyncio.timeout(WITHIN_S):
            await self.task


@asynccontextmanager
async def comparing(
    store: LedgerStore,
    client: Client,
    peers: Peers,
    required: int = 1,
    timeouts: PeerTimeouts = QUICK,
) -> AsyncIterator[ComparingDaemon]:
    """Run a daemon while the context lasts."""
    daemon = ComparingDaemon(store, client, peers, required, timeouts)
    try:
        yield daemon
    finally:
        daemon.task.cancel()
        await asyncio.gather(daemon.task, return_exceptions=True)
