"""Compares the stored blocks of a channel with the blocks of one peer, while the channel runs.

The peer is asked for headers without envelopes, on one stream, from the height up to which it was
compared; a peer before Fabric 3.0 sends whole blocks instead. A comparison is never ahead of the
stored blocks. A peer that is down, behind or sends rubbish delays only its own comparison.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Final, Protocol

from msgspec import Struct
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from indexer.progress.agreement import DivergenceError, FieldDifference, difference
from indexer.progress.channel_progress import ChannelProgress
from indexer.sources.block_source import SourceUnavailableError
from ledger.decoding.block_identities import BlockIdentity
from ledger.documents.format import Document
from ledger.errors import LedgerError
from ledger.mongodb.block_identities import stored_identities
from ledger.mongodb.sync_state import LastError, PeerComparisonReport, PeerState
from ledger.position import BlockNumber, Height, height_above
from runtime.backoff import Backoff
from runtime.cancellation import raise_if_cancelled
from runtime.throttled_log import ThrottledLog

_STORED_BLOCKS: Final = 200
"""The number of stored blocks that are read together."""
_MAX_ERROR_CHARACTERS: Final = 1_000
"""The length of an error in the report: peers can send any text."""


class IdentitySource(Protocol):
    """A peer that gives the identities of one channel's blocks."""

    @property
    def name(self) -> str:
        """The peer's address."""

    def identities(
        self, first: int, last: int | None = None
    ) -> AsyncGenerator[BlockIdentity, None]:
        """Yield the identities from `first` on, up to `last` or without end.

        Raises `SourceUnavailableError` when the peer fails, and `CorruptBlockError` for bytes that
        are no block.
        """

    async def newest_identity(self) -> BlockIdentity:
        """Return the identity of the peer's highest block. Raises the same errors."""


class ComparisonTimings(Struct, frozen=True):
    """Intervals and time limits of comparisons, in seconds."""

    stall_s: float = 30.0
    """The time without an answer after which a peer is asked again, while blocks are missing."""
    first_retry_s: float = 1.0
    last_retry_s: float = 60.0
    """The bounds of the delays between two attempts."""


class PeerComparison:
    """Compares one peer, from the height on that the channel's agreement has for it."""

    def __init__(
        self,
        database: AsyncDatabase[Document],
        source: IdentitySource,
        progress: ChannelProgress,
        timings: ComparisonTimings,
    ) -> None:
        self._database, self._source, self._progress = database, source, progress
        self._agreement, self._timings = progress.agreement, timings
        self._organisation = self._agreement.organisations.get(source.name)
        self._peer_height: Height | None = None
        self._contact_at: datetime | None = None
        self._error: LastError | None = None
        self._differs = False
        self._stored: deque[BlockIdentity] = deque()
        self._failures = ThrottledLog(
            "comparison_held_up", "comparison_goes_on", channel=progress.channel
        )

    @property
    def name(self) -> str:
        """The peer's address."""
        return self._source.name

    @property
    def _height(self) -> Height:
        """The height below which the peer gave every stored block."""
        return self._agreement.height_of(self._source.name, self._progress.committed_height)

    @property
    def _delivers_everything(self) -> bool:
        """Whether the blocks come from this peer, and it gave every stored one."""
        return (
            self._progress.peer == self._source.name
            and self._height == self._progress.committed_height
        )

    def report(self) -> PeerComparisonReport:
        """Return how far the peer agrees, and what holds the comparison up."""
        followed = self._progress.peer == self._source.name
        return PeerComparisonReport(
            name=self._source.name,
            organisation=self._organisation,
            state=self._state(),
            height=self._progress.peer_height if followed else self._peer_height,
            agreed_height=self._height,
            error=self._error,
            contact_at=self._progress.committed_at if followed else self._contact_at,
        )

    def _state(self) -> PeerState:
        if self._differs:
            return PeerState.DIFFERS
        if self._height == self._progress.committed_height and self._height:
            return PeerState.AGREES
        if self._error is not None:
            return PeerState.UNAVAILABLE
        if self._peer_height is not None and self._peer_height <= self._height:
            return PeerState.BEHIND
        return PeerState.COMPARING

    async def run(self) -> None:
        """Compare until cancelled, with delays after errors. Raises `DivergenceError`."""
        backoff = Backoff(self._timings.first_retry_s, self._timings.last_retry_s)
        while True:
            while self._delivers_everything or not self._progress.committed_height:
                await self._progress.wait_for_change()
            before = self._height
            try:
                await self._compare()
            except DivergenceError:
                raise
            except (SourceUnavailableError, LedgerError, PyMongoError, TimeoutError) as error:
                raise_if_cancelled()
                self._record_failure(error)
            if self._height > before:
                backoff.reset()
            await asyncio.sleep(backoff.next_delay())

    async def locate(self, number: int) -> DivergenceError | None:
        """Return the first block that differs, if the peer's block `number` does."""
        try:
            async with asyncio.timeout(self._timings.stall_s):
                given = await self._block_of_peer(number)
            await self._check(given, known_equal=False)
        except DivergenceError as error:
            return error
        except (SourceUnavailableError, LedgerError, PyMongoError, TimeoutError):
            raise_if_cancelled()
        return None

    def _record_failure(self, error: Exception) -> None:
        message = str(error) or f"no answer within {self._timings.stall_s:.0f} s"
        if isinstance(error, SourceUnavailableError) and error.reason == "behind":
            self._error = None
        else:
            message = message[:_MAX_ERROR_CHARACTERS]
            self._error = LastError(datetime.now(UTC), message)
        self._failures.failed(error=message[:_MAX_ERROR_CHARACTERS], peer=self._source.name)
        self._progress.announce_agreement()

    async def _compare(self) -> None:
        """Compare block after block, from the last equal one on."""
        self._stored.clear()
        async with asyncio.timeout(self._timings.stall_s):
            newest = await self._source.newest_identity()
        self._peer_height = None  # it may have fewer blocks than before
        self._note_contact(newest)
        first = max(self._height - 1, self._progress.start_block)
        if newest.number < first:
            await self._check(newest, known_equal=False)
            raise SourceUnavailableError(
                "behind", f"{self._source.name} has only {newest.number + 1} blocks by now"
            )
        expected = first
        async with aclosing(self._source.identities(first)) as identities:
            while not self._delivers_everything:
                identity = await self._next(identities, expected)
                self._note_contact(identity)
                if identity.number != expected:
                    raise SourceUnavailableError(
                        "protocol",
                        f"{self._source.name} sent block {identity.number} instead of {expected}",
                    )
                await self._progress.wait_for_height(expected + 1)
                await self._check(identity, known_equal=expected > first)
                expected += 1
                self._agreement.record_equal(self._source.name, expected)
                if expected > first + 1 or self._height == self._progress.committed_height:
                    self._failures.recovered()
                    self._error = None
                self._progress.announce_agreement()

    async def _next(
        self, identities: AsyncGenerator[BlockIdentity, None], expected: int
    ) -> BlockIdentity:
        """Return the next block. Raises `SourceUnavailableError` if it should be there by now."""
        waiting = asyncio.ensure_future(anext(identities, None))
        try:
            while True:
                done, _ = await asyncio.wait((waiting,), timeout=self._timings.stall_s)
                if done:
                    break
                if expected < self._progress.committed_height:
                    has_it = (self._peer_height or 0) > expected
                    raise SourceUnavailableError(
                        "stalled" if has_it else "behind",
                        f"{self._source.name} gave no block {expected} within "
                        f"{self._timings.stall_s:.0f} s",
                    )
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        identity = waiting.result()
        if identity is None:
            raise SourceUnavailableError("ended", f"{self._source.name} ended the stream of blocks")
        return identity

    async def _check(self, given: BlockIdentity, *, known_equal: bool) -> None:
        """Raise `DivergenceError` if the peer's block differs from the stored one.

        `known_equal`: whether the block before was just found equal, so that this is the first one
        that differs. Else the first one is searched for.
        """
        found = difference(await self._stored_block(given.number), given)
        if found is None:
            return
        number = given.number
        if not known_equal:
            number, found = await self._first_difference(given.number, found)
        self._differs = True
        self._agreement.diverged_at = BlockNumber(number)
        stored_from = self._other_peer(number)
        raise DivergenceError(number, found, stored_from, self._describe(self._source.name))

    async def _first_difference(
        self, number: int, found: FieldDifference
    ) -> tuple[int, FieldDifference]:
        """Return the first block that differs, by a binary search: hashes cover all lower blocks.

        If the peer fails meanwhile, return the lowest block that is known to differ.
        """
        low = int(self._progress.start_block)
        try:
            while low < number:
                middle = (low + number) // 2
                async with asyncio.timeout(self._timings.stall_s):
                    given = await self._block_of_peer(middle)
                self._stored.clear()
                differs = difference(await self._stored_block(middle), given)
                if differs is None:
                    low = middle + 1
                else:
                    number, found = middle, differs
        except (SourceUnavailableError, LedgerError, PyMongoError, TimeoutError):
            raise_if_cancelled()
        return number, found

    async def _block_of_peer(self, number: int) -> BlockIdentity:
        async with aclosing(self._source.identities(number, number)) as identities:
            async for identity in identities:
                if identity.number == number:
                    return identity
        raise SourceUnavailableError("protocol", f"{self._source.name} gives no block {number}")

    async def _stored_block(self, number: int) -> BlockIdentity:
        """Return a stored block; those that follow it are read with it."""
        while self._stored and self._stored[0].number < number:
            self._stored.popleft()
        if not self._stored or self._stored[0].number != number:
            self._stored = deque(
                await stored_identities(
                    self._database,
                    BlockNumber(number),
                    self._progress.committed_height,
                    _STORED_BLOCKS,
                )
            )
            raise_if_cancelled()
        if not self._stored:
            raise SourceUnavailableError(
                "store", f"block {number} is missing in the store: run `kindledger verify`"
            )
        return self._stored[0]

    def _note_contact(self, identity: BlockIdentity) -> None:
        self._contact_at = datetime.now(UTC)
        self._peer_height = max(height_above(identity.number), self._peer_height or Height(0))

    def _other_peer(self, number: int) -> str:
        """Return the peers that gave the stored block, as far as they are known."""
        committed = self._progress.committed_height
        givers = self._agreement.givers(number, committed)
        others = [self._describe(peer) for peer in givers if peer != self._source.name]
        if others:
            return " and ".join(others)
        if givers:
            return "the stored block, which the same peer gave earlier,"
        return "the stored block, whose peer is not known,"

    def _describe(self, peer: str) -> str:
        organisation = self._agreement.organisations.get(peer)
        return f"{peer} ({organisation or 'organisation not known'})"
