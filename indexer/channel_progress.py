"""What a channel's pipeline has reached, for operators: read by the status writer, the command line and the API."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from indexer.byte_queue import ByteQueue
from ledger.mongodb.sync_state import ChannelState, LastError
from runtime.broadcast import Broadcast
from runtime.histogram import SECONDS, Histogram

_RATE_WINDOW_S = 10.0
_AGE_RESOLUTION_S = 0.01
_MOST_REASONS = 30
_BATCH_TRANSACTIONS: Final = (1, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000)
_BATCH_BYTES: Final = tuple(4**power for power in range(6, 14))  # 4 KiB to 64 MiB


class Stage(StrEnum):
    """What is done with blocks, chunk by chunk, then batch by batch. Retries while MongoDB is away are included."""

    DECODE = "decode"
    OWNERS = "owners"
    ENCODE = "encode"
    WRITE_TRANSACTIONS = "write_transactions"
    WRITE_EVENTS = "write_events"
    WRITE_BLOCKS = "write_blocks"


class ErrorSource(StrEnum):
    """Where an error comes from."""

    PEER = "peer"
    MONGODB = "mongodb"
    LEDGER = "ledger"  # a block or a stored document is not as it must be
    REDIS = "redis"


class ChannelProgress:
    """One channel's figures. A height is the number of blocks: the highest number plus one."""

    def __init__(
        self, channel: str, clock: Callable[[], float], now: Callable[[], datetime]
    ) -> None:
        self.channel = channel
        self.state = ChannelState.STARTING
        self.peer: str | None = None
        self.start_block = 0
        self.peer_height: int | None = None
        self.seen_height = 0
        self.committed_height = 0
        self.delivered_bytes = 0
        self.blocks = 0
        self.transactions = 0
        self.events = 0
        self.undecodable = 0
        self.redelivered_blocks = 0
        self.error: LastError | None = None
        self.started_at = now()
        self.state_since = self.started_at
        self.resumed = False
        """Whether the channel has been taken up where the store stands."""
        self.committed_at: datetime | None = None
        self.errors: Counter[str] = Counter(dict.fromkeys(ErrorSource, 0))
        self.reconnects: Counter[str] = Counter()
        """How often a connection to a peer ended, or could not be made, by reason."""
        self.queues: Mapping[str, ByteQueue[Any]] = {}
        self.stages: dict[str, Histogram] = {stage: Histogram(SECONDS) for stage in Stage}
        self.batch_transactions = Histogram(_BATCH_TRANSACTIONS)
        self.batch_bytes = Histogram(_BATCH_BYTES)
        self.changed = asyncio.Event()
        self._clock, self._now = clock, now
        self._samples: deque[tuple[float, int, int]] = deque(
            [(clock(), 0, 0)]
        )  # when, transactions, blocks
        self._missing: deque[tuple[float, int]] = (
            deque()
        )  # since when which height above the committed one is known
        self._commits = Broadcast()

    def resume(self, start: int, height: int) -> None:
        """Sets what the store already holds."""
        self.start_block, self.seen_height, self.committed_height = start, height, height
        self.resumed = True
        self._notify()

    def record_peer_height(self, height: int) -> None:
        """A peer said how many blocks it has."""
        if self.peer_height is not None and height < self.peer_height:
            self._missing.clear()  # another peer, which has less
        self.peer_height = height
        self._note_missing()
        self.changed.set()

    def record_delivery(self, number: int, size: int) -> None:
        """A block was delivered."""
        self.seen_height = max(self.seen_height, number + 1)
        if self.peer_height is not None:
            self.peer_height = max(self.peer_height, number + 1)
        self.delivered_bytes += size
        self._note_missing()

    def _note_missing(self) -> None:
        known = max(self.peer_height or 0, self.seen_height)
        if known <= (self._missing[-1][1] if self._missing else self.committed_height):
            return
        now = self._clock()
        if self._missing and now - self._missing[-1][0] < _AGE_RESOLUTION_S:
            now, _ = self._missing.pop()
        self._missing.append((now, known))

    def record_commit(
        self, height: int, blocks: int, transactions: int, events: int, undecodable: int
    ) -> None:
        """A batch of blocks became durable."""
        self.committed_height = height
        self._notify()
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
        self.set_state(ChannelState.CATCHING_UP if self.lag else ChannelState.FOLLOWING)

    async def wait_for_height(self, height: int) -> None:
        """Wait until so many blocks are committed."""
        while self.committed_height < height:
            await self._commits.wait()

    def _notify(self) -> None:
        self._commits.announce()
        self.changed.set()

    @property
    def caught_up(self) -> bool:
        """Whether a peer is followed that told its height, and the store has every block of it."""
        return (
            self.state is ChannelState.FOLLOWING and self.peer_height is not None and self.lag == 0
        )

    @property
    def lag(self) -> int:
        """Blocks that the peer has and the store has not, as far as known."""
        return max(self.peer_height or 0, self.seen_height) - self.committed_height

    @property
    def lag_s(self) -> float:
        """Age of what is missing: seconds since the oldest block that the store has not was known; 0 if none is."""
        return self._clock() - self._missing[0][0] if self._missing and self.lag else 0.0

    @property
    def rate(self) -> float:
        """Transactions committed a second, over the last ten seconds."""
        then, transactions, _ = self._samples[0]
        return self._per_second(self.transactions - transactions, then)

    @property
    def time_left_s(self) -> float | None:
        """Seconds until the store has what the peer has now, if it goes on as in the last ten; None if unknown."""
        then, _, blocks = self._samples[0]
        rate = self._per_second(self.blocks - blocks, then)
        if self.peer_height is None or (self.lag and not rate):
            return None
        return self.lag / rate if self.lag else 0.0

    def _per_second(self, count: int, then: float) -> float:
        elapsed = self._clock() - then
        return count / elapsed if elapsed > 0 and elapsed < 3 * _RATE_WINDOW_S else 0.0

    def timed(self, stage: Stage) -> AbstractContextManager[None]:
        """Counts how long the stage takes for a chunk or a batch."""
        return self.stages[stage].timed(self._clock)

    def record_reconnect(self, reason: str) -> None:
        """A connection to a peer ended, or could not be made. Peers may think of reasons: all too many become one."""
        known = reason in self.reconnects or len(self.reconnects) < _MOST_REASONS
        self.reconnects[reason if known else "other"] += 1

    def set_state(self, state: ChannelState) -> None:
        """Changes what the daemon is doing about the channel."""
        if state is not self.state:
            self.state, self.state_since = state, self._now()
        self.changed.set()

    def record_error(self, message: str, state: ChannelState, source: ErrorSource) -> None:
        """Notes the error that holds the channel up."""
        self.error = LastError(self._now(), message)
        self.errors[source] += 1
        self.set_state(state)
