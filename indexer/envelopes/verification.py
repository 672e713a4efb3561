"""Verifies the signatures of creators and endorsers of all stored blocks, while the channel runs.

MongoDB does not have the envelopes' bytes, so a peer gives the blocks again: another peer than the
followed one, if there is one. What is verified is agreed, if several peers must give a block. The
verification waits while the channel is far behind or builds indexes. It goes on after the last
verdict; the blocks that this verdict names have the configuration and the definitions in force
there, and are read again.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Final, Protocol

from msgspec import Struct
from pymongo.errors import OperationFailure, PyMongoError

from indexer.envelopes.process import Verifier, VerifierEndedError
from indexer.envelopes.results import VerificationResults
from indexer.envelopes.session import VerifierSession, definition_blocks
from indexer.progress.channel_progress import ChannelProgress
from indexer.progress.envelope_progress import EnvelopeProgress
from indexer.sources.block_source import BlockSource, DeliveredBlock, SourceUnavailableError
from ledger.decoding.blocks import UndecodedBlock
from ledger.errors import LedgerError, StoreConflictError
from ledger.mongodb.certificates import CertificateStore
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.verdicts import UNAUTHORIZED, VerdictStore
from runtime.backoff import Backoff
from runtime.cancellation import raise_if_cancelled
from runtime.throttled_log import ThrottledLog

_NO_RIGHT: Final = (
    "MongoDB refuses the collection verdicts or certificates: run config/mongo-roles.js again. "
    "Until then the signatures of creators and endorsers are not verified, and everything else "
    "goes on"
)
_STORED_BLOCKS: Final = 200
"""The number of stored blocks that are read together."""
_MAX_PENDING_S: Final = 0.5
"""The time after which verdicts are written while blocks wait to be verified."""
_MAX_ERROR_CHARACTERS: Final = 1_000


class StartVerifier(Protocol):
    """Starts a verifier for the blocks from block 0 on, or from a later one."""

    def __call__(self, *, complete: bool) -> AbstractAsyncContextManager[Verifier]:
        """Yield the verifier."""


class VerificationTimings(Struct, frozen=True):
    """Limits and intervals of the verification; times are in seconds."""

    stall_s: float = 30.0
    """The time for which a block of a peer is waited for."""
    first_retry_s: float = 1.0
    last_retry_s: float = 60.0
    """The bounds of the delays between two attempts."""
    far_behind_blocks: int = 100
    """The number of missing blocks above which the indexing goes first."""


class EnvelopeVerification:
    """Verifies one channel's envelopes, and reports to `envelopes`.

    `anchor` is a CONFIG block below the start block that the operator trusts.
    """

    def __init__(
        self,
        store: LedgerStore,
        sources: Sequence[BlockSource],
        progress: ChannelProgress,
        envelopes: EnvelopeProgress,
        start_verifier: StartVerifier,
        *,
        verdicts: VerdictStore | None = None,
        certificates: CertificateStore | None = None,
        anchor: UndecodedBlock | None = None,
        timings: VerificationTimings = VerificationTimings(),  # noqa: B008 - frozen
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._results = VerificationResults(store, progress, envelopes, verdicts, certificates)
        self._sources, self._progress, self._envelopes = sources, progress, envelopes
        self._start_verifier, self._timings, self._clock = start_verifier, timings, clock
        self._anchor = anchor
        self._tried: set[str] = set()
        """The peers that were asked since the last verdict."""
        self._failures = ThrottledLog(
            "verification_held_up", "verification_goes_on", channel=progress.channel
        )

    async def run(self) -> None:
        """Verify until cancelled, with delays after errors."""
        await self._progress.wait_until_resumed()
        backoff = Backoff(self._timings.first_retry_s, self._timings.last_retry_s)
        while True:
            before = self._envelopes.resumed
            try:
                await self._results.resume()
                await self._until_due(self._results.next)
                await self._verify_from(self._choose())
            except StoreConflictError as error:
                self._record_failure(
                    f"verdicts or certificates do not belong to the stored blocks: {error}"
                )
            except OperationFailure as error:
                is_refused = error.code == UNAUTHORIZED
                self._record_failure(_NO_RIGHT if is_refused else str(error))
            except (LedgerError, PyMongoError, SourceUnavailableError) as error:
                self._record_failure(str(error))
            except (VerifierEndedError, TimeoutError, OSError) as error:
                self._record_failure(repr(error))
            raise_if_cancelled()
            if self._envelopes.resumed != before:
                backoff.reset()
            await asyncio.sleep(backoff.next_delay())

    def _record_failure(self, message: str) -> None:
        """Record what holds the verification up, if a block is due."""
        if self._envelopes.height is None or self._results.next < self._progress.agreed_height:
            message = message[:_MAX_ERROR_CHARACTERS]
            self._envelopes.record_error(message)
            self._failures.failed(error=message)
            self._progress.changed.set()

    async def _until_due(self, number: int) -> None:
        """Wait until a block is stored and agreed, and the indexing does not need the machine."""
        progress = self._progress
        while (
            progress.agreed_height <= number
            or progress.defers_indexes
            or progress.index_build is not None
            or progress.lag > self._timings.far_behind_blocks
        ):
            await progress.wait_for_change()

    def _choose(self) -> BlockSource:
        """Return the peer to ask: one that was not just tried, and is not followed if possible."""
        candidates = [source for source in self._sources if source.name not in self._tried]
        if not candidates:
            self._tried.clear()
            candidates = list(self._sources)
        source = min(candidates, key=lambda each: each.name == self._progress.peer)
        self._tried.add(source.name)
        return source

    async def _verify_from(self, source: BlockSource) -> None:
        """Verify block after block that a peer gives, until it fails."""
        complete = self._progress.start_block == 0
        async with self._start_verifier(complete=complete) as verifier:
            session = VerifierSession(self._store, source, verifier, self._timings.stall_s)
            anchor = await self._restore(session)
            await self._results.prepare()
            try:
                async with aclosing(source.blocks(self._results.next, None)) as blocks:
                    await self._verify_blocks(session, blocks, anchor)
            except SourceUnavailableError:
                await self._store_results(session)
                raise

    async def _verify_blocks(
        self,
        session: VerifierSession,
        blocks: AsyncGenerator[DeliveredBlock, None],
        anchor: int | None,
    ) -> None:
        """Verify blocks without end, and store the results."""
        number, began = self._results.next, self._clock()
        while True:
            await self._until_due(number)
            delivered = await session.next_block(blocks, number)
            following = range(number + 1, self._progress.agreed_height)[:_STORED_BLOCKS]
            stored, verified = await session.verify(delivered, following)
            self._results.add(stored, verified, anchor)
            number += 1
            is_late = self._clock() - began >= _MAX_PENDING_S
            if number >= self._progress.agreed_height or is_late or verified.changed_msps:
                await self._store_results(session, verified.changed_msps)
                began = self._clock()

    async def _store_results(
        self, session: VerifierSession, changed_msps: Sequence[str] = ()
    ) -> None:
        """Store the results that are not stored yet; see `VerificationResults.store`."""
        if await self._results.store(session.judge, changed_msps):
            self._tried.clear()
            self._failures.recovered()

    async def _restore(self, session: VerifierSession) -> int | None:
        """Bring the verifier to the state after the highest verdict; return the anchor's number.

        The anchor is only used where it is known to be the configuration in force.
        """
        last, start, anchor = self._results.last, self._progress.start_block, self._anchor
        config = last.config_block if last is not None else None
        if last is None and start and anchor is not None:
            config = await self._store.last_config(start)
        definitions = await definition_blocks(self._results.verdicts, last, start)
        if anchor is not None and config == anchor.number:
            await session.trust(anchor)
            await session.restore(None, definitions)
            return anchor.number
        is_stored = config is not None and config >= start
        await session.restore(config if is_stored else None, definitions)
        return None
