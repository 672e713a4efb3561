"""The head of each channel, read at intervals and after notifications, not for each request."""

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
from ledger.position import BlockNumber, highest_block_below
from runtime.broadcast import Broadcast
from runtime.cancellation import raise_if_cancelled

MAX_SILENCE_S: Final = 60.0
"""A daemon that has not reported for longer counts as not running."""

_READ_LIMIT_S: Final = 4.0
_MIN_READ_INTERVAL_S: Final = 0.02
_MIN_POLL_INTERVAL_S: Final = 0.05


class HeadSnapshot(Struct, frozen=True):
    """The head of a channel and its daemon's report, as they were read at one time.

    The head is the highest block that may be shown. `version` identifies the chain up to the head
    and is equal in all processes. `chain` identifies the chain in this process: a database can be
    dropped and indexed again, even from an equal first block. `read_at` is on the monotonic clock.
    """

    head: Document | None
    first: Document | None
    sync: SyncState | None
    read_at: float
    version: str
    chain: str
    headers: dict[str, str]
    """The response headers with the height, and the peer's height. Without a report by the daemon
    the peer's height is the height: a peer had every stored block."""

    @property
    def height(self) -> int:
        """The number of the head plus one, 0 without a head."""
        return int(self.head["number"]) + 1 if self.head is not None else 0

    @property
    def last(self) -> BlockNumber:
        """The highest block that may be shown, -1 if there is none."""
        return highest_block_below(self.height)

    @property
    def agreed_height(self) -> int:
        """The height below which the required number of peers gave every block."""
        return self.sync.agreed_below(self.height) if self.sync is not None else self.height

    @property
    def verified_height(self) -> int | None:
        """The height below which every block has a verdict; None if the daemon verifies none."""
        if self.sync is None or self.sync.verified_height is None:
            return None
        return min(self.sync.verified_height, self.height)

    @property
    def contradictions(self) -> int:
        """The transactions whose validation codes contradict their signatures."""
        envelopes = self.sync.envelopes if self.sync is not None else None
        return envelopes.contradictions if envelopes is not None else 0

    @property
    def final_height(self) -> int:
        """The height below which nothing more will become known about blocks."""
        return self.sync.final_below(self.height) if self.sync is not None else self.height

    @property
    def content_version(self) -> str:
        """Identifies what responses say of the chain up to the head, in all processes.

        While the last blocks are not agreed or not verified, these heights belong to it.
        """
        agreed, final = self.agreed_height, self.final_height
        if final == self.height:
            return self.version
        return f"{self.version}.{agreed}" if final == agreed else f"{self.version}.{agreed}.{final}"

    @property
    def peer_height(self) -> int | None:
        """The highest known height of a peer, at least our own; None if no peer was asked yet."""
        if self.sync is None or self.sync.peer_height is None:
            return None
        return max(self.sync.peer_height, self.height)

    @property
    def lag_blocks(self) -> int | None:
        """The number of blocks that the peer has and the store does not have yet."""
        return self.peer_height - self.height if self.peer_height is not None else None


class HeadWatch:
    """Holds a snapshot of one channel's head that is at most `max_age_s` old."""

    def __init__(
        self, reader: LedgerReader, max_age_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reader, self._max_age_s, self._clock = reader, max_age_s, clock
        self._lock = asyncio.Lock()
        self._notified = asyncio.Event()
        self._changes = Broadcast()
        self._chains = 0
        self._channel_is_gone = False
        self.latest: HeadSnapshot | None = None
        """The last snapshot that was read, of any age."""

    def current(self) -> HeadSnapshot | None:
        """Return the latest snapshot if it is not too old."""
        latest = self.latest
        if latest is not None and self._clock() - latest.read_at <= self._max_age_s:
            return latest
        return None

    async def recent(self) -> HeadSnapshot:
        """Return a snapshot that is not too old. Raises `PyMongoError` if it cannot be read."""
        return self.current() or await self._read(self._clock() - self._max_age_s)

    async def read_now(self) -> HeadSnapshot:
        """Return a snapshot that was read after this call began."""
        return await self._read(self._clock())

    async def _read(self, since: float) -> HeadSnapshot:
        """Read a snapshot, unless a concurrent call has read one at `since` or later."""
        async with self._lock:
            latest, now = self.latest, self._clock()
            if latest is not None and latest.read_at >= since:
                return latest
            with pymongo.timeout(_READ_LIMIT_S):
                sync = await self._read_sync_state()
                first = await self._reader.lowest_block()
                head = await self._reader.head()
                if head is not None and not await self._continues(latest, head):
                    self._chains += 1
                    self._reader.required_indexes.forget()
            snapshot = _create_snapshot(head, first, sync, now, self._chains)
            self.latest = None if self._channel_is_gone else snapshot
        if latest is None or latest.version != snapshot.version:
            self._changes.announce()
        return snapshot

    async def _read_sync_state(self) -> SyncState | None:
        """Return the daemon's report; None also if a newer version wrote it in an unknown form."""
        try:
            return await self._reader.sync_state()
        except msgspec.ValidationError:
            return None

    async def _continues(self, latest: HeadSnapshot | None, head: Document) -> bool:
        """Return whether the chain of that head contains the latest snapshot's head."""
        if latest is None or latest.head is None or latest.height > head["number"] + 1:
            return False
        number = latest.head["number"]
        block = head if number == head["number"] else await self._reader.block(number)
        return block is not None and block["blockHash"] == latest.head["blockHash"]

    async def wait_for_change(self, snapshot: HeadSnapshot) -> HeadSnapshot:
        """Wait for, and return, a snapshot of another version. `follow` must run meanwhile."""
        while self.latest is None or self.latest.version == snapshot.version:
            await self._changes.wait()
        return self.latest

    def wake(self) -> None:
        """Read the head soon: a notification says that there is a new one."""
        self._notified.set()

    def forget(self) -> None:
        """Drop the snapshot and hold no other one: the channel's database is gone.

        Responses that were cached for the channel become invalid.
        """
        self._channel_is_gone, self.latest = True, None

    async def follow(self, probe: Callable[[], AbstractContextManager[None]]) -> None:
        """Read the head twice within the maximal age, and after notifications; until cancelled.

        Each read runs inside `probe`, which limits its time and logs outages.
        """
        while True:
            self._notified.clear()
            with suppress(Exception), probe():
                await self.read_now()
            raise_if_cancelled()
            await asyncio.sleep(_MIN_READ_INTERVAL_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(self._max_age_s / 2, _MIN_POLL_INTERVAL_S)):
                    await self._notified.wait()


def _create_snapshot(
    head: Document | None, first: Document | None, sync: SyncState | None, now: float, chains: int
) -> HeadSnapshot:
    chain = version = ""
    if head is None or first is None:  # one is None if the database is dropped between both reads
        head = first = None
    else:
        chain = f"{block_id(first)}.{chains}"
        version = f"{block_id(first)}.{block_id(head)}"
    snapshot = HeadSnapshot(head, first, sync, now, version, chain, {})
    peer_height = snapshot.peer_height if snapshot.peer_height is not None else snapshot.height
    snapshot.headers["Ledger-Height"] = str(snapshot.height)
    snapshot.headers["Ledger-Peer-Height"] = str(peer_height)
    return snapshot


def block_id(block: Document) -> str:
    """Return an identifier of the stored block and of all earlier blocks: its hash covers them."""
    identity = f"{block['number']} {block['blockHash']} {block['format']}"
    return sha256(identity.encode()).hexdigest()[:16]
