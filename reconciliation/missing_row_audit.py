"""Looks for transactions of the ledger that no business row names."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from ledger.position import BlockNumber, Height
from reconciliation.channel_cursor import ChannelCursor
from reconciliation.ledger_transactions import LedgerTransactions
from reconciliation.reconciliation_progress import ReconciliationProgress
from reconciliation.settlement import Settlement, SettlementResult


class MissingRowAudit:
    """Searches the rows for each transaction once its grace period is over.

    The grace period begins when the block was settled. `report` receives the result of each
    transaction of PostgreSQL.
    """

    def __init__(
        self,
        cursor: ChannelCursor,
        settlement: Settlement,
        blocks: LedgerTransactions,
        progress: ReconciliationProgress,
        *,
        grace_s: float,
        interval_s: float,
        report: Callable[[SettlementResult], None],
    ) -> None:
        self._cursor, self._settlement, self._blocks = cursor, settlement, blocks
        self._progress = progress
        self._grace_s, self._interval_s, self._report = grace_s, interval_s, report
        self._reached: deque[tuple[float, Height]] = deque()
        """Times, and the height that the cursor reached at each."""

    def cursor_moved(self, height: Height) -> None:
        """Note that the rows of every block below `height` are settled now."""
        self._reached.append((time.monotonic(), height))

    async def run(self) -> None:
        """Audit the blocks whose grace period is over, until cancelled."""
        while True:
            await self.audit_below(self._take_due_height())
            await asyncio.sleep(self._interval_s)

    def _take_due_height(self) -> Height:
        """Return the height that was settled a grace period ago; 0 if there is no new one."""
        height = Height(0)
        while self._reached and self._reached[0][0] <= time.monotonic() - self._grace_s:
            height = self._reached.popleft()[1]
        return height

    async def audit_below(self, height: Height) -> None:
        """Audit every block below `height` that was not audited yet."""
        if height:
            self._progress.audit_due(height)
            audited_height = (await self._cursor.read()).audited_height
            await self._audit(BlockNumber(audited_height), height)
            self._progress.audited((await self._cursor.read()).audited_height)

    async def audit_again(self) -> None:
        """Audit every block again that was audited: rows may have been deleted or changed since."""
        start = await self._blocks.start_block() or BlockNumber(0)
        await self._audit(start, (await self._cursor.read()).audited_height)

    async def _audit(self, first: BlockNumber, height: Height) -> None:
        while first < height:
            batch = await self._blocks.batch(first, height)
            if batch is None:
                return
            transactions = [each for each in batch.transactions.values() if each.needs_row]
            self._report(await self._settlement.audit_transactions(batch.end, transactions))
            first = BlockNumber(batch.end)
