"""Runs reconciliation of a `GrowingLedger`, as the daemon and as the command do."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

from ledger.mongodb.store import LedgerStore
from reconciliation.connection import Connection
from reconciliation.ledger_progress import LedgerProgress
from reconciliation.ledger_transactions import BATCH_BLOCKS, LedgerTransactions
from reconciliation.mapping import KINDLEDGER, BusinessMapping
from reconciliation.migrations.migrator import check_schema
from reconciliation.migrations.scripts import load_migrations
from reconciliation.postgres_servers import PoolOptions, PostgresServers
from reconciliation.reconciler import Reconciler, ReconciliationIntervals
from reconciliation.reconciliation_progress import ReconciliationProgress
from tests.reconciliation.growing_ledger import CHANNEL

INTERVALS = ReconciliationIntervals(sweep_s=0.2, grace_s=0.5, recheck_s=0.2)
POOL_OPTIONS = PoolOptions(statement_timeout_s=5.0, lock_timeout_s=0.5)

END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'kindledger-explorer'
"""
"""Breaks off every connection of the daemon to the database."""


class ReconciledLedger(Protocol):
    """A stored ledger, and how far its blocks may settle rows."""

    @property
    def store(self) -> LedgerStore: ...

    @property
    def progress(self) -> LedgerProgress: ...


def new_reconciler(
    servers: PostgresServers,
    ledger: ReconciledLedger,
    *,
    business: BusinessMapping = KINDLEDGER,
    intervals: ReconciliationIntervals = INTERVALS,
    batch_blocks: int = BATCH_BLOCKS,
    rows_settled: Callable[[set[str]], None] = lambda _: None,
) -> Reconciler:
    """Return the reconciler of a daemon for the ledger."""

    async def check(connection: Connection) -> None:
        await check_schema(connection, load_migrations())

    return Reconciler(
        servers,
        LedgerTransactions(ledger.store, business, batch_blocks=batch_blocks),
        business,
        ledger.progress,
        ReconciliationProgress(CHANNEL, lambda: datetime.now(UTC), lambda: None),
        check_schema=check,
        rows_settled=rows_settled,
        intervals=intervals,
    )


@asynccontextmanager
async def reconciling(
    dsn: str,
    ledger: ReconciledLedger,
    *,
    replicas: Sequence[str] = (),
    pool_options: PoolOptions = POOL_OPTIONS,
    **options: Any,
) -> AsyncIterator[Reconciler]:
    """Run a reconciler while the context lasts. Keyword arguments go to `new_reconciler`."""
    async with PostgresServers(dsn, replicas, pool_options) as servers:
        reconciler = new_reconciler(servers, ledger, **options)
        running = asyncio.create_task(reconciler.run())
        try:
            yield reconciler
            assert not running.done(), running.exception()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def reconcile_once(dsn: str, ledger: ReconciledLedger, **options: Any) -> Reconciler:
    """Settle and compare everything once. Keyword arguments go to `new_reconciler`."""
    async with PostgresServers(dsn, (), POOL_OPTIONS) as servers:
        reconciler = new_reconciler(servers, ledger, **options)
        await reconciler.once(everything=True)
        return reconciler
