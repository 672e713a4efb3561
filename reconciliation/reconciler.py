"""Keeps the business rows of one channel in agreement with its ledger.

Four kinds of work run concurrently: settle the rows that new blocks name; settle the rows whose
hashes PostgreSQL announces; sweep over pending rows and open discrepancies; and compare all rows
with the ledger at long intervals. If one of them fails, all end and start again from the cursor.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncpg
import structlog
from msgspec import Struct, to_builtins
from pymongo.errors import PyMongoError

from ledger.mongodb.sync_state import ChannelState
from reconciliation.block_follower import BlockFollower
from reconciliation.channel_cursor import ChannelCursor
from reconciliation.connection import Connection
from reconciliation.discrepancies import count_open
from reconciliation.errors import (
    POSTGRES_ERRORS,
    ReconciliationError,
    is_unavailable,
    with_advice,
)
from reconciliation.hash_notifications import HashNotifications
from reconciliation.ledger_progress import LedgerProgress
from reconciliation.ledger_transactions import LedgerTransactions
from reconciliation.mapping import BusinessMapping
from reconciliation.migrations.scripts import MigrationError
from reconciliation.missing_row_audit import MissingRowAudit
from reconciliation.postgres_servers import PostgresServers
from reconciliation.reconciliation_progress import ReconciliationProgress
from reconciliation.reports import DiscrepancyCount
from reconciliation.row_reader import RowReader
from reconciliation.row_settler import RowSettler
from reconciliation.schema_check import checked_statements
from reconciliation.settlement import Settlement, SettlementResult
from reconciliation.statements import TableStatements
from reconciliation.sweeper import Sweeper
from runtime.backoff import Backoff
from runtime.tasks import unwrap_exception_group
from runtime.throttled_log import ThrottledLog

log = structlog.get_logger()

_MAX_LOGGED_DISCREPANCIES = 10
_NO_INDEX = (
    "the index of transaction ids does not exist yet, so rows cannot be looked up: `run` and "
    "`import` build it when the channel is near its head. Repeat the command when `kindledger "
    "status` shows the state following or stopped"
)
_STOP_TIMEOUT_S = 2.0


class ReconciliationIntervals(Struct, frozen=True, kw_only=True):
    """The intervals of the concurrent work, in seconds."""

    sweep_s: float = 30.0
    """Between two sweeps over the pending rows."""
    grace_s: float = 120.0
    """Until a row without a transaction, or a transaction without a row, is a discrepancy."""
    cross_check_s: float = 86_400.0
    """Between two comparisons of all rows."""
    audit_s: float = 1.0
    """Between two searches for transactions without a row."""
    recheck_s: float = 60.0
    """Until an unsuitable schema, right or chain is checked again."""
    index_s: float = 2.0
    """Between two checks whether the index of transaction ids exists."""


@dataclass(frozen=True)
class _ChannelParts:
    """The parts of a session, which begin at the same cursor."""

    follower: BlockFollower
    audit: MissingRowAudit
    sweeper: Sweeper

    async def cross_check(self) -> None:
        """Compare every row with the ledger, and search the rows for every transaction."""
        await self.sweeper.compare_all_rows()
        await self.audit.audit_again()


class Reconciler:
    """Reconciles one channel with the business database.

    `rows_settled` receives the campaigns of settled rows, after the commit.
    """

    def __init__(
        self,
        servers: PostgresServers,
        transactions: LedgerTransactions,
        business: BusinessMapping,
        ledger: LedgerProgress,
        progress: ReconciliationProgress,
        *,
        check_schema: Callable[[Connection], Awaitable[None]],
        rows_settled: Callable[[set[str]], None],
        intervals: ReconciliationIntervals = ReconciliationIntervals(),  # noqa: B008 - frozen
    ) -> None:
        self._servers, self._transactions, self._business = servers, transactions, business
        self._ledger, self.progress, self._intervals = ledger, progress, intervals
        self._check_schema, self._rows_settled = check_schema, rows_settled
        progress.servers, progress.pool_size = servers.statuses, servers.primary.get_max_size()
        self._failures = ThrottledLog(
            "reconciliation_held_up", "reconciliation_goes_on", channel=progress.channel
        )

    async def run(self) -> None:
        """Reconcile until cancelled. Never end because of a failure: indexing must not stop.

        If PostgreSQL or MongoDB is unavailable, reconciliation is retried with growing delays. If
        the schema, a right or the chain is unsuitable, the error is logged and shown in the
        progress, and the check is repeated at intervals.
        """
        backoff = Backoff()
        while True:
            height = self.progress.height
            try:
                with unwrap_exception_group():
                    # In a task of its own: before Python 3.13 the task of a TaskGroup that failed
                    # counts as cancelled for the rest of its life.
                    await self._run_session(asyncio.create_task(self._session()))
            except (*POSTGRES_ERRORS, PyMongoError, ReconciliationError, MigrationError) as error:
                if self.progress.height > height:
                    backoff.reset()
                delay_s = self._report_failure(error, backoff)
                # These connections may have statements that were prepared for an older schema.
                await self._servers.primary.expire_connections()
            await asyncio.sleep(delay_s)

    async def _run_session(self, session: asyncio.Task[None]) -> None:
        """Wait for the session; if cancelled, end the session in time, even if a server hangs."""
        try:
            await asyncio.wait((session,))
        except asyncio.CancelledError:
            session.cancel()
            await asyncio.wait((session,), timeout=_STOP_TIMEOUT_S)
            if not session.done():
                self._servers.terminate()
            await asyncio.gather(session, return_exceptions=True)
            raise
        await session

    def _report_failure(self, error: Exception, backoff: Backoff) -> float:
        """Log the error, and return the seconds until the next try."""
        if isinstance(error, PyMongoError):
            state, message = ChannelState.WAITING, f"MongoDB: {error}"
        elif isinstance(error, POSTGRES_ERRORS) and is_unavailable(error):
            reason = str(error) or type(error).__name__
            state, message = ChannelState.WAITING, f"PostgreSQL: {reason}"
        elif isinstance(error, asyncpg.PostgresError):
            state, message = ChannelState.FAILED, str(with_advice(error))
        else:
            state, message = ChannelState.FAILED, str(error)
        self._failures.failed(error=message)
        self.progress.failed(message, state)
        return backoff.next_delay() if state is ChannelState.WAITING else self._intervals.recheck_s

    async def _session(self) -> None:
        """Do all work concurrently, until a part of it fails."""
        parts = await self._begin(wait_for_ledger=True)
        await self._wait_for_index()
        notifications = HashNotifications(self._servers)
        async with asyncio.TaskGroup() as group:
            group.create_task(parts.follower.follow())
            group.create_task(parts.audit.run())
            group.create_task(notifications.listen())
            group.create_task(parts.sweeper.settle_announced_rows(notifications))
            group.create_task(self._servers.watch_replicas())
            # Rows that the next blocks settle need not be looked up one by one.
            await parts.follower.caught_up.wait()
            group.create_task(
                parts.sweeper.sweep_repeatedly(notifications, self._intervals.sweep_s)
            )
            group.create_task(self._cross_check_repeatedly(parts))

    async def _wait_for_index(self) -> None:
        """Wait until transactions can be looked up by their ids; the state says so meanwhile."""
        while not await self._transactions.can_look_up():
            self.progress.set_state(ChannelState.BUILDING_INDEXES)
            await asyncio.sleep(self._intervals.index_s)

    async def _cross_check_repeatedly(self, parts: _ChannelParts) -> None:
        while True:
            await asyncio.sleep(self._intervals.cross_check_s)
            await parts.cross_check()

    async def once(self, *, everything: bool) -> list[DiscrepancyCount]:
        """Settle and compare the present rows once, without a grace period for missing rows.

        With `everything` settled rows are compared too. Returns the open discrepancies afterwards.
        Raises `ReconciliationError`, `MigrationError`, and the errors of PostgreSQL and MongoDB if
        they are unavailable.
        """
        try:
            parts = await self._begin(wait_for_ledger=False)
            if not await self._transactions.can_look_up():
                raise ReconciliationError(_NO_INDEX)
            await self._servers.measure_lag()
            await parts.follower.follow(until=self._ledger.committed_height)
            await parts.sweeper.sweep_pending_rows()
            if everything:
                await parts.cross_check()
            await parts.audit.audit_below(self._ledger.committed_height)
            await parts.sweeper.recheck_open_discrepancies()
            async with self._servers.primary.acquire() as connection:
                return await count_open(connection, self.progress.channel)
        except asyncpg.PostgresError as error:
            if is_unavailable(error):
                raise
            raise with_advice(error) from error

    async def _begin(self, *, wait_for_ledger: bool) -> _ChannelParts:
        """Check the schema, the rights and the chain, and return the parts of a session."""
        self.progress.set_state(ChannelState.STARTING)
        async with self._servers.primary.acquire() as connection:
            await self._check_schema(connection)
            statements = await checked_statements(connection, self._business)
        parts = self._new_parts(statements)
        await parts.follower.begin(wait_for_ledger=wait_for_ledger)
        async with self._servers.primary.acquire() as connection:
            counts = await count_open(connection, self.progress.channel)
        self.progress.open_discrepancies = sum(count.count for count in counts)
        self._failures.recovered()
        return parts

    def _new_parts(self, statements: dict[str, TableStatements]) -> _ChannelParts:
        """Wire the parts of a session together."""
        pool, grace_s = self._servers.primary, self._intervals.grace_s
        cursor = ChannelCursor(pool, self.progress.channel)
        rows = RowReader(pool, self._business, statements, grace_s)
        settler = RowSettler(self._business, statements, rows)
        settlement = Settlement(cursor, self._business, rows, settler)
        audit = MissingRowAudit(
            cursor,
            settlement,
            self._transactions,
            self.progress,
            grace_s=grace_s,
            interval_s=self._intervals.audit_s,
            report=self._report_result,
        )
        follower = BlockFollower(
            cursor,
            settlement,
            self._transactions,
            self._ledger,
            self.progress,
            report=self._report_result,
            cursor_moved=audit.cursor_moved,
        )
        sweeper = Sweeper(
            settlement,
            rows,
            self._transactions,
            self._ledger,
            self._servers,
            business=self._business,
            channel=self.progress.channel,
            grace_s=grace_s,
            report=self._report_result,
            sweep_finished=self.progress.sweep_finished,
        )
        return _ChannelParts(follower, audit, sweeper)

    def _report_result(self, result: SettlementResult) -> None:
        """Count the result, log its discrepancies, and announce the settled campaigns."""
        self.progress.add(result)
        for finding in result.opened[:_MAX_LOGGED_DISCREPANCIES]:
            log.warning("discrepancy_found", channel=self.progress.channel, **to_builtins(finding))
        if len(result.opened) > _MAX_LOGGED_DISCREPANCIES:
            log.warning(
                "discrepancies_found", channel=self.progress.channel, count=len(result.opened)
            )
        self._rows_settled(result.campaigns)
