"""Keeps the business rows of one channel in step with its ledger, whichever of the two is ahead.

Blocks are followed; rows that get their hash late are settled when PostgreSQL notifies of them, and by a sweep over
all that wait; every row is compared now and then; what was found wrong is looked at again until it is over. Each goes
on side by side. When one of them fails, all end, and begin again where the books stand.
"""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import structlog
from msgspec import Struct, to_builtins
from pymongo.errors import PyMongoError

from ledger.mongodb.sync_state import ChannelState
from reconciliation.discrepancies import counts
from reconciliation.errors import FAILURES, ReconciliationError, explained, is_away
from reconciliation.facts import LedgerFacts
from reconciliation.follower import Follower
from reconciliation.hash_notifications import HashNotifications
from reconciliation.ledger_progress import LedgerProgress
from reconciliation.mapping import BusinessMapping
from reconciliation.migrations.scripts import MigrationError
from reconciliation.postgres_servers import Connection, PostgresServers
from reconciliation.reconciliation_progress import ReconciliationProgress
from reconciliation.reports import DiscrepancyCount as Count
from reconciliation.schema_check import checked_statements
from reconciliation.settlement import Settlement, SettlementResult
from reconciliation.sweeper import Sweeper
from runtime.backoff import Backoff
from runtime.tasks import unwrap_exception_group
from runtime.throttled_log import ThrottledLog

log = structlog.get_logger()

_MOST_LOGGED = 10
_STOP_S = 2.0


class ReconciliationIntervals(Struct, frozen=True, kw_only=True):
    """How often what is looked at, in seconds."""

    sweep_s: float = 30.0
    """Between two sweeps over the rows that wait."""
    grace_s: float = 120.0
    """How long a row may be ahead of the ledger, or the ledger ahead of the row, before it counts as wrong."""
    cross_check_s: float = 86_400.0
    """Between two comparisons of all rows."""
    recheck_s: float = 60.0
    """Until it is looked again whether a schema, right or chain fits that did not."""


class Reconciler:
    """Reconciles one channel with the business database. `settled` is told the campaigns whose rows changed."""

    def __init__(
        self,
        servers: PostgresServers,
        facts: LedgerFacts,
        business: BusinessMapping,
        ledger: LedgerProgress,
        progress: ReconciliationProgress,
        *,
        check_schema: Callable[[Connection], Awaitable[None]],
        settled: Callable[[set[str]], None],
        pace: ReconciliationIntervals = ReconciliationIntervals(),  # noqa: B008 - frozen
    ) -> None:
        self._servers, self._facts, self._business = servers, facts, business
        self._ledger, self.progress, self._pace = ledger, progress, pace
        self._check_schema, self._settled = check_schema, settled
        progress.servers, progress.pool_size = servers.figures, servers.primary.get_max_size()
        self._failures = ThrottledLog(
            "reconciliation_held_up",
            "reconciliation_goes_on",
            channel=progress.channel,
        )

    async def run(self) -> None:
        """Reconciles until cancelled. Never ends by itself: whatever is missing, indexing goes on without it.

        PostgreSQL or MongoDB away: tried again, ever more slowly. A schema, right or chain that does not fit: named in
        the log and in the progress, and looked at again after a while.
        """
        backoff = Backoff()
        while True:
            reached = self.progress.height
            try:
                with unwrap_exception_group():
                    # A task of its own: before Python 3.13 one whose TaskGroup fails counts as cancelled ever after.
                    await self._until_ended(asyncio.create_task(self._session()))
            except (*FAILURES, PyMongoError, ReconciliationError, MigrationError) as error:
                if self.progress.height > reached:
                    backoff.reset()
                delay_s = self._failed(error, backoff)
                await (
                    self._servers.primary.expire_connections()
                )  # they prepared statements for the schema as it was
            await asyncio.sleep(delay_s)

    async def _until_ended(self, session: asyncio.Task[None]) -> None:
        """Waits for the session, and ends it in time when this is cancelled, even while a server hangs."""
        try:
            await asyncio.wait((session,))
        except asyncio.CancelledError:
            session.cancel()
            await asyncio.wait((session,), timeout=_STOP_S)
            if not session.done():
                self._servers.abort()
            await asyncio.gather(session, return_exceptions=True)
            raise
        await session

    def _failed(self, error: Exception, backoff: Backoff) -> float:
        """Notes what holds it up; returns after how many seconds to try again."""
        if isinstance(error, PyMongoError):
            state, message = ChannelState.WAITING, f"MongoDB: {error}"
        elif isinstance(error, FAILURES) and is_away(error):
            state, message = (
                ChannelState.WAITING,
                f"PostgreSQL: {str(error) or type(error).__name__}",
            )
        elif isinstance(error, asyncpg.PostgresError):
            state, message = ChannelState.FAILED, str(explained(error))
        else:
            state, message = ChannelState.FAILED, str(error)
        self._failures.failed(error=message)
        self.progress.failed(message, state)
        return backoff.next_delay() if state is ChannelState.WAITING else self._pace.recheck_s

    async def _session(self) -> None:
        """Does everything side by side, until something fails."""
        follower, sweeper = await self._begin(wait=True)
        notices = HashNotifications(self._servers)
        async with asyncio.TaskGroup() as group:
            group.create_task(follower.follow())
            group.create_task(follower.audit())
            group.create_task(notices.listen())
            group.create_task(sweeper.attend(notices))
            group.create_task(self._servers.watch())
            await (
                follower.in_step.wait()
            )  # what the blocks settle need not be looked for row by row
            group.create_task(sweeper.sweep(notices, self._pace.sweep_s))
            group.create_task(self._cross_check(follower, sweeper))

    async def _cross_check(self, follower: Follower, sweeper: Sweeper) -> None:
        """Compares every row with the ledger, and every transaction with the rows, every so often, until cancelled."""
        while True:
            await asyncio.sleep(self._pace.cross_check_s)
            await sweeper.check_all()
            await follower.audit_again()

    async def once(self, *, everything: bool) -> list[Count]:
        """Settles and compares all that is there now, with no grace for missing rows; `everything`: settled rows too.

        Returns what is open afterwards. Raises `ReconciliationError`, `MigrationError`, and what PostgreSQL and
        MongoDB raise while they are away.
        """
        try:
            follower, sweeper = await self._begin(wait=False)
            await self._servers.measure()
            await follower.follow(until=self._ledger.committed_height)
            for table in self._business.tables:
                if table.status is not None:
                    await sweeper.sweep_table(table)
            if everything:
                await sweeper.check_all()
                await follower.audit_again()
            await follower.audit_below(self._ledger.committed_height)
            await sweeper.review()
            async with self._servers.primary.acquire() as connection:
                return await counts(connection, self.progress.channel)
        except asyncpg.PostgresError as error:
            if is_away(error):
                raise
            raise explained(error) from error

    async def _begin(self, *, wait: bool) -> tuple[Follower, Sweeper]:
        """Checks that schema, rights and chain fit, and takes up the books."""
        self.progress.set_state(ChannelState.STARTING)
        async with self._servers.primary.acquire() as connection:
            await self._check_schema(connection)
            statements = await checked_statements(connection, self._business)
        grace_s = self._pace.grace_s
        books = Settlement(
            self._servers.primary, self.progress.channel, self._business, statements, grace_s
        )
        follower = Follower(
            books, self._facts, self._ledger, self.progress, grace_s=grace_s, settled=self._did
        )
        await follower.begin(wait=wait)
        self.progress.discrepancies = await books.open_discrepancies()
        self._failures.recovered()
        sweeper = Sweeper(
            books,
            self._facts,
            self._business,
            self._ledger,
            self._servers,
            settled=self._did,
            swept=self.progress.swept,
        )
        return follower, sweeper

    def _did(self, outcome: SettlementResult) -> None:
        self.progress.did(outcome)
        for finding in outcome.opened[:_MOST_LOGGED]:
            log.warning("discrepancy_found", channel=self.progress.channel, **to_builtins(finding))
        if len(outcome.opened) > _MOST_LOGGED:
            log.warning(
                "discrepancies_found", channel=self.progress.channel, count=len(outcome.opened)
            )
        self._settled(outcome.campaigns)
