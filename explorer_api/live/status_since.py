"""Since when things are as they are."""

from collections.abc import Callable
from datetime import UTC, datetime


class StatusSince:
    """Remembers since when each thing says what it says, as far as this process has seen."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._seen: dict[str, tuple[str, datetime]] = {}

    def of(self, name: str, status: str) -> datetime:
        """When it first said so, without a break."""
        known = self._seen.get(name)
        if known is None or known[0] != status:
            known = self._seen[name] = (status, self._now())
        return known[1]
