"""Follows the stored blocks of one channel, and settles the rows that they name."""

import asyncio
from collections.abc import Callable

from ledger.mongodb.sync_state import ChannelState
from ledger.position import BlockNumber, Height, highest_block_below
from reconciliation.channel_cursor import ChannelCursor, SettlementCursor
from reconciliation.errors import ReconciliationError
from reconciliation.ledger_progress import LedgerProgress
from reconciliation.ledger_transactions import BlockBatch, LedgerTransactions
from reconciliation.reconciliation_progress import ReconciliationProgress
from reconciliation.settlement import Settlement, SettlementResult


class BlockFollower:
    """Settles block after block, and moves the cursor of the channel.

    `report` receives the result of each transaction; `cursor_moved` receives each new height.
    """

    def __init__(
        self,
        cursor: ChannelCursor,
        settlement: Settlement,
        blocks: LedgerTransactions,
        ledger: LedgerProgress,
        progress: ReconciliationProgress,
        *,
        report: Callable[[SettlementResult], None],
        cursor_moved: Callable[[Height], None],
    ) -> None:
        self._cursor, self._settlement, self._blocks = cursor, settlement, blocks
        self._ledger, self._progress = ledger, progress
        self._report, self._cursor_moved = report, cursor_moved
        self.caught_up = asyncio.Event()
        """Set when the cursor has reached the height of the ledger for the first time."""

    async def begin(self, *, wait_for_ledger: bool) -> None:
        """Wait for the first block, create the cursor if needed, and check it against the chain.

        With `wait_for_ledger` also wait until the ledger is as high as the cursor. Raises
        `ReconciliationError` if the cursor does not belong to the stored chain.
        """
        await self._ledger.wait_for_height(1)
        start = await self._blocks.start_block() or BlockNumber(0)
        await self._cursor.create(start)
        cursor = await self._cursor.read()
        if cursor.height < start:
            raise ReconciliationError(
                f"rows were settled below block {cursor.height}, but the stored ledger begins at "
                f"block {start}: index the blocks between, or delete the channel's row in "
                "ledger_cursor to settle from the start block on"
            )
        if not wait_for_ledger and cursor.height > self._ledger.committed_height:
            raise ReconciliationError(
                f"rows were settled below block {cursor.height}, but the stored ledger has only "
                f"blocks below {self._ledger.committed_height}: index the missing blocks first"
            )
        await self._ledger.wait_for_height(cursor.height)
        await self._check_chain(cursor)
        self._moved_to(cursor.height)

    async def _check_chain(self, cursor: SettlementCursor) -> None:
        last_block = highest_block_below(cursor.height)
        stored_hash = await self._blocks.block_hash(last_block) if cursor.block_hash else ""
        if stored_hash != cursor.block_hash:
            raise ReconciliationError(
                f"block {last_block} has the hash {stored_hash}, but rows were settled by a chain "
                f"in which its hash is {cursor.block_hash}: this database was reconciled with "
                "another chain. Use another business database for this chain, or delete the "
                "channel's row in ledger_cursor to compare every row with this chain"
            )

    async def follow(self, until: Height | None = None) -> None:
        """Settle every block below the height `until`, or without it until cancelled.

        The next blocks are read while a batch is settled.
        """
        next_batch: asyncio.Task[BlockBatch | None] | None = None
        try:
            while until is None or self._progress.height < until:
                height = self._progress.height
                batch = await (next_batch or self._next_batch(height))
                next_batch = None
                if batch is None:
                    raise ReconciliationError(
                        f"block {height} is missing in the store: run `kindledger verify`"
                    )
                if batch.end < self._ledger.committed_height:
                    read = self._blocks.batch(BlockNumber(batch.end), self._ledger.committed_height)
                    next_batch = asyncio.create_task(read)
                result = await self._settlement.settle_blocks(batch)
                if result is not None:
                    self._report(result)
                    self._moved_to(batch.end)
                else:
                    await _cancel(next_batch)
                    next_batch = None
                    self._moved_to((await self._cursor.read()).height)
        finally:
            await _cancel(next_batch)

    async def _next_batch(self, height: Height) -> BlockBatch | None:
        """Wait until block `height` is stored, and return the batch that begins with it."""
        if self._ledger.committed_height <= height:
            self._progress.set_state(ChannelState.FOLLOWING)
            self.caught_up.set()
        await self._ledger.wait_for_height(height + 1)
        return await self._blocks.batch(BlockNumber(height), self._ledger.committed_height)

    def _moved_to(self, height: Height) -> None:
        self._progress.cursor_moved(height, behind=height < self._ledger.committed_height)
        self._cursor_moved(height)


async def _cancel(task: "asyncio.Task[BlockBatch | None] | None") -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
