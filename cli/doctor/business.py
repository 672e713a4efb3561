"""Checks what reconciliation needs of PostgreSQL: primary, schema, tables, rights and replicas."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cli.assembly.postgres import postgres_failures
from cli.assembly.reconciliation import configured_mapping, measure_servers, postgres_servers
from cli.configuration.server_settings import PostgresSettings
from cli.configuration.settings import ReconcileSettings
from cli.doctor.checks import (
    Details,
    FailedStepError,
    SkippedStepError,
    fail_on_configuration_error,
)
from cli.errors import ConfigurationError, Exit, PostgresUnavailableError
from reconciliation.connection import Connection
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


async def check_primary(
    connection: Connection, settings: ReconcileSettings, details: Details
) -> None:
    """Check that the server accepts writes, and everything that the daemon checks at its start.

    Raises `FailedStepError`.
    """
    with _fail_on_database_error(
        _PRIMARY, "Name the primary in postgres.dsn, and replicas in postgres.replica_dsns."
    ):
        if await connection.fetchval(_IN_RECOVERY):
            raise ReconciliationError("it accepts no writes: it is a replica")
        if await connection.fetchval(_READ_ONLY):
            raise ReconciliationError("it accepts no writes: default_transaction_read_only is on")
        details[_PRIMARY] = "accepts writes"
    with _fail_on_database_error(_SCHEMA, "`kindledger migrate status` shows every migration."):
        await check_schema(connection, load_migrations())
        details[_SCHEMA] = f"migrated to {await connection.fetchval(_NEWEST):04}"
    with _fail_on_database_error(
        _TABLES, "Until this is corrected, blocks are indexed but no row is settled."
    ):
        tables = await checked_statements(connection, configured_mapping(settings))
        details[_TABLES] = f"{', '.join(tables)}: columns, rights and policies are right"


async def check_replica(
    connection: Connection, settings: PostgresSettings, number: int, details: Details
) -> None:
    """Check that the server is a replica, and that its lag is small enough to read from it.

    Raises `FailedStepError` or `SkippedStepError`.
    """
    with _fail_on_database_error(
        _REPLICA, "Correct postgres.replica_dsns: replicas follow the primary by streaming."
    ):
        if not await connection.fetchval(_IN_RECOVERY):
            raise ReconciliationError("it is not a replica: it accepts writes itself")
        details[_REPLICA] = "follows a primary"
    with fail_on_configuration_error(_LAG, "Correct the section [postgres]."):
        async with postgres_servers(settings) as servers:
            primary, *replicas = await measure_servers(servers)
    if not primary.connections:
        raise SkippedStepError(_LAG, "needs the primary")
    lag_s = replicas[number - 1].lag_s
    if lag_s is None or lag_s > settings.replica_lag_s:
        lag = "an unknown time" if lag_s is None else f"{lag_s:.1f} s"
        raise FailedStepError(
            _LAG,
            f"it is {lag} behind the primary, or follows another server",
            "Until this is corrected, reports are read from another server. Look at "
            "pg_stat_replication on the primary.",
            Exit.UNAVAILABLE,
        )
    details[_LAG] = f"{lag_s:.1f} s behind"


@contextmanager
def _fail_on_database_error(step: str, advice: str) -> Iterator[None]:
    """Raise `FailedStepError` if the server becomes unavailable or does not meet a requirement."""
    try:
        with postgres_failures():
            yield
    except PostgresUnavailableError as error:
        raise FailedStepError(
            step, str(error), "Look at the server's log.", Exit.UNAVAILABLE
        ) from error
    except (ConfigurationError, MigrationError, ReconciliationError) as error:
        raise FailedStepError(step, str(error), advice, Exit.CONFIGURATION) from error
