"""Compares the stored blocks of a channel with those of all its peers."""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec
import structlog
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from indexer.agreement.peer_comparison import ComparisonTimings, IdentitySource, PeerComparison
from indexer.progress.agreement import DivergenceError
from indexer.progress.channel_progress import ChannelProgress
from ledger.documents.format import Document
from ledger.mongodb.sync_state import PeerComparisonReport, read_sync_state
from runtime.backoff import Backoff
from runtime.cancellation import raise_if_cancelled

log = structlog.get_logger()


class PeerComparisons:
    """Compares one channel with its peers, and reports how far each of them agrees."""

    def __init__(
        self,
        database: AsyncDatabase[Document],
        peers: Sequence[IdentitySource],
        progress: ChannelProgress,
        timings: ComparisonTimings = ComparisonTimings(),  # noqa: B008 - frozen
    ) -> None:
        self._database, self._progress, self._timings = database, progress, timings
        self._peers = [PeerComparison(database, peer, progress, timings) for peer in peers]

    async def run(self) -> None:
        """Compare until cancelled. Raises `DivergenceError` when a peer gives another block."""
        await self._resume()
        async with asyncio.TaskGroup() as group:
            for peer in self._peers:
                group.create_task(peer.run())

    async def locate(self, number: int) -> DivergenceError | None:
        """Ask each peer for block `number`; return the first block in which one of them differs.

        Return None if none differs, or can be asked.
        """
        for peer in self._peers:
            found = await peer.locate(number)
            if found is not None:
                return found
        return None

    def reports(self) -> list[PeerComparisonReport] | None:
        """Return the state of each peer; None until it is known what was compared earlier."""
        if not self._progress.agreement.resumed:
            return None
        return [peer.report() for peer in self._peers]

    async def _resume(self) -> None:
        """Read from `sync_state` up to which height each peer was compared."""
        await self._progress.wait_until_resumed()
        backoff = Backoff(self._timings.first_retry_s, self._timings.last_retry_s)
        while True:
            try:
                state = await read_sync_state(self._database)
                break
            except PyMongoError as error:
                log.debug("comparisons_not_read", error=str(error))
            except msgspec.ValidationError:  # a newer version wrote it: compare from the start
                state = None
                break
            raise_if_cancelled()
            await asyncio.sleep(backoff.next_delay())
        peers = state.peers if state is not None else None
        compared = {peer.name: peer.agreed_height for peer in peers or ()}
        differed_at = state.disputed_at if state is not None else None
        self._progress.agreement.resume(self._progress.start_block, compared, differed_at)
        self._progress.announce_agreement()


def warn_of_unknown(organisations: Mapping[str, str | None], channel: str) -> None:
    """Log the peers whose organisation is not known, since they count as one organisation."""
    unknown = [peer for peer, organisation in organisations.items() if organisation is None]
    if unknown and len(organisations) > 1:
        log.warning("peer_organisation_unknown", channel=channel, peers=unknown)
