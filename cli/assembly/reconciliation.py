"""Assembles reconciliation: the parts that settle business rows of one channel."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from cli.assembly.postgres import primary_dsn, replica_dsns
from cli.assembly.redis import redis_client
from cli.configuration.server_settings import PostgresSettings
from cli.configuration.settings import ReconcileSettings, Settings
from cli.errors import ConfigurationError
from indexer.agreement.agreed_ledger import AgreedLedger
from indexer.progress.channel_progress import ChannelProgress
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import DatabaseServer
from reconciliation.application_caches import CacheRefresher
from reconciliation.ledger_transactions import LedgerTransactions
from reconciliation.mapping import KINDLEDGER, BusinessMapping
from reconciliation.migrations.migrator import check_schema
from reconciliation.migrations.scripts import load_migrations
from reconciliation.postgres_servers import PoolOptions, PostgresServers
from reconciliation.reconciler import Reconciler, ReconciliationIntervals
from reconciliation.reconciliation_progress import ReconciliationProgress
from reconciliation.reports import DiscrepancyCount

_MAX_MEASUREMENTS = 10
_MEASURING_INTERVAL_S = 0.1


@dataclass(frozen=True)
class Reconciliation:
    """The assembled parts that reconcile one channel."""

    reconciler: Reconciler
    caches: CacheRefresher | None

    @property
    def background_tasks(self) -> tuple[Callable[[], Coroutine[Any, Any, None]], ...]:
        """The coroutine functions that run beside the channel's indexer."""
        return (
            (self.reconciler.run,)
            if self.caches is None
            else (self.reconciler.run, self.caches.run)
        )

    async def once(self, *, everything: bool) -> list[DiscrepancyCount]:
        """Reconcile once, as `Reconciler.once` does, and refresh the caches of the settled rows.

        Return the open discrepancies by kind.
        """
        open_discrepancies = await self.reconciler.once(everything=everything)
        if self.caches is not None and self.reconciler.progress.settled_rows:
            await self.caches.refresh()
        return open_discrepancies


def reconciled_channel(settings: Settings) -> str | None:
    """Return the channel that is reconciled, or None if no business database is configured.

    Raises `ConfigurationError` if the configuration does not say which channel this is.
    """
    if settings.postgres.dsn is None and settings.postgres.dsn_file is None:
        return None
    named = settings.reconcile.channel
    if named is None and len(settings.channels) == 1:
        return next(iter(settings.channels))
    if named not in settings.channels:
        raise ConfigurationError(
            "reconcile.channel: name the channel that postgres.dsn belongs to, one of [channels]: "
            f"{', '.join(settings.channels) or 'none is configured'}"
        )
    return named


@asynccontextmanager
async def reconciliation(
    settings: Settings, store: LedgerStore, ledger: ChannelProgress
) -> AsyncIterator[Reconciliation]:
    """Yield the reconciliation of the channel whose ledger is in `store`.

    Only agreed blocks settle rows. Its connections are closed at the end. Raises
    `ConfigurationError` for an address that cannot be used.
    """
    business = configured_mapping(settings.reconcile)
    progress = ReconciliationProgress(ledger.channel, lambda: datetime.now(UTC), ledger.changed.set)
    caches: CacheRefresher | None = None
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(postgres_servers(settings.postgres))
        redis_url = settings.redis.reveal() if settings.reconcile.caches else None
        if redis_url is not None:
            redis = await stack.enter_async_context(aclosing(redis_client(redis_url)))
            is_kindledger = (business.schema, business.tables) == (
                KINDLEDGER.schema,
                KINDLEDGER.tables,
            )
            caches = CacheRefresher(redis, servers.primary, write_live_values=is_kindledger)
        reconciler = Reconciler(
            servers,
            LedgerTransactions(store, business),
            business,
            AgreedLedger(ledger),
            progress,
            check_schema=partial(check_schema, migrations=load_migrations()),
            rows_settled=caches.rows_settled if caches is not None else lambda _: None,
            intervals=_intervals(settings.reconcile),
        )
        yield Reconciliation(reconciler, caches)


def configured_mapping(settings: ReconcileSettings) -> BusinessMapping:
    """Return the configured mapping: the tables whose rows name transactions."""
    return BusinessMapping(
        schema=settings.db_schema,
        tables=settings.tables or KINDLEDGER.tables,
        placeholders=settings.placeholders,
        chaincodes=settings.chaincodes,
        functions=settings.functions,
        amounts=KINDLEDGER.amounts if settings.amounts is None else settings.amounts,
        missing_rows=settings.missing_rows,
    )


def postgres_servers(settings: PostgresSettings, *, read_only: bool = False) -> PostgresServers:
    """Return the configured servers; with `read_only` they refuse every write.

    Raises `ConfigurationError` for an address that cannot be used.
    """
    options = PoolOptions(
        pool_size=settings.pool_size,
        statement_timeout_s=settings.statement_timeout_s,
        lock_timeout_s=settings.lock_timeout_s,
        replica_lag_s=settings.replica_lag_s,
        read_only=read_only,
    )
    return PostgresServers(primary_dsn(settings), replica_dsns(settings), options)


async def measure_servers(servers: PostgresServers) -> list[DatabaseServer]:
    """Return the state of each server, the primary first.

    A server without connections is unreachable. The lag of a replica is known when the replica has
    replayed what the primary had written at the first measurement: wait up to a second for that.
    """
    await servers.measure_lag()
    for _ in range(_MAX_MEASUREMENTS):
        if all(
            replica.lag_s is not None or not replica.connections
            for replica in servers.statuses()[1:]
        ):
            break
        await asyncio.sleep(_MEASURING_INTERVAL_S)
        await servers.measure_lag()
    return servers.statuses()


def _intervals(settings: ReconcileSettings) -> ReconciliationIntervals:
    return ReconciliationIntervals(
        sweep_s=settings.sweep_s, grace_s=settings.grace_s, cross_check_s=settings.cross_check_s
    )
