"""Looks up the transactions that rows name: for announced, for pending, and for all rows."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Final

from msgspec import Struct

from reconciliation.comparison import ComparedRow, LedgerTransaction, compare, transaction_of
from reconciliation.discrepancies import DiscrepancySubject, OpenDiscrepancy, read_open_page
from reconciliation.errors import POSTGRES_ERRORS
from reconciliation.hash_notifications import HashNotifications
from reconciliation.hash_spellings import candidate_ids
from reconciliation.ledger_progress import LedgerProgress
from reconciliation.ledger_transactions import LedgerTransactions
from reconciliation.mapping import BusinessMapping, BusinessTable
from reconciliation.postgres_servers import PostgresServers
from reconciliation.reports import SettlementStatus
from reconciliation.row_reader import RowReader
from reconciliation.settlement import Settlement, SettlementResult
from reconciliation.settlement_status import read_settlement_status

PAGE_ROWS: Final = 1_000
SWEEP_ROWS: Final = 20_000
"""The number of rows of each table in one sweep. The next sweep continues after them."""


class _LookedUpRows(Struct):
    """Rows, the transactions they may name, and whether the ledger had all blocks of its peer."""

    rows: Sequence[ComparedRow]
    transactions: dict[str, LedgerTransaction]
    caught_up: bool

    def suspects(self) -> list[ComparedRow]:
        """Return the rows that can be settled or that have a discrepancy."""
        return [row for row in self.rows if self._is_suspect(row)]

    def _is_suspect(self, row: ComparedRow) -> bool:
        transaction = transaction_of(row, self.transactions)
        if row.is_pending and transaction is not None:
            return True
        return bool(compare(row, transaction, caught_up=self.caught_up))


class Sweeper:
    """Reads business rows, looks up their transactions, and settles and compares the rows.

    `report` receives the result of each transaction; `sweep_finished` receives the status after
    each sweep, or None if it could not be read.
    """

    def __init__(
        self,
        settlement: Settlement,
        rows: RowReader,
        transactions: LedgerTransactions,
        ledger: LedgerProgress,
        servers: PostgresServers,
        *,
        business: BusinessMapping,
        channel: str,
        grace_s: float,
        report: Callable[[SettlementResult], None],
        sweep_finished: Callable[[SettlementStatus | None], None],
    ) -> None:
        self._settlement, self._rows, self._transactions = settlement, rows, transactions
        self._ledger, self._servers, self._business = ledger, servers, business
        self._channel, self._grace_s = channel, grace_s
        self._report, self._sweep_finished = report, sweep_finished
        self._tables = {table.name: table for table in business.tables}
        self._last_swept_keys: dict[str, str | None] = {}
        """By table, the key of the last row of the last sweep; None if the sweep was complete."""

    async def settle_announced_rows(self, notifications: HashNotifications) -> None:
        """Settle the rows whose hashes PostgreSQL announces, until cancelled."""
        while True:
            await self._settle(await self._rows.with_hashes(await notifications.take()))

    async def sweep_repeatedly(self, notifications: HashNotifications, interval_s: float) -> None:
        """Sweep over the pending rows and open discrepancies, until cancelled.

        A sweep begins every `interval_s` seconds, and when notifications were missed.
        """
        while True:
            notifications.missed.clear()
            await self.sweep_pending_rows(SWEEP_ROWS)
            await self.recheck_open_discrepancies()
            self._sweep_finished(await self._status())
            with suppress(TimeoutError):
                async with asyncio.timeout(interval_s):
                    await notifications.missed.wait()

    async def _status(self) -> SettlementStatus | None:
        """Return the status; None if PostgreSQL fails, which the next settlement reports."""
        try:
            async with self._servers.primary.acquire() as connection:
                return await read_settlement_status(
                    connection, self._channel, self._business, self._grace_s
                )
        except POSTGRES_ERRORS:
            return None

    async def sweep_pending_rows(self, max_rows: int | None = None) -> None:
        """Look up the pending rows of each table, from where the last sweep ended.

        `max_rows` limits the number of rows of each table, rounded up to whole pages.
        """
        for table in self._tables.values():
            if table.status is not None:
                await self._sweep_table(table, max_rows)

    async def _sweep_table(self, table: BusinessTable, max_rows: int | None) -> None:
        swept = 0
        while max_rows is None or swept < max_rows:
            last_key = self._last_swept_keys.get(table.name)
            rows = await self._rows.pending_page(table, last_key, PAGE_ROWS)
            swept += len(rows)
            await self._settle(rows)
            is_last_page = len(rows) < PAGE_ROWS
            self._last_swept_keys[table.name] = None if is_last_page else rows[-1].key
            if is_last_page:
                return

    async def recheck_open_discrepancies(self) -> None:
        """Compare the rows of every open discrepancy again, and close the resolved ones."""
        after = 0
        while page := await self._open_page(after):
            after = page[-1].id
            await self._recheck(page)

    async def _open_page(self, after: int) -> list[OpenDiscrepancy]:
        async with self._servers.primary.acquire() as connection:
            return await read_open_page(connection, self._channel, after, PAGE_ROWS)

    async def _recheck(self, page: Sequence[OpenDiscrepancy]) -> None:
        keys: dict[str, list[str]] = {}
        for discrepancy in page:
            keys.setdefault(discrepancy.table, []).append(discrepancy.subject)
        ids_with_rows = await self._rows.ids_with_rows(keys.pop("", []))
        rows = [
            row
            for name, table_keys in keys.items()
            if name in self._tables
            for row in await self._rows.with_keys(self._tables[name], table_keys)
        ]
        looked_up = await self._look_up(rows)
        result = await self._settlement.settle_rows(
            rows,
            looked_up.transactions,
            _resolved(page, rows, ids_with_rows),
            caught_up=looked_up.caught_up,
        )
        self._report(result)

    async def compare_all_rows(self) -> None:
        """Compare every row with the ledger.

        Pages may be read from a replica; suspect rows are read again from the primary.
        """
        for table in self._tables.values():
            async for page in self._pages(table):
                suspects = (await self._look_up(page)).suspects()
                if suspects:
                    keys = [row.key for row in suspects]
                    await self._settle(await self._rows.with_keys(table, keys))

    async def _pages(self, table: BusinessTable) -> AsyncIterator[list[ComparedRow]]:
        after: str | None = None
        while True:
            async with self._servers.report_connection() as connection:
                rows = await self._rows.page(connection, table, after, PAGE_ROWS)
            yield rows
            if len(rows) < PAGE_ROWS:
                return
            after = rows[-1].key

    async def _settle(self, rows: Sequence[ComparedRow]) -> None:
        """Settle the rows that can be settled, and record the discrepancies of the others."""
        looked_up = await self._look_up(rows)
        suspects = looked_up.suspects()
        if suspects:
            result = await self._settlement.settle_rows(
                suspects, looked_up.transactions, caught_up=looked_up.caught_up
            )
            self._report(result)

    async def _look_up(self, rows: Sequence[ComparedRow]) -> _LookedUpRows:
        # Read first, so that it is true of the blocks that the lookup searches.
        caught_up = self._ledger.caught_up
        ids = {tx_id for row in rows if row.hash is not None for tx_id in candidate_ids(row.hash)}
        transactions = await self._transactions.lookup(ids, self._ledger.committed_height)
        return _LookedUpRows(rows, transactions, caught_up)


def _resolved(
    page: Sequence[OpenDiscrepancy], rows: Sequence[ComparedRow], ids_with_rows: set[str]
) -> list[DiscrepancySubject]:
    """Return the subjects that have a row by now, and those whose row was deleted."""
    existing = {(row.table.name, row.key) for row in rows}
    return [
        (discrepancy.table, discrepancy.subject)
        for discrepancy in page
        if (
            (discrepancy.table, discrepancy.subject) not in existing
            if discrepancy.table
            else discrepancy.subject in ids_with_rows
        )
    ]
