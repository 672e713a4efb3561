"""Logs an error that repeats at most once a minute, and says when it is over."""

import time
from collections.abc import Callable
from typing import Final

import structlog

log = structlog.get_logger()

INTERVAL_S: Final = 60.0


class ThrottledLog:
    """Logs one kind of error as `event`, and its end as `recovered_event`, with `fields` in each line.

    An error that comes back within the interval is logged only when the interval is over, so that a
    server that comes and goes does not fill the log either. The end of an outage that was never
    logged is not logged.
    """

    def __init__(
        self,
        event: str,
        recovered_event: str | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        **fields: object,
    ) -> None:
        self._event, self._recovered_event = event, recovered_event
        self._clock, self._fields = clock, fields
        self._failing_since: float | None = None
        self._logged_at: float | None = None
        self._logged_outage = False
        self._count = 0

    def failed(self, **fields: object) -> None:
        """Count a failure, and log it unless one was logged less than a minute ago."""
        now = self._clock()
        self._count += 1
        if self._failing_since is None:
            self._failing_since = now
        if self._logged_at is None or now - self._logged_at >= INTERVAL_S:
            self._logged_at, self._logged_outage = now, True
            log.warning(self._event, **self._fields, **fields, count=self._count)

    def recovered(self) -> None:
        """Log that the failures are over, if any was logged since the last recovery."""
        if self._failing_since is None:
            return
        if self._logged_outage and self._recovered_event is not None:
            seconds = round(self._clock() - self._failing_since, 1)
            log.info(self._recovered_event, **self._fields, seconds=seconds, count=self._count)
        self._failing_since, self._logged_outage, self._count = None, False, 0
