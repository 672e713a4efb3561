"""Looks at rows: those that got their hash after their block, those that still wait, and now and then all of them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Final

from reconciliation.comparison import Fact, Row, fact_of, findings, spellings
from reconciliation.discrepancies import Open
from reconciliation.errors import FAILURES
from reconciliation.facts import LedgerFacts
from reconciliation.hash_notifications import HashNotifications
from reconciliation.ledger_progress import LedgerProgress
from reconciliation.mapping import BusinessMapping, Table
from reconciliation.postgres_servers import PostgresServers
from reconciliation.reports import SettlementStatus
from reconciliation.settlement import Settlement, SettlementResult

PAGE_ROWS: Final = 1_000
SWEEP_ROWS: Final = 20_000
"""Of each table in one sweep; the next one goes on after them."""


class Sweeper:
    """Asks the ledger for the transactions that rows name."""

    def __init__(
        self,
        books: Settlement,
        facts: LedgerFacts,
        business: BusinessMapping,
        ledger: LedgerProgress,
        servers: PostgresServers,
        *,
        settled: Callable[[SettlementResult], None],
        swept: Callable[[SettlementStatus | None], None],
    ) -> None:
        self._books, self._facts, self._ledger, self._servers = books, facts, ledger, servers
        self._settled, self._report = settled, swept
        self._tables = {table.name: table for table in business.tables}
        self._swept: dict[
            str, str | None
        ] = {}  # by table, the key of the row up to which the last sweep came

    async def attend(self, notices: HashNotifications) -> None:
        """Settles rows as PostgreSQL notifies of them, until cancelled."""
        while True:
            await self._examine(await self._books.rows_with(await notices.take()))

    async def sweep(self, notices: HashNotifications, interval_s: float) -> None:
        """Looks at the rows that wait and at what is open, every so often and whenever notices were missed."""
        while True:
            notices.missed.clear()
            for table in self._tables.values():
                if table.status is not None:
                    await self.sweep_table(table, SWEEP_ROWS)
            await self.review()
            self._report(await self._status())
            with suppress(TimeoutError):
                async with asyncio.timeout(interval_s):
                    await notices.missed.wait()

    async def _status(self) -> SettlementStatus | None:
        """What is left. Figures for operators hold nothing up: whoever needs a server notices that it is away."""
        try:
            return await self._books.status()
        except FAILURES:
            return None

    async def sweep_table(self, table: Table, most: int | None = None) -> None:
        """Looks at the rows of a table that wait, from where the last sweep ended."""
        seen = 0
        while most is None or seen < most:
            rows = await self._books.waiting(table, self._swept.get(table.name), PAGE_ROWS)
            seen += len(rows)
            await self._examine(rows)
            self._swept[table.name] = rows[-1].key if len(rows) == PAGE_ROWS else None
            if len(rows) < PAGE_ROWS:
                return

    async def review(self) -> None:
        """Looks again at every open discrepancy, and closes those that are over."""
        after = 0
        while page := await self._books.open_page(after, PAGE_ROWS):
            after = page[-1].id
            await self._review(page)

    async def _review(self, page: Sequence[Open]) -> None:
        keys: dict[str, list[str]] = {}
        for discrepancy in page:
            keys.setdefault(discrepancy.table, []).append(discrepancy.subject)
        named = await self._books.named(keys.pop("", []))
        rows = [
            row
            for name, subjects in keys.items()
            if name in self._tables
            for row in await self._books.rows_of(self._tables[name], subjects)
        ]
        present = {(row.table.name, row.key) for row in rows}
        gone = [
            (open_.table, open_.subject)
            for open_ in page
            if (
                open_.subject in named
                if not open_.table
                else (open_.table, open_.subject) not in present
            )
        ]
        _, facts, caught_up = await self._judge(rows)
        self._settled(await self._books.examine(rows, facts, gone, caught_up=caught_up))

    async def check_all(self) -> None:
        """Compares every row once. Replicas may be read for it; what looks wrong is read again from the primary."""
        for table in self._tables.values():
            async for page in self._pages(table):
                suspects, _, _ = await self._judge(page)
                if suspects:
                    await self._examine(
                        await self._books.rows_of(table, [row.key for row in suspects])
                    )

    async def _pages(self, table: Table) -> AsyncIterator[list[Row]]:
        after: str | None = None
        while True:
            async with self._servers.reading() as connection:
                rows = await self._books.page(connection, table, after, PAGE_ROWS)
            yield rows
            if len(rows) < PAGE_ROWS:
                return
            after = rows[-1].key

    async def _examine(self, rows: Sequence[Row]) -> None:
        suspects, facts, caught_up = await self._judge(rows)
        if suspects:
            self._settled(await self._books.examine(suspects, facts, caught_up=caught_up))

    async def _judge(self, rows: Sequence[Row]) -> tuple[list[Row], dict[str, Fact], bool]:
        """Those of the rows that can be settled or that something is wrong with, and by which facts."""
        caught_up = self._ledger.caught_up  # asked first: what is not found now was not there then
        facts = await self._facts.lookup(_ids(rows), self._ledger.committed_height)
        judged = ((row, fact_of(row, facts)) for row in rows)
        suspects = [
            row
            for row, fact in judged
            if (row.pending and fact) or findings(row, fact, caught_up=caught_up)
        ]
        return suspects, facts, caught_up


def _ids(rows: Sequence[Row]) -> set[str]:
    """Every id that the rows' hashes may stand for."""
    return {way for row in rows if row.hash is not None for way in spellings(row.hash)}
