"""Which failures of PostgreSQL pass, which an operator must cure, and which a single row causes."""

from typing import Final

import asyncpg


class ReconciliationError(Exception):
    """Reconciliation cannot go on until somebody changes something; indexing can."""


FAILURES: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""What calls to PostgreSQL raise."""

_BUSY = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
)
_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # also when no server is of the kind that target_session_attrs asks for
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.InternalServerError,
    asyncpg.PostgresIOError,
)
_REFUSED = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.WithCheckOptionViolationError,
    asyncpg.PLPGSQLError,
    asyncpg.TriggeredActionError,
    asyncpg.UnknownPostgresError,  # a SQLSTATE that a trigger made up
)


def is_busy(error: BaseException) -> bool:
    """Whether another transaction is in the way: the same may succeed at once, or without the rows that it holds."""
    return isinstance(error, _BUSY)


def is_refusal(error: BaseException) -> bool:
    """Whether PostgreSQL, or a constraint or trigger of the schema, does not take a row as it would become."""
    return isinstance(error, _REFUSED)


def is_away(error: BaseException) -> bool:
    """Whether the server is down, starting, full, or no longer the primary."""
    return (isinstance(error, _AWAY) or is_busy(error)) and not isinstance(
        error, asyncpg.ClientConfigurationError
    )


def explained(error: asyncpg.PostgresError) -> ReconciliationError:
    """What an operator must cure, in the server's words."""
    advice: dict[type[asyncpg.PostgresError], str] = {
        asyncpg.InsufficientPrivilegeError: "Grant the role kindledger_indexer to the user of postgres.dsn.",
        asyncpg.UndefinedTableError: "Run `kindledger migrate up`, or correct [reconcile].",
        asyncpg.UndefinedColumnError: "Run `kindledger migrate up`, or correct [reconcile].",
        asyncpg.InvalidAuthorizationSpecificationError: "Check user and password in postgres.dsn.",
        asyncpg.InvalidCatalogNameError: "Create the database, or correct postgres.dsn.",
    }
    cure = next(
        (text for kind, text in advice.items() if isinstance(error, kind)),
        "Look at PostgreSQL's log.",
    )
    return ReconciliationError(f"PostgreSQL: {str(error).rstrip('.')} ({error.sqlstate}). {cure}")
