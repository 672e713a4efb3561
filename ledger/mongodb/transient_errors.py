"""Tells after which errors of MongoDB the same call may succeed later."""

from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    OperationFailure,
    PyMongoError,
    WTimeoutError,
)

# Codes of a replica set that steps down, shuts down, fails over or is overloaded.
_TRANSIENT_CODES = frozenset(
    {6, 7, 50, 64, 89, 91, 112, 133, 134, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436}
)


def is_transient(error: Exception) -> bool:
    """Return whether the same call may succeed after this error."""
    if not isinstance(error, PyMongoError):
        return False
    if isinstance(error, ConnectionFailure | WTimeoutError) or error.has_error_label(
        "RetryableWriteError"
    ):
        return True
    if isinstance(error, BulkWriteError):
        failures = [
            *error.details.get("writeErrors", ()),
            *error.details.get("writeConcernErrors", ()),
        ]
        return all(failure["code"] in _TRANSIENT_CODES for failure in failures)
    return isinstance(error, OperationFailure) and error.code in _TRANSIENT_CODES
