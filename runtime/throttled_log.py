"""Limits how often a repeated error is logged, and logs the recovery."""

import time
from collections.abc import Callable

import structlog

log = structlog.get_logger()


class ThrottledLog:
    """Logs one kind of error as `event` and its end as `recovered_event`, each with `fields`.

    The first error of an outage is logged at once, then at most one in each interval. Without
    `log_each_outage` at most one error is logged in each interval even if there were recoveries in
    between: a server that fails and recovers again and again does not fill the log. The end of an
    outage that was not logged is not logged either.
    """

    def __init__(
        self,
        event: str,
        recovered_event: str | None = None,
        *,
        interval_s: float = 60.0,
        log_each_outage: bool = True,
        clock: Callable[[], float] = time.monotonic,
        **fields: object,
    ) -> None:
        self._event, self._recovered_event = event, recovered_event
        self._interval_s, self._log_each_outage = interval_s, log_each_outage
        self._clock, self._fields = clock, fields
        self._failing_since: float | None = None
        self._logged_at: float | None = None
        self._outage_logged = False
        self._count = 0

    def failed(self, **fields: object) -> None:
        """Count a failure, and log it unless one was logged within the last interval."""
        now = self._clock()
        self._count += 1
        if self._failing_since is None:
            self._failing_since = now
            if self._log_each_outage:
                self._logged_at = None
        if self._logged_at is None or now - self._logged_at >= self._interval_s:
            self._logged_at, self._outage_logged = now, True
            log.warning(self._event, **self._fields, **fields, count=self._count)

    def recovered(self) -> None:
        """Log that the failures have ended, if any was logged since the last recovery."""
        if self._failing_since is None:
            return
        if self._outage_logged and self._recovered_event is not None:
            seconds = round(self._clock() - self._failing_since, 1)
            log.info(self._recovered_event, **self._fields, seconds=seconds, count=self._count)
        self._failing_since, self._outage_logged, self._count = None, False, 0
