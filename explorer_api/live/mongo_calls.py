"""Time limits and error handling for calls of MongoDB."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pymongo
from pymongo.errors import ConnectionFailure, NetworkTimeout, OperationFailure, PyMongoError

from explorer_api.http.problems import ProblemError, unavailable
from ledger.mongodb.required_indexes import is_index_missing
from runtime.throttled_log import ThrottledLog

_UNAUTHORIZED: Final = 13
_AUTHENTICATION_FAILED: Final = 18
_CURSOR_NOT_FOUND: Final = 43
"""The code of MongoDB after a failover: the server that had the cursor is gone."""

_OUTAGES: Final = frozenset({"database-unavailable", "database-refused"})


class MongoCalls:
    """Limits the time of calls, turns their errors into problems, and logs outages.

    Only a successful `probe` ends an outage: a request inside `bounded` may have made no call of
    MongoDB. A missing index is logged too. A query that takes too long is not an outage.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._probed_at = -math.inf
        self._outages = ThrottledLog(
            "database_unavailable", "database_available", log_each_outage=False
        )
        self._missing_indexes = ThrottledLog("index_missing")

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Limit the time of all calls inside. Raises `ProblemError` if MongoDB cannot answer."""
        started_at = time.monotonic()
        try:
            with pymongo.timeout(self._limit_s):
                yield
        except PyMongoError as error:
            if isinstance(error, NetworkTimeout) and self._probed_at > started_at:
                problem: ProblemError | None = timed_out()  # MongoDB answered other calls meanwhile
            else:
                problem = _problem(error)
            if problem is None:
                raise
            self._log(problem.name, error)
            raise problem from error

    @contextmanager
    def probe(self) -> Iterator[None]:
        """Limit calls like `bounded`. Every call inside reaches MongoDB: success ends an outage."""
        with self.bounded():
            yield
        self._probed_at = time.monotonic()
        self._outages.recovered()

    def _log(self, problem: str, error: PyMongoError) -> None:
        fields = {"kind": type(error).__name__, "code": getattr(error, "code", None)}
        if problem in _OUTAGES:
            self._outages.failed(**fields)
        elif problem == "not-ready":
            self._missing_indexes.failed(**fields)


def _problem(error: PyMongoError) -> ProblemError | None:
    """Return the problem for an error of MongoDB, None for a fault of this program."""
    code = getattr(error, "code", None)
    if isinstance(error, OperationFailure) and code in (_UNAUTHORIZED, _AUTHENTICATION_FAILED):
        return unavailable(
            "database-refused",
            "Database refused",
            "MongoDB does not allow this API to read.",
            "The operator must check the user and role in the API's KINDLEDGER_MONGO__URI.",
        )
    if is_index_missing(error):
        return unavailable(
            "not-ready",
            "Not ready",
            "An index that this query needs is missing, or is still being built.",
            "Start `kindledger run` once: it creates missing indexes. /ready names them.",
        )
    if isinstance(error, ConnectionFailure) or code == _CURSOR_NOT_FOUND:
        return unavailable(
            "database-unavailable",
            "Database unavailable",
            "MongoDB does not answer, so the ledger cannot be read.",
            "Try again shortly; if the problem persists, the operator must check MongoDB.",
        )
    if error.timeout:
        return timed_out()
    return None


def timed_out() -> ProblemError:
    """Return the problem of a response that takes too long."""
    return unavailable(
        "timed-out",
        "Timed out",
        "The response was not ready in time.",
        "Try again shortly, with a narrower range or a lower limit.",
    )
