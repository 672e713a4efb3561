"""Reads the reports of the business database, over read-only connections and in limited time."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from operator import itemgetter
from typing import Final

from msgspec import Struct

from reconciliation.connection import Connection
from reconciliation.discrepancies import SCAN_LIMIT, read_page
from reconciliation.errors import (
    POSTGRES_ERRORS,
    ReconciliationError,
    is_lock_conflict,
    is_row_refused,
    is_unavailable,
)
from reconciliation.hash_spellings import spellings_of
from reconciliation.mapping import BusinessMapping
from reconciliation.postgres_servers import PoolOptions, PostgresServers
from reconciliation.reports import (
    MAX_ROWS,
    BusinessRow,
    BusinessRows,
    BusinessUnavailableError,
    DiscrepancyKind,
    DiscrepancyPage,
    DiscrepancyState,
    SettlementStatus,
)
from reconciliation.schema_check import checked_statements
from reconciliation.settlement_status import read_settlement_status
from reconciliation.statements import TableStatements
from runtime.circuit_breaker import CircuitBreaker
from runtime.throttled_log import ThrottledLog

REPORT_POOL_OPTIONS: Final = PoolOptions(
    statement_timeout_s=1.8, lock_timeout_s=1.0, read_only=True
)
"""The options for reports. The server ends a statement before its caller stops waiting."""


class ReportLimits(Struct, frozen=True, kw_only=True):
    """The limits of a report. Times are in seconds."""

    connect_s: float = 1.0
    answer_s: float = 2.0
    pause_s: float = 1.0
    """The time after a failure during which calls fail at once."""
    scanned_discrepancies: int = SCAN_LIMIT
    """The number of discrepancies that are searched for one page."""


class PostgresReports:
    """The `BusinessReports` of one channel, read from servers with `REPORT_POOL_OPTIONS`."""

    def __init__(
        self,
        servers: PostgresServers,
        channel: str,
        business: BusinessMapping,
        grace_s: float,
        limits: ReportLimits = ReportLimits(),  # noqa: B008 - frozen
    ) -> None:
        self.channel = channel
        self._servers, self._business, self._grace_s = servers, business, grace_s
        self._limits = limits
        self._statements: dict[str, TableStatements] | None = None
        self._guard = _FailureGuard(limits.pause_s)

    async def check(self) -> None:
        """Implement `BusinessReports.check`."""
        async with self._connection() as connection:
            await self._checked_statements(connection)
            await connection.execute("SELECT 1")

    async def rows(self, tx_ids: Sequence[str]) -> dict[str, BusinessRows]:
        """Implement `BusinessReports.rows`."""
        rows: dict[str, list[BusinessRow]] = {tx_id: [] for tx_id in tx_ids}
        ids_by_spelling: dict[str, list[str]] = {}
        for tx_id in rows:
            for spelling in spellings_of(tx_id):
                ids_by_spelling.setdefault(spelling, []).append(tx_id)
        parameters = (list(self._business.placeholders), list(ids_by_spelling), MAX_ROWS + 1)
        async with self._connection() as connection:
            for table, statements in (await self._checked_statements(connection)).items():
                records = await connection.fetch(statements.report, *parameters)
                for spelling, *values in sorted(records, key=itemgetter("key")):
                    for tx_id in ids_by_spelling[spelling]:
                        rows[tx_id].append(BusinessRow(table, *values))
        return {
            tx_id: BusinessRows(tx_rows[:MAX_ROWS], len(tx_rows) > MAX_ROWS)
            for tx_id, tx_rows in rows.items()
        }

    async def discrepancies(
        self, kind: DiscrepancyKind | None, state: DiscrepancyState, after: int | None, limit: int
    ) -> DiscrepancyPage:
        """Implement `BusinessReports.discrepancies`."""
        async with self._connection() as connection:
            return await read_page(
                connection,
                self.channel,
                kind,
                state,
                after=after,
                limit=limit,
                scan_limit=self._limits.scanned_discrepancies,
            )

    async def status(self) -> SettlementStatus:
        """Implement `BusinessReports.status`."""
        async with self._connection() as connection:
            return await read_settlement_status(
                connection, self.channel, self._business, self._grace_s
            )

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """Yield a connection for a limited time. Raises `BusinessUnavailableError`."""
        deadline = asyncio.get_running_loop().time() + self._limits.answer_s
        with self._guard.call():
            async with self._servers.report_connection(self._limits.connect_s) as connection:
                try:
                    async with asyncio.timeout_at(deadline):
                        yield connection
                except BaseException:
                    # The pool would wait for a server that may not answer.
                    connection.terminate()
                    raise

    async def _checked_statements(self, connection: Connection) -> dict[str, TableStatements]:
        if self._statements is None:
            self._statements = await checked_statements(connection, self._business, settling=False)
        return self._statements


class _FailureGuard:
    """Turns PostgreSQL's failures into `BusinessUnavailableError`, and logs them and their end.

    After a failure of the server, calls fail at once with the same message for `pause_s` seconds.
    A failure of one call alone, for example a lock timeout, does not pause other calls.
    """

    def __init__(self, pause_s: float) -> None:
        self._breaker = CircuitBreaker(pause_s)
        self._last_message = ""
        # Other calls may succeed between two lock timeouts: not each of them is an outage.
        self._failures = ThrottledLog(
            "business_database_unavailable", "business_database_available", log_each_outage=False
        )

    @contextmanager
    def call(self) -> Iterator[None]:
        """Raise `BusinessUnavailableError` if the call fails, or if calls are paused."""
        if not self._breaker.allow():
            raise BusinessUnavailableError(self._last_message)
        try:
            yield
        except (*POSTGRES_ERRORS, ReconciliationError) as error:
            self._failures.failed(error=str(error) or type(error).__name__)
            message = _public_message(error)
            if not (is_lock_conflict(error) or is_row_refused(error)):
                self._last_message = message
                self._breaker.failed()
            raise BusinessUnavailableError(message) from error
        else:
            self._breaker.succeeded()
            if not self._breaker.is_open:
                self._failures.recovered()
        finally:
            self._breaker.abandoned()


def _public_message(error: Exception) -> str:
    """Return a message for clients. The server's own message goes to the log only."""
    if isinstance(error, TimeoutError) or is_lock_conflict(error):
        return "PostgreSQL does not answer in time."
    if is_unavailable(error):
        return "PostgreSQL cannot be reached."
    return "PostgreSQL refuses to show the business rows; the program's log says why."
