"""What reconciliation needs of PostgreSQL: a primary that is written, the schema, tables and rights, near replicas."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

import asyncpg

from cli.assembly.postgres import postgres_failures
from cli.assembly.reconciliation import mapping_of, measured, servers_of
from cli.configuration.settings import PostgresSettings, ReconcileSettings
from cli.doctor.checks import Details, FailedStepError, SkippedStepError, configured
from cli.errors import ConfigurationError, Exit, PostgresUnavailableError
from reconciliation.errors import ReconciliationError
from reconciliation.migrations.migrator import check_schema
from reconciliation.migrations.scripts import MigrationError, load_migrations
from reconciliation.schema_check import checked_statements

_PRIMARY, _SCHEMA, _TABLES, _REPLICA, _LAG = "primary", "schema", "tables", "replica", "lag"
PRIMARY_STEPS: Final = (_PRIMARY, _SCHEMA, _TABLES)
REPLICA_STEPS: Final = (_REPLICA, _LAG)

_IN_RECOVERY = "SELECT pg_is_in_recovery()"
_READ_ONLY = "SELECT current_setting('transaction_read_only')::bool"
_NEWEST = "SELECT max(version) FROM kindledger_migrations"

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def check_primary(
    connection: Connection, settings: ReconcileSettings, details: Details
) -> None:
    """Whether it takes writes, and what the daemon itself looks into at its start. Raises `FailedStepError`."""
    with _answers(
        _PRIMARY, "Name the primary in postgres.dsn, and replicas in postgres.replica_dsns."
    ):
        if await connection.fetchval(_IN_RECOVERY):
            raise ReconciliationError("it takes no writes: it is a replica")
        if await connection.fetchval(_READ_ONLY):
            raise ReconciliationError("it takes no writes: default_transaction_read_only is on")
        details[_PRIMARY] = "takes writes"
    with _answers(_SCHEMA, "`kindledger migrate status` shows every migration."):
        await check_schema(connection, load_migrations())
        details[_SCHEMA] = f"migrated to {await connection.fetchval(_NEWEST):04}"
    with _answers(_TABLES, "Until then blocks are indexed, but no row is settled."):
        tables = await checked_statements(connection, mapping_of(settings))
        details[_TABLES] = f"{', '.join(tables)}: columns, rights and policies are as needed"


async def check_replica(
    connection: Connection, settings: PostgresSettings, number: int, details: Details
) -> None:
    """Whether it is a replica, and near enough to be read. Raises `FailedStepError` or `SkippedStepError`."""
    with _answers(
        _REPLICA, "Correct postgres.replica_dsns: replicas follow the primary by streaming."
    ):
        if not await connection.fetchval(_IN_RECOVERY):
            raise ReconciliationError("it is no replica: it takes writes itself")
        details[_REPLICA] = "follows a primary"
    with configured(_LAG, "Correct the section [postgres]."):
        async with servers_of(settings) as servers:
            primary, *replicas = await measured(servers)
    if not primary.connections:
        raise SkippedStepError(_LAG, "needs the primary")
    lag_s = replicas[number - 1].lag_s
    if lag_s is None or lag_s > settings.replica_lag_s:
        behind = "a while" if lag_s is None else f"{lag_s:.1f} s"
        advice = "Reports are read from another server meanwhile. Look at pg_stat_replication on the primary."
        raise FailedStepError(
            _LAG, f"it is {behind} behind, or follows another server", advice, Exit.UNAVAILABLE
        )
    details[_LAG] = f"{lag_s:.1f} s behind"


@contextmanager
def _answers(step: str, advice: str) -> Iterator[None]:
    """Raises `FailedStepError` where the server goes away, or what it says is not what is needed."""
    try:
        with postgres_failures():
            yield
    except PostgresUnavailableError as error:
        raise FailedStepError(
            step, str(error), "Look at the server's log.", Exit.UNAVAILABLE
        ) from error
    except (ConfigurationError, MigrationError, ReconciliationError) as error:
        raise FailedStepError(step, str(error), advice, Exit.CONFIGURATION) from error
