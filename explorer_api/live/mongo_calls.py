"""What a request may ask of MongoDB: a limited time; and what the client is told when it does not answer."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pymongo
import structlog
from pymongo.errors import ConnectionFailure, NetworkTimeout, OperationFailure, PyMongoError

from explorer_api.http.problems import ProblemError, unavailable

log = structlog.get_logger()

_LOG_INTERVAL_SECONDS = 60.0
_REFUSED = frozenset({13, 18})  # Unauthorized, AuthenticationFailed
_BAD_VALUE = 2
_CURSOR_NOT_FOUND = 43  # the server that had it is gone
_OUTAGES = frozenset({"database-unavailable", "database-refused"})


class MongoCalls:
    """Bounds the calls that are made, and logs an outage, at most one a minute, and its end.

    Its end is what those say that keep in `probe`: a request may have been answered from memory. A missing index is
    logged as such, as often; a question that takes too long is its client's affair.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None
        self._answered = -math.inf
        self._logged: dict[str, float] = {}
        self._told = False

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Every call made inside ends in time. Raises `ProblemError` where MongoDB cannot answer."""
        began = time.monotonic()
        try:
            with pymongo.timeout(self._seconds):
                yield
        except PyMongoError as error:
            others_were_answered = self._answered > began
            problem = (
                timed_out()
                if isinstance(error, NetworkTimeout) and others_were_answered
                else _problem(error)
            )
            if problem is None:
                raise
            self._failed(problem.name, error)
            raise problem from error

    @contextmanager
    def probe(self) -> Iterator[None]:
        """As `bounded`, for what surely asks MongoDB and is asked again and again: outages end with it."""
        with self.bounded():
            yield
        self._answered = time.monotonic()
        if self._since is not None and self._told:
            log.info("database_available", seconds=round(self._answered - self._since, 1))
        self._since, self._told = None, False

    def _failed(self, problem: str, error: PyMongoError) -> None:
        if problem in _OUTAGES:
            self._since = self._since if self._since is not None else time.monotonic()
            self._told |= self._warn("database_unavailable", error)
        elif problem == "not-ready":
            self._warn("index_missing", error)

    def _warn(self, event: str, error: PyMongoError) -> bool:
        """Whether it was logged."""
        now = time.monotonic()
        if now - self._logged.get(event, -math.inf) < _LOG_INTERVAL_SECONDS:
            return False
        self._logged[event] = now
        log.warning(event, kind=type(error).__name__, code=getattr(error, "code", None))
        return True


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
