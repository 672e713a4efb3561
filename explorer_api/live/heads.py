"""Where a channel stands: read now and then, and when news come; not by every request."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from hashlib import sha256
from typing import Final

import msgspec
import pymongo
from msgspec import Struct

from ledger.documents.format import Document
from ledger.mongodb.reader import LedgerReader
from ledger.mongodb.sync_state import SyncState
from runtime.cancellation import raise_if_cancelled

_READ_S: Final = 4.0
"""Others wait meanwhile."""
_PAUSE_S: Final = 0.02
"""However fast news come."""


class HeadSnapshot(Struct, frozen=True):
    """Where a channel stood when that was read: the head is the highest block that may be shown.

    `version` names what of the ledger may be shown, in every process: equal for equal chains and heads. `chain` tells
    chains of the same name apart, in this process: a database can be dropped and indexed anew, even from the same first
    block. `read_at` is monotonic.
    """

    head: Document | None
    first: Document | None
    sync: SyncState | None
    read_at: float
    version: str
    chain: str
    headers: dict[str, str]
    """Tell how fresh an answer is. What is stored a peer had: without other news that is the peer's height."""

    @property
    def height(self) -> int:
        """The number of blocks from 0 on: the head's number plus one."""
        return int(self.head["number"]) + 1 if self.head is not None else 0

    @property
    def peer_height(self) -> int | None:
        """The highest height that a peer is known to have, at least our own; None if no peer was asked yet."""
        if self.sync is None or self.sync.peer_height is None:
            return None
        return max(self.sync.peer_height, self.height)

    @property
    def lag_blocks(self) -> int | None:
        """Blocks that the peer has and the store has not."""
        return self.peer_height - self.height if self.peer_height is not None else None


class HeadWatch:
    """Knows the snapshot of one channel, at most `max_age_s` old."""

    def __init__(
        self, reader: LedgerReader, max_age_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reader, self._max_age_s, self._clock = reader, max_age_s, clock
        self._lock = asyncio.Lock()
        self._news = asyncio.Event()
        self._moved: asyncio.Future[None] | None = None
        self._chains = 0
        self._gone = False
        self.latest: HeadSnapshot | None = None
        """As it was last read, whenever that was."""

    def current(self) -> HeadSnapshot | None:
        """What is known, if it is not too old."""
        known = self.latest
        return (
            known
            if known is not None and self._clock() - known.read_at <= self._max_age_s
            else None
        )

    async def fresh(self) -> HeadSnapshot:
        """The snapshot, not too old. Raises `PyMongoError` where it must be read and cannot."""
        return self.current() or await self._read(self._clock() - self._max_age_s)

    async def read_now(self) -> HeadSnapshot:
        """The snapshot, read after this call began."""
        return await self._read(self._clock())

    async def _read(self, since: float) -> HeadSnapshot:
        """Whoever asks while another one reads waits, and takes what that one found if it is new enough."""
        async with self._lock:
            known, now = self.latest, self._clock()
            if known is not None and known.read_at >= since:
                return known
            with pymongo.timeout(_READ_S):
                sync = await self._sync_state()
                first = await self._reader.lowest_block()
                head = await self._reader.head()
                if head is not None and not await self._continues(known, head):
                    self._chains += 1
            snapshot = _snapshot(head, first, sync, now, self._chains)
            self.latest = None if self._gone else snapshot
        if known is None or known.version != snapshot.version:
            self._tell()
        return snapshot

    async def _sync_state(self) -> SyncState | None:
        """None too for what a newer daemon reports and this program cannot read: nothing is decided from it."""
        try:
            return await self._reader.sync_state()
        except msgspec.ValidationError:
            return None

    async def _continues(self, known: HeadSnapshot | None, head: Document) -> bool:
        """Whether the chain with that head has the block that was the head."""
        if known is None or known.head is None or known.height > head["number"] + 1:
            return False
        number = known.head["number"]
        block = head if number == head["number"] else await self._reader.block(number)
        return block is not None and block["blockHash"] == known.head["blockHash"]

    def _tell(self) -> None:
        if self._moved is not None and not self._moved.done():
            self._moved.set_result(None)
        self._moved = None

    async def moves(self, beyond: HeadSnapshot) -> HeadSnapshot:
        """Waits for a snapshot of another version. Somebody must `follow` meanwhile."""
        while self.latest is None or self.latest.version == beyond.version:
            if self._moved is None:
                self._moved = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._moved)
        return self.latest

    def wake(self) -> None:
        """News came: a new head."""
        self._news.set()

    def forget(self) -> None:
        """The channel is gone, for ever: nothing is known any more, and nothing holds that was kept for it."""
        self._gone, self.latest = True, None

    async def follow(self, contact: Callable[[], AbstractContextManager[None]]) -> None:
        """Reads twice in the longest age, and when there are news; until cancelled.

        Each time inside `contact`, which ends it before a request that waits for it gives up, and logs an outage.
        """
        while True:
            self._news.clear()
            with suppress(Exception), contact():
                await self.read_now()
            raise_if_cancelled()
            await asyncio.sleep(_PAUSE_S)
            try:
                async with asyncio.timeout(max(self._max_age_s / 2, 0.05)):
                    await self._news.wait()
            except TimeoutError:
                continue


def _snapshot(
    head: Document | None, first: Document | None, sync: SyncState | None, now: float, chains: int
) -> HeadSnapshot:
    chain = version = ""
    if head is None or first is None:  # dropped between the two
        head = first = None
    else:
        chain = f"{block_name(first)}.{chains}"
        version = f"{block_name(first)}.{block_name(head)}"
    snapshot = HeadSnapshot(head, first, sync, now, version, chain, {})
    peer_height = snapshot.peer_height if snapshot.peer_height is not None else snapshot.height
    snapshot.headers.update(
        {"Ledger-Height": str(snapshot.height), "Ledger-Peer-Height": str(peer_height)}
    )
    return snapshot


def block_name(block: Document) -> str:
    """Tells a stored block, and by its hash all before it, from any other."""
    return sha256(f"{block['number']} {block['blockHash']} {block['format']}".encode()).hexdigest()[
        :16
    ]
