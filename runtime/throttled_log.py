"""Logs an error that repeats at most once a minute, and says when it is over."""

from collections.abc import Callable

import structlog

log = structlog.get_logger()

_INTERVAL_S = 60.0


class ThrottledLog:
    """One kind of trouble. The log calls it `event` and its end `over`; `fields` say whose it is."""

    def __init__(self, event: str, over: str, clock: Callable[[], float], **fields: object) -> None:
        self._event, self._over, self._clock, self._fields = event, over, clock, fields
        self._since: float | None = None
        self._logged = 0.0
        self._count = 0

    def failed(self, message: str, **fields: object) -> None:
        """Notes another failure; logs the first one and then one a minute."""
        now = self._clock()
        self._count += 1
        if self._since is None or now - self._logged >= _INTERVAL_S:
            self._logged = now
            log.warning(self._event, **self._fields, error=message, count=self._count, **fields)
        self._since = self._since or now

    def over(self) -> None:
        """Logs that it works again, if it did not."""
        if self._since is not None:
            lasted = round(self._clock() - self._since, 1)
            log.info(self._over, **self._fields, seconds=lasted, count=self._count)
            self._since, self._count = None, 0
