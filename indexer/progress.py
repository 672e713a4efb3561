"""What a channel's pipeline has reached, for operators: read by the status writer, the command line and the API."""

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import datetime

from ledger.sync_state import LastError, State

_RATE_WINDOW_S = 10.0


class Progress:
    """One channel's figures. A height is the number of blocks: the highest number plus one."""

    def __init__(self, channel: str, clock: Callable[[], float], now: Callable[[], datetime]) -> None:
        self.channel = channel
        self.state = State.STARTING
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
        self.known_blocks = 0
        self.error: LastError | None = None
        self.started_at = now()
        self.changed = asyncio.Event()
        self._clock, self._now = clock, now
        self._samples: deque[tuple[float, int]] = deque([(clock(), 0)])
        self._waiting: list[asyncio.Future[None]] = []

    def resume(self, start: int, height: int) -> None:
        """Sets what the store already holds."""
        self.start_block, self.seen_height, self.committed_height = start, height, height
        self._notify()

    def saw_peer_height(self, height: int) -> None:
        """A peer said how many blocks it has."""
        self.peer_height = height
        self.changed.set()

    def saw(self, number: int, size: int) -> None:
        """A block was delivered."""
        self.seen_height = max(self.seen_height, number + 1)
        if self.peer_height is not None:
            self.peer_height = max(self.peer_height, number + 1)
        self.delivered_bytes += size

    def committed(self, height: int, blocks: int, transactions: int, events: int, undecodable: int) -> None:
        """A batch of blocks became durable."""
        self.committed_height = height
        self._notify()
        self.blocks += blocks
        self.transactions += transactions
        self.events += events
        self.undecodable += undecodable
        now = self._clock()
        self._samples.append((now, self.transactions))
        while len(self._samples) > 2 and self._samples[0][0] < now - _RATE_WINDOW_S:
            self._samples.popleft()
        self.set_state(State.CATCHING_UP if self.lag else State.FOLLOWING)

    async def reaches(self, height: int) -> None:
        """Waits until so many blocks are committed."""
        while self.committed_height < height:
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future

    def _notify(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
        self.changed.set()

    @property
    def caught_up(self) -> bool:
        """Whether a peer is followed that told its height, and the store has every block of it."""
        return self.state is State.FOLLOWING and self.peer_height is not None and self.lag == 0

    @property
    def lag(self) -> int:
        """Blocks that the peer has and the store has not, as far as known."""
        return max(self.peer_height or 0, self.seen_height) - self.committed_height

    @property
    def rate(self) -> float:
        """Transactions committed a second, over the last ten seconds."""
        then, before = self._samples[0]
        elapsed = self._clock() - then
        return (self.transactions - before) / elapsed if elapsed > 0 and elapsed < 3 * _RATE_WINDOW_S else 0.0

    def set_state(self, state: State) -> None:
        """Changes what the daemon is doing about the channel."""
        self.state = state
        self.changed.set()

    def failed(self, message: str, state: State) -> None:
        """Notes the error that holds the channel up."""
        self.error = LastError(self._now(), message)
        self.set_state(state)
