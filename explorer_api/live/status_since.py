"""The time at which each check got its present status."""

from collections.abc import Callable
from datetime import UTC, datetime


class StatusSince:
    """Remembers since when each check has had its status, as far as this process has seen."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._seen: dict[str, tuple[str, datetime]] = {}

    def of(self, check: str, status: str) -> datetime:
        """Return the time since which the check has had this status without interruption."""
        last = self._seen.get(check)
        if last is None or last[0] != status:
            last = self._seen[check] = (status, self._now())
        return last[1]
