"""A daemon of one channel that verifies envelopes, for the tests of verdicts."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from msgspec.structs import replace

from indexer.daemon import Daemon, DaemonChannel
from indexer.envelopes.messages import Reply, Request, answer
from indexer.envelopes.process import verifier_process
from indexer.envelopes.verification import (
    EnvelopeVerification,
    StartVerifier,
    VerificationTimings,
)
from indexer.envelopes.verifier import EnvelopeVerifier
from indexer.pipeline.block_signatures import BlockSignatures
from indexer.pipeline.channel_indexer import ChannelIndexer
from indexer.progress.agreement import Agreement
from indexer.progress.channel_progress import ChannelProgress
from indexer.progress.envelope_progress import EnvelopeProgress
from ledger.decoding.blocks import UndecodedBlock, read_block
from ledger.mongodb.certificates import CertificateStore
from ledger.mongodb.collections import VERDICTS
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.verdicts import VerdictStore
from tests.indexer.network import HEIGHT, QUICK, RECIPE, WITHIN_S, forged, wait_until
from tests.indexer.support import CHANNEL, SMALL, new_progress

SIGNED = forged(HEIGHT, replace(RECIPE, signed=True))
"""A signed chain with invalid and hostile envelopes."""
CODES = [read_block(data).codes for data in SIGNED]
SPLIT = 18
"""A height in the middle of the chain."""

TIMINGS = VerificationTimings(stall_s=5.0, first_retry_s=0.05, last_retry_s=0.2)


class VerifierHere:
    """A verifier in this process, which starts at once."""

    def __init__(self, *, complete: bool) -> None:
        self._verifier = EnvelopeVerifier(complete=complete)

    async def ask(self, request: Request) -> Reply:
        """Return the reply."""
        return answer(self._verifier, request)


@asynccontextmanager
async def verifier_here(*, complete: bool) -> AsyncIterator[VerifierHere]:
    """Yield a verifier in this process."""
    yield VerifierHere(complete=complete)


class VerifyingDaemon:
    """A daemon that follows the first source that works, and verifies envelopes."""

    def __init__(
        self,
        store: LedgerStore,
        sources: Sequence[Any],
        *,
        channel: str = CHANNEL,
        first: int = 0,
        required: int = 1,
        verdicts: VerdictStore | None = None,
        certificates: CertificateStore | None = None,
        start_verifier: StartVerifier = verifier_process,
        signatures: bool = True,
        anchor: UndecodedBlock | None = None,
    ) -> None:
        organisations = {source.name: f"Org{i}" for i, source in enumerate(sources)}
        self.progress = new_progress(channel, Agreement(organisations, required))
        self.progress.agreement.resume(self.progress.start_block, {})
        self.envelopes = EnvelopeProgress(self.progress._clock, self.progress._now)
        self.progress.envelopes = self.envelopes
        self.indexer = ChannelIndexer(
            store,
            sources,
            self.progress,
            first=first,
            limits=SMALL,
            timeouts=QUICK,
            signatures=BlockSignatures(self.progress) if signatures else None,
        )
        verification = EnvelopeVerification(
            store,
            sources,
            self.progress,
            self.envelopes,
            start_verifier,
            verdicts=verdicts,
            certificates=certificates,
            anchor=anchor,
            timings=TIMINGS,
        )
        self.verification = verification
        channel_parts = DaemonChannel(
            self.indexer, self.progress, store.database, background_tasks=(verification.run,)
        )
        self.daemon = Daemon([channel_parts], "test")
        self.task = asyncio.create_task(self.daemon.run())

    async def until(self, condition: Callable[[ChannelProgress], bool]) -> None:
        """Wait for the condition; raise the error that stops the channel."""
        await wait_until(self.task, self.progress, condition)

    async def until_verified(self, height: int) -> None:
        """Wait until every block below the height has a verdict."""
        await self.until(lambda _: (self.envelopes.height or 0) >= height)

    async def stop(self) -> None:
        """Stop the daemon in order."""
        self.daemon.stop()
        async with asyncio.timeout(WITHIN_S):
            await self.task


@asynccontextmanager
async def verifying(
    store: LedgerStore, *sources: Any, **options: Any
) -> AsyncIterator[VerifyingDaemon]:
    """Run a daemon while the context lasts."""
    daemon = VerifyingDaemon(store, sources, **options)
    try:
        yield daemon
    finally:
        daemon.task.cancel()
        await asyncio.gather(daemon.task, return_exceptions=True)


async def stored_verdicts(store: LedgerStore) -> list[dict[str, Any]]:
    """Return all documents of `verdicts`, by block."""
    return await store.database[VERDICTS].find().sort("_id", 1).to_list()
