"""The failures of PostgreSQL: temporary failures, refused rows, and faults to be corrected."""

from typing import Final

import asyncpg


class ReconciliationError(Exception):
    """Reconciliation cannot continue until an operator acts. Indexing continues."""


POSTGRES_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""The errors that calls to PostgreSQL raise."""

_LOCK_CONFLICT = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
)
_UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # also if no server is of the kind that target_session_attrs names
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.InternalServerError,
    asyncpg.PostgresIOError,
)
_ROW_REFUSED = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.WithCheckOptionViolationError,
    asyncpg.PLPGSQLError,
    asyncpg.TriggeredActionError,
    asyncpg.UnknownPostgresError,  # a SQLSTATE that a trigger defines itself
)
_ADVICE: Final[dict[type[asyncpg.PostgresError], str]] = {
    asyncpg.InsufficientPrivilegeError: (
        "Grant the role kindledger_indexer to the user of postgres.dsn."
    ),
    asyncpg.UndefinedTableError: "Run `kindledger migrate up`, or correct [reconcile].",
    asyncpg.UndefinedColumnError: "Run `kindledger migrate up`, or correct [reconcile].",
    asyncpg.InvalidAuthorizationSpecificationError: "Check user and password in postgres.dsn.",
    asyncpg.InvalidCatalogNameError: "Create the database, or correct postgres.dsn.",
}


def is_lock_conflict(error: BaseException) -> bool:
    """Return whether another transaction caused the failure.

    The same call may succeed if it is repeated, or if it omits the rows that the other transaction
    has locked.
    """
    return isinstance(error, _LOCK_CONFLICT)


def is_row_refused(error: BaseException) -> bool:
    """Return whether PostgreSQL, a constraint or a trigger refuses the new values of a row."""
    return isinstance(error, _ROW_REFUSED)


def is_unavailable(error: BaseException) -> bool:
    """Return whether the same call may succeed later, without a correction.

    The server is down, starting, overloaded or no longer the primary, or another transaction holds
    a lock.
    """
    return (isinstance(error, _UNAVAILABLE) or is_lock_conflict(error)) and not isinstance(
        error, asyncpg.ClientConfigurationError
    )


def with_advice(error: asyncpg.PostgresError) -> ReconciliationError:
    """Return an error with the server's message and what the operator should do."""
    advice = next(
        (text for kind, text in _ADVICE.items() if isinstance(error, kind)),
        "Look at PostgreSQL's log.",
    )
    return ReconciliationError(f"PostgreSQL: {str(error).rstrip('.')} ({error.sqlstate}). {advice}")
