"""Logs an error that repeats at most once a minute, and says when it is over."""

from collections.abc import Callable

import structlog

from indexer.progress import Progress
from ledger.sync_state import State

log = structlog.get_logger()

_INTERVAL_S = 60.0


class Recurring:
    """One kind of trouble of one channel."""

    def __init__(self, event: str, progress: Progress, clock: Callable[[], float]) -> None:
        self._event, self._progress, self._clock = event, progress, clock
        self._since: float | None = None
        self._logged = 0.0
        self._count = 0

    def failed(self, message: str, **fields: object) -> None:
        """Notes another failure; logs the first one and then one a minute."""
        now = self._clock()
        self._count += 1
        self._progress.failed(message, State.WAITING)
        if self._since is None or now - self._logged >= _INTERVAL_S:
            self._logged = now
            log.warning(self._event, channel=self._progress.channel, error=message, count=self._count, **fields)
        self._since = self._since or now

    def over(self) -> None:
        """Logs that it works again, if it did not."""
        if self._since is not None:
            lasted = round(self._clock() - self._since, 1)
            log.info("trouble_over", was=self._event, channel=self._progress.channel, seconds=lasted, count=self._count)
            self._since, self._count = None, 0
