"""The progress of one channel's indexing, which operators see in the status and the metrics."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from indexer.progress.agreement import Agreement
from indexer.progress.envelope_progress import EnvelopeProgress
from ledger.block_encoder import EncoderName
from ledger.mongodb.sync_state import ArchiveReport, ChannelState, IndexBuild, LastError, ScrubState
from ledger.position import BlockNumber, Height, height_above
from ledger.state_changes import Unchecked
from runtime.broadcast import Broadcast
from runtime.byte_queue import ByteQueue
from runtime.histogram import SECONDS, Histogram

_RATE_WINDOW_S: Final = 10.0
_LAG_RESOLUTION_S: Final = 0.01
"""Heights that become known within this time are kept as one, which limits their number."""

_MAX_RECONNECT_REASONS: Final = 30
_BATCH_TRANSACTIONS: Final = (1, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000)
_BATCH_BYTES: Final = tuple(4**power for power in range(6, 14))  # 4 KiB to 64 MiB


class Stage(StrEnum):
    """A step of the pipeline. Its duration includes retries while MongoDB is unavailable."""

    WAIT_FOR_BLOCKS = "wait_for_blocks"
    DECODE = "decode"
    OWNERS = "owners"
    ENCODE = "encode"
    WAIT_FOR_ROOM = "wait_for_room"  # in the queue of documents that wait to be written
    WRITE_DOCUMENTS = "write_documents"  # transactions and events
    WRITE_BLOCKS = "write_blocks"
    BUILD_INDEXES = "build_indexes"


class ErrorSource(StrEnum):
    """The origin of an error. `LEDGER` is a block or a stored document that is not valid."""

    PEER = "peer"
    MONGODB = "mongodb"
    LEDGER = "ledger"
    REDIS = "redis"
    ARCHIVE = "archive"


class ChannelProgress:
    """The progress of one channel. A height is a number of blocks: the highest number plus one."""

    unchecked_signatures = 0
    """The number of blocks whose orderers' signatures were not checked."""

    archive: ArchiveReport | None = None
    """The raw blocks that are kept; None if none are kept, or it is not known yet."""

    envelopes: EnvelopeProgress | None = None
    """The progress of the verification of envelopes; None if it is off."""

    def __init__(
        self,
        channel: str,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        agreement: Agreement | None = None,
    ) -> None:
        self.channel = channel
        self.agreement: Final = agreement or Agreement()
        """How far the channel's peers gave the same blocks."""
        self.state = ChannelState.STARTING
        self.peer: str | None = None
        self.encoder: EncoderName | None = None
        """The encoder of blocks that is used; None before the start."""
        self.start_block = BlockNumber(0)
        self.peer_height: Height | None = None
        self.seen_height = Height(0)
        """The height up to the highest block that was delivered."""
        self.committed_height = Height(0)
        self.delivered_bytes = 0
        self.blocks = 0
        self.transactions = 0
        self.events = 0
        self.undecodable = 0
        self.redelivered_blocks = 0
        self.unchecked_commit_hashes: Counter[str] = Counter(dict.fromkeys(Unchecked, 0))
        """The blocks whose commit hashes were not checked, by reason."""
        self.error: LastError | None = None
        self.defers_indexes = False
        """Whether indexes are missing, and will be built near the head."""
        self.index_build: IndexBuild | None = None
        """The indexes that are being built now."""
        self.scrub: ScrubState | None = None
        """The progress of the scrub; None before its first step."""
        self.started_at = now()
        self.state_since = self.started_at
        self.resumed = False
        """Whether the stored part of the ledger has been read."""
        self.committed_at: datetime | None = None
        self.errors: Counter[str] = Counter(dict.fromkeys(ErrorSource, 0))
        self.reconnects: Counter[str] = Counter()
        """How often a connection to a peer ended, or could not be made, by reason."""
        self.queues: Mapping[str, ByteQueue[Any]] = {}
        self.stages: dict[str, Histogram] = {stage: Histogram(SECONDS) for stage in Stage}
        self.batch_transactions = Histogram(_BATCH_TRANSACTIONS)
        self.batch_bytes = Histogram(_BATCH_BYTES)
        self.changed = asyncio.Event()
        """Set after each change; the task that waits for the next change clears it."""
        self._clock, self._now = clock, now
        self._samples: deque[tuple[float, int, int]] = deque([(clock(), 0, 0)])
        """Time, transactions and blocks at each commit within the rate window."""
        self._missing: deque[tuple[float, int]] = deque()
        """Heights above the committed one, each with the time when it became known."""
        self._changes = Broadcast()
        self._agreed_height = Height(0)
        self._agreed_at = clock()

    def resume(self, start: BlockNumber, height: Height) -> None:
        """Set the start block and the height that the store has when indexing begins."""
        self.start_block, self.seen_height, self.committed_height = start, height, height
        self.resumed = True
        self.announce_agreement()

    def record_peer_height(self, height: Height) -> None:
        """Record the height that a peer reports."""
        if self.peer_height is not None and height < self.peer_height:
            self._missing.clear()  # another peer, which has fewer blocks
        self.peer_height = height
        self._update_missing()
        self.changed.set()

    def record_delivery(self, number: BlockNumber, size: int) -> None:
        """Record that a block of `size` bytes was delivered."""
        height = height_above(number)
        self.seen_height = max(self.seen_height, height)
        if self.peer_height is not None:
            self.peer_height = max(self.peer_height, height)
        self.delivered_bytes += size
        self._update_missing()

    def _update_missing(self) -> None:
        """Add the highest known height to the missing ones, if it is new.

        A height that becomes known just after another one replaces it, and keeps its time.
        """
        known_height = max(self.peer_height or 0, self.seen_height)
        if known_height <= (self._missing[-1][1] if self._missing else self.committed_height):
            return
        known_since = self._clock()
        if self._missing and known_since - self._missing[-1][0] < _LAG_RESOLUTION_S:
            known_since, _ = self._missing.pop()
        self._missing.append((known_since, known_height))

    def record_commit(
        self, height: Height, blocks: int, transactions: int, events: int, undecodable: int
    ) -> None:
        """Record that a batch of blocks was stored, up to this height."""
        self.committed_height = height
        self.announce_agreement()
        self.blocks += blocks
        self.transactions += transactions
        self.events += events
        self.undecodable += undecodable
        self.batch_transactions.observe(transactions)
        self.committed_at = self._now()
        while self._missing and self._missing[0][1] <= height:
            self._missing.popleft()
        now = self._clock()
        self._samples.append((now, self.transactions, self.blocks))
        while len(self._samples) > 2 and self._samples[0][0] < now - _RATE_WINDOW_S:
            self._samples.popleft()
        self.set_working_state()

    def record_scrub(self, state: ScrubState) -> None:
        """Record the progress of the scrub."""
        self.scrub = state
        self.changed.set()

    def record_index_build(self, build: IndexBuild | None) -> None:
        """Record the progress of a build of indexes; None when it has ended."""
        self.index_build = build
        if build is None and not self.resumed:
            self.set_state(ChannelState.STARTING)
        elif build is not None or self.state is ChannelState.BUILDING_INDEXES:
            self.set_working_state()

    def all_indexes_exist(self) -> None:
        """Record that no index is missing."""
        self.defers_indexes = False
        if self.state is ChannelState.CATCHING_UP:
            self.set_working_state()

    async def wait_for_change(self) -> None:
        """Wait for the next commit, or the next change of the state."""
        await self._changes.wait()

    async def wait_for_height(self, height: int) -> None:
        """Wait until the committed height is at least `height`."""
        while self.committed_height < height:
            await self._changes.wait()

    async def wait_until_resumed(self) -> None:
        """Wait until the stored part of the ledger has been read."""
        while not self.resumed:
            await self._changes.wait()

    async def wait_for_agreed_height(self, height: int) -> None:
        """Wait until every block below `height` is agreed."""
        while self.agreed_height < height:
            await self._changes.wait()

    async def wait_until_caught_up(self) -> None:
        """Wait until the channel has caught up with its peer."""
        while not self.caught_up:
            await self._changes.wait()

    def announce_agreement(self) -> None:
        """Announce that blocks were stored, or that a comparison of peers has gone on."""
        if self.agreed_height != self._agreed_height or self.agreed_height == self.committed_height:
            self._agreed_height, self._agreed_at = self.agreed_height, self._clock()
        self._announce_change()

    @property
    def agreed_height(self) -> Height:
        """The height below which every block is agreed; see `indexer.progress.agreement`."""
        return self.agreement.height(self.committed_height)

    @property
    def agreement_delay_s(self) -> float:
        """The seconds without progress of the agreement; 0 if all stored blocks are agreed."""
        behind = self.agreed_height < self.committed_height
        return self._clock() - self._agreed_at if behind else 0.0

    def _announce_change(self) -> None:
        self._changes.announce()
        self.changed.set()

    @property
    def caught_up(self) -> bool:
        """Whether the channel follows a peer of known height, and has stored all of its blocks."""
        return (
            self.state is ChannelState.FOLLOWING and self.peer_height is not None and self.lag == 0
        )

    @property
    def lag(self) -> int:
        """The number of blocks that the peer has and the store has not, as far as known."""
        return max(self.peer_height or 0, self.seen_height) - self.committed_height

    @property
    def lag_s(self) -> float:
        """The seconds since the oldest missing block became known; 0 if none is missing."""
        return self._clock() - self._missing[0][0] if self._missing and self.lag else 0.0

    @property
    def rate(self) -> float:
        """The transactions that were committed per second over the last ten seconds."""
        since, transactions, _ = self._samples[0]
        return self._per_second(self.transactions - transactions, since)

    @property
    def time_left_s(self) -> float | None:
        """The seconds until the store has the peer's present height, at the recent rate of commits.

        None if the height or the rate is not known.
        """
        since, _, blocks = self._samples[0]
        rate = self._per_second(self.blocks - blocks, since)
        if self.peer_height is None or (self.lag and not rate):
            return None
        return self.lag / rate if self.lag else 0.0

    def _per_second(self, count: int, since: float) -> float:
        """Return the rate since the oldest sample; 0 if nothing was committed for long."""
        elapsed = self._clock() - since
        return count / elapsed if 0 < elapsed < 3 * _RATE_WINDOW_S else 0.0

    def timed(self, stage: Stage) -> AbstractContextManager[None]:
        """Record how long the stage takes for a chunk or a batch."""
        return self.stages[stage].timed(self._clock)

    def record_reconnect(self, reason: str) -> None:
        """Count a connection to a peer that ended, or could not be made, by reason.

        Peers can invent any number of reasons. Those beyond a limit are counted as "other".
        """
        counted = reason in self.reconnects or len(self.reconnects) < _MAX_RECONNECT_REASONS
        self.reconnects[reason if counted else "other"] += 1

    def set_working_state(self) -> None:
        """Set the state of a channel whose servers respond.

        A channel follows its peer only when it has all blocks and all indexes.
        """
        if self.index_build is not None:
            self.set_state(ChannelState.BUILDING_INDEXES)
        elif self.lag or self.defers_indexes:
            self.set_state(ChannelState.CATCHING_UP)
        else:
            self.set_state(ChannelState.FOLLOWING)

    def set_state(self, state: ChannelState) -> None:
        """Set the state of the channel."""
        if state is not self.state:
            self.state, self.state_since = state, self._now()
        self._announce_change()

    def record_error(self, message: str, state: ChannelState, source: ErrorSource) -> None:
        """Record an error that blocks the channel, and the state that it causes."""
        self.error = LastError(self._now(), message)
        self.errors[source] += 1
        self.set_state(state)
