"""What a request may ask of MongoDB: a limited time; and what the client is told when it does not answer."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pymongo
import structlog
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from explorer_api.problems import ProblemError, unavailable

log = structlog.get_logger()

_LOG_INTERVAL_SECONDS = 60.0
_REFUSED = frozenset({13, 18})  # Unauthorized, AuthenticationFailed
_BAD_VALUE = 2
_CURSOR_NOT_FOUND = 43  # the server that had it is gone


class Database:
    """Bounds the calls that a request makes, and logs an outage, at most one a minute, and its end."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None
        self._logged: float | None = None
        self._told = False

    @contextmanager
    def calls(self) -> Iterator[None]:
        """Every call made inside ends in time. Raises `ProblemError` where MongoDB cannot answer."""
        try:
            with pymongo.timeout(self._seconds):
                yield
        except PyMongoError as error:
            problem = _problem(error)
            if problem is None:
                raise
            self._failed(error)
            raise problem from error
        self._over()

    def _failed(self, error: PyMongoError) -> None:
        now = time.monotonic()
        if self._logged is None or now - self._logged >= _LOG_INTERVAL_SECONDS:
            self._logged, self._told = now, True
            log.warning("database_unavailable", kind=type(error).__name__, code=getattr(error, "code", None))
        self._since = self._since if self._since is not None else now

    def _over(self) -> None:
        if self._since is not None and self._told:
            log.info("database_available", seconds=round(time.monotonic() - self._since, 1))
        self._since, self._told = None, False


def _problem(error: PyMongoError) -> ProblemError | None:
    """None for an error that is not the database's state but ours."""
    if isinstance(error, OperationFailure) and error.code in _REFUSED:
        return unavailable(
            "database-refused",
            "Database refused",
            "MongoDB does not let this API read.",
            "The operator must check the user and role in the API's KINDLEDGER_MONGO__URI.",
        )
    if isinstance(error, OperationFailure) and error.code == _BAD_VALUE and "hint" in str(error):
        return unavailable(
            "not-ready",
            "Not ready",
            "An index that this question needs is missing, or still being built.",
            "Start `kindledger run` once: it creates what is missing. /ready names it.",
        )
    if isinstance(error, ConnectionFailure) or getattr(error, "code", None) == _CURSOR_NOT_FOUND:
        return unavailable(
            "database-unavailable",
            "Database unavailable",
            "MongoDB does not answer, so nothing of the ledger can be shown.",
            "Try again shortly; if it lasts, the operator must look at MongoDB.",
        )
    if error.timeout:
        return timed_out()
    return None


def timed_out() -> ProblemError:
    """The answer took too long."""
    return unavailable(
        "timed-out",
        "Timed out",
        "The answer was not ready in time.",
        "Try again shortly, with a narrower range or a lower limit.",
    )
