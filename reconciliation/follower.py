"""Follows committed blocks: settles the rows that they name, then looks for transactions that no row names."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from ledger.mongodb.sync_state import ChannelState
from reconciliation.errors import ReconciliationError
from reconciliation.facts import Batch, LedgerFacts
from reconciliation.ledger_progress import LedgerProgress
from reconciliation.reconciliation_progress import ReconciliationProgress
from reconciliation.settlement import Settlement, SettlementResult

_AUDIT_POLL_S = 1.0


class Follower:
    """Moves the cursor of one channel over its committed blocks."""

    def __init__(
        self,
        books: Settlement,
        facts: LedgerFacts,
        ledger: LedgerProgress,
        progress: ReconciliationProgress,
        *,
        grace_s: float,
        settled: Callable[[SettlementResult], None],
    ) -> None:
        self._books, self._facts, self._ledger, self._progress = books, facts, ledger, progress
        self._grace_s, self._settled = grace_s, settled
        self.in_step = asyncio.Event()
        """Set when the cursor stood at the height of the ledger for the first time."""
        self._reached: deque[tuple[float, int]] = deque()  # when the cursor came to which height

    async def begin(self, *, wait: bool) -> None:
        """Waits for the first block, makes the cursor, and makes sure that it belongs to the stored chain.

        Where the ledger is shorter than what was settled already, waits for it too if told so. Raises
        `ReconciliationError` if the cursor does not belong to the chain.
        """
        await self._ledger.wait_for_height(1)
        start = await self._facts.start_block() or 0
        await self._books.begin(start)
        cursor = await self._books.cursor()
        if cursor.height < start:
            raise ReconciliationError(
                f"rows were settled up to block {cursor.height}, but the stored ledger begins at block {start}: index "
                "the blocks between, or delete the channel's row in ledger_cursor to settle from the start block on"
            )
        if not wait and cursor.height > self._ledger.committed_height:
            raise ReconciliationError(
                f"rows were settled by {cursor.height:,} blocks, but the stored ledger has only "
                f"{self._ledger.committed_height:,}: index the others first"
            )
        await self._ledger.wait_for_height(cursor.height)
        stored = await self._facts.block_hash(cursor.height - 1) if cursor.block_hash else ""
        if stored != cursor.block_hash:
            raise ReconciliationError(
                f"block {cursor.height - 1} has the hash {stored}, but rows were settled by a chain where it is "
                f"{cursor.block_hash}: this database was reconciled with another chain. Use a database of its own; or "
                "delete the channel's row in ledger_cursor to compare every row with this chain"
            )
        self._reach(cursor.height)

    async def follow(self, until: int | None = None) -> None:
        """Settles block after block, up to that height or until cancelled. While one is settled, the next is read."""
        ahead: asyncio.Task[Batch | None] | None = None
        try:
            while until is None or self._progress.height < until:
                height = self._progress.height
                batch = (
                    await ahead
                    if ahead is not None
                    else await self._facts.batch(height, await self._beyond(height))
                )
                ahead = None
                if batch is None:
                    raise ReconciliationError(
                        f"block {height} is missing in the store: run `kindledger verify`"
                    )
                if batch.end < self._ledger.committed_height:
                    ahead = asyncio.create_task(
                        self._facts.batch(batch.end, self._ledger.committed_height)
                    )
                outcome = await self._books.follow(batch)
                if outcome is not None:
                    self._settled(outcome)
                    self._reach(batch.end)
                    continue
                await _drop(ahead)
                ahead = None
                self._reach((await self._books.cursor()).height)
        finally:
            await _drop(ahead)

    async def _beyond(self, height: int) -> int:
        """Waits until the ledger is higher than that; returns how high."""
        if self._ledger.committed_height <= height:
            self._progress.set_state(ChannelState.FOLLOWING)
            self.in_step.set()
        await self._ledger.wait_for_height(height + 1)
        return self._ledger.committed_height

    def _reach(self, height: int) -> None:
        self._progress.reached(height, behind=height < self._ledger.committed_height)
        self._reached.append((time.monotonic(), height))

    async def audit(self) -> None:
        """Looks for rows of what was settled a grace period ago, until cancelled."""
        while True:
            due = 0
            while self._reached and self._reached[0][0] <= time.monotonic() - self._grace_s:
                due = self._reached.popleft()[1]
            await self.audit_below(due)
            await asyncio.sleep(_AUDIT_POLL_S)

    async def audit_below(self, height: int) -> None:
        """Looks for rows of all transactions below that height that were not looked at yet."""
        await self._audit((await self._books.cursor()).audited_height if height else 0, height)

    async def audit_again(self) -> None:
        """Looks for rows of all that were looked at before: one may be deleted, or name another transaction by now."""
        await self._audit(
            await self._facts.start_block() or 0, (await self._books.cursor()).audited_height
        )

    async def _audit(self, first: int, height: int) -> None:
        while first < height and (batch := await self._facts.batch(first, height)) is not None:
            self._settled(
                await self._books.audit(
                    batch.end, [fact for fact in batch.facts.values() if fact.business]
                )
            )
            first = batch.end


async def _drop(ahead: "asyncio.Task[Batch | None] | None") -> None:
    if ahead is not None:
        ahead.cancel()
        await asyncio.gather(ahead, return_exceptions=True)
