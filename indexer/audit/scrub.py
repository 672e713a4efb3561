"""Checks the stored ledger again and again while the daemon runs, at a low rate.

`kindledger verify` finds changed documents when somebody runs it. The scrub finds them by itself:
it computes the digests of all blocks from the first to the last, waits, and begins again. It
compares the documents with each other and with their digests, not with a peer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import datetime
from typing import Final

import msgspec
import structlog
from msgspec import Struct
from pymongo.errors import PyMongoError

from indexer.audit.consistency import ConsistencyChecks, DifferenceKind
from indexer.progress.channel_progress import ChannelProgress
from ledger.mongodb.block_range import lowest_block_number
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ScrubPass, ScrubState, read_sync_state
from ledger.mongodb.verification_queries import (
    StoredBlockDocuments,
    stored_block,
    stored_documents_by_block,
)
from ledger.position import BlockNumber, Height
from runtime.cancellation import raise_if_cancelled
from runtime.throttled_log import ThrottledLog

log = structlog.get_logger()

_STEP_DOCUMENTS: Final = 1000
"""The number of documents after which the scrub pauses, as far as whole blocks allow."""
_MAX_STEP_BLOCKS: Final = 1000
_RETRY_S: Final = 10.0
_MAX_LOGGED: Final = 100
"""The number of differences of one pass that are logged one by one."""


class ScrubRate(Struct, frozen=True):
    """How fast the scrub is; it is off with 0 documents per second."""

    documents_per_s: float = 200.0
    pause_s: float = 3600.0
    """The time between two passes over the ledger."""


class Scrub:
    """Scrubs the ledger of one channel, and reports to `progress`."""

    def __init__(
        self,
        store: LedgerStore,
        progress: ChannelProgress,
        rate: ScrubRate,
        now: Callable[[], datetime],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store, self._progress, self._rate = store, progress, rate
        self._now, self._sleep = now, sleep
        self._last_pass: ScrubPass | None = None
        self._differences = 0
        self._failures = ThrottledLog("scrub_failed", "scrub_recovered", channel=progress.channel)

    async def run(self) -> None:
        """Scrub until cancelled, when the channel has caught up; return at once if it is off."""
        if not self._rate.documents_per_s:
            return
        await self._progress.wait_until_caught_up()
        began, first = await self._interrupted_pass()
        while True:
            await self._pass(began, first)
            await self._sleep(self._rate.pause_s)
            self._differences = 0
            began, first = self._now(), self._progress.start_block

    async def _interrupted_pass(self) -> tuple[datetime, BlockNumber]:
        """Return the time at which a pass began, and the block where it goes on.

        It goes on where the daemon was stopped, as far as is known.
        """
        try:
            sync = await read_sync_state(self._store.database)
        except (PyMongoError, msgspec.ValidationError):
            sync = None
        raise_if_cancelled()
        scrub = sync.scrub if sync is not None else None
        if scrub is None or not self._progress.start_block < scrub.height:
            return self._now(), self._progress.start_block
        self._differences, self._last_pass = scrub.differences, scrub.last
        return scrub.started_at, BlockNumber(scrub.height)

    async def _pass(self, began: datetime, number: BlockNumber) -> None:
        """Check the blocks from `number` on that are stored when the pass begins."""
        height = self._progress.committed_height
        step_blocks = 1
        while number < height:
            last = BlockNumber(min(number + step_blocks, height) - 1)
            try:
                documents = await self._check(number, last, height)
            except PyMongoError as error:
                raise_if_cancelled()
                self._failures.failed(error=str(error))
                await self._sleep(_RETRY_S)
                continue
            raise_if_cancelled()
            self._failures.recovered()
            blocks = last + 1 - number
            step_blocks = max(1, min(_MAX_STEP_BLOCKS, _STEP_DOCUMENTS * blocks // documents))
            number = BlockNumber(last + 1)
            self._progress.record_scrub(
                ScrubState(Height(number), began, self._differences, self._last_pass)
            )
            await self._sleep(documents / self._rate.documents_per_s)
        self._last_pass = ScrubPass(self._now(), height, self._differences)
        self._progress.record_scrub(ScrubState(height, began, self._differences, self._last_pass))
        log.info(
            "scrub_complete",
            channel=self._progress.channel,
            height=height,
            differences=self._differences,
        )

    async def _check(self, first: BlockNumber, last: BlockNumber, height: Height) -> int:
        """Check the blocks from `first` to `last`; return the number of their documents."""
        database, found = self._store.database, []
        lowest = await lowest_block_number(database)
        start = lowest if lowest is not None else first
        previous = await stored_block(database, first - 1) if first > start else None
        checks = ConsistencyChecks(lambda *difference: found.append(difference), start, previous)
        count = 0
        begin = None if first <= start else first
        async with aclosing(stored_documents_by_block(database, last, begin)) as blocks:
            async for documents in blocks:
                checks.check(documents)
                count += 1 + _count(documents)
        if last == height - 1:
            checks.check_end(height)
        for difference in found:
            self._record(*difference)
        return max(count, 1)

    def _record(self, block: int, kind: DifferenceKind, what: str) -> None:
        self._differences += 1
        if self._differences <= _MAX_LOGGED:
            log.error(
                "stored_documents_differ",
                channel=self._progress.channel,
                block=block,
                kind=kind,
                what=what,
            )


def _count(documents: StoredBlockDocuments) -> int:
    return len(documents.transactions.documents) + len(documents.events.documents)
