"""The business books as they are shown: read by connections that cannot write, and never waited for long."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from operator import itemgetter
from typing import Final

from reconciliation import discrepancies
from reconciliation.comparison import ways_of
from reconciliation.errors import FAILURES, ReconciliationError, is_away, is_busy, is_refusal
from reconciliation.mapping import BusinessMapping
from reconciliation.postgres_servers import Connection, PoolOptions, PostgresServers
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
from reconciliation.statements import Statements
from runtime.circuit_breaker import CircuitBreaker
from runtime.throttled_log import ThrottledLog

_CONNECT_S = 1.0
_ANSWER_S = 2.0
_BREAK_S = 1.0

READING: Final = PoolOptions(statement_timeout_s=1.8, lock_timeout_s=1.0, read_only=True)
"""A statement ends before its answer is given up, so that the server has nothing left to do for nobody."""


class PostgresReports:
    """The `BusinessReports` of one channel, on servers with the bounds `READING`."""

    def __init__(
        self, servers: PostgresServers, channel: str, business: BusinessMapping, grace_s: float
    ) -> None:
        self.channel = channel
        self._servers, self._business, self._grace_s = servers, business, grace_s
        self._statements: dict[str, Statements] | None = None
        self._calls = _GuardedCalls(time.monotonic)

    async def check(self) -> None:
        """See `BusinessReports`."""
        async with self._reading() as connection:
            await self._checked_statements(connection)
            await connection.execute("SELECT 1")

    async def rows(self, tx_ids: Sequence[str]) -> dict[str, BusinessRows]:
        """See `BusinessReports`."""
        found: dict[str, list[BusinessRow]] = {tx_id: [] for tx_id in tx_ids}
        ways: dict[str, list[str]] = {}
        for tx_id in found:
            for way in ways_of(tx_id):
                ways.setdefault(way, []).append(tx_id)
        parameters = (list(self._business.placeholders), list(ways), MAX_ROWS + 1)
        async with self._reading() as connection:
            for table, statements in (await self._checked_statements(connection)).items():
                records = await connection.fetch(statements.shown, *parameters)
                for way, *values in sorted(records, key=itemgetter("key")):
                    for tx_id in ways[way]:
                        found[tx_id].append(BusinessRow(table, *values))
        return {
            tx_id: BusinessRows(rows[:MAX_ROWS], len(rows) > MAX_ROWS)
            for tx_id, rows in found.items()
        }

    async def discrepancies(
        self, kind: DiscrepancyKind | None, state: DiscrepancyState, after: int | None, limit: int
    ) -> DiscrepancyPage:
        """See `BusinessReports`."""
        async with self._reading() as connection:
            return await discrepancies.page(
                connection, self.channel, kind, state, after=after, limit=limit
            )

    async def status(self) -> SettlementStatus:
        """See `BusinessReports`."""
        async with self._reading() as connection:
            return await read_settlement_status(
                connection, self.channel, self._business, self._grace_s
            )

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Connection]:
        """A connection, and a limited time to use it. Raises `BusinessUnavailableError`."""
        deadline = asyncio.get_running_loop().time() + _ANSWER_S
        with self._calls.call():
            async with self._servers.reading(_CONNECT_S) as connection:
                try:
                    async with asyncio.timeout_at(deadline):
                        yield connection
                except BaseException:
                    connection.terminate()  # giving it back would wait for a server that may not answer
                    raise

    async def _checked_statements(self, connection: Connection) -> dict[str, Statements]:
        if self._statements is None:
            self._statements = await checked_statements(connection, self._business, settling=False)
        return self._statements


class _GuardedCalls:
    """Turns failures of PostgreSQL into `BusinessUnavailableError`, and keeps calls away after one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._breaker = CircuitBreaker(_BREAK_S, clock)
        self._reason = ""
        self._failures = ThrottledLog(
            "business_database_unavailable", "business_database_available", clock=clock
        )

    @contextmanager
    def call(self) -> Iterator[None]:
        """Raise `BusinessUnavailableError` for any failure, and at once while calls are kept away."""
        if not self._breaker.allow():
            raise BusinessUnavailableError(self._reason)
        try:
            yield
        except (*FAILURES, ReconciliationError) as error:
            self._failures.failed(error=str(error) or type(error).__name__)
            if not (is_busy(error) or is_refusal(error)):
                self._reason = _explained(error)
                self._breaker.failed()
            raise BusinessUnavailableError(_explained(error)) from error
        else:
            if self._breaker.succeeded():
                self._failures.recovered()
        finally:
            self._breaker.abandoned()


def _explained(error: Exception) -> str:
    """What anybody may know of it; the server's own words are for the log."""
    if isinstance(error, TimeoutError) or is_busy(error):
        return "PostgreSQL does not answer in time."
    if is_away(error):
        return "PostgreSQL cannot be reached."
    return "PostgreSQL refuses to show the business rows; the program's log says why."
