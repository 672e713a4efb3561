"""Keeps calls away from a server that failed, until it may answer again."""

import time
from collections.abc import Callable


class CircuitBreaker:
    """Opens after a failure: refuses every call for `pause_s` seconds, then lets one call try.

    The circuit closes when that call succeeds, and opens again when it fails.
    """

    def __init__(self, pause_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._pause_s, self._clock = pause_s, clock
        self._open_until: float | None = None
        self._trying = False

    @property
    def is_open(self) -> bool:
        """Whether a call would be refused now."""
        if self._open_until is None:
            return False
        return self._trying or self._clock() < self._open_until

    def allow(self) -> bool:
        """Return whether a call may be made; the caller then reports its success or failure."""
        if self.is_open:
            return False
        self._trying = self._open_until is not None
        return True

    def succeeded(self) -> bool:
        """Close the circuit; return whether it was open until now."""
        was_open = self._open_until is not None
        self._open_until, self._trying = None, False
        return was_open

    def failed(self) -> None:
        """Open the circuit for `pause_s` seconds."""
        self._open_until, self._trying = self._clock() + self._pause_s, False

    def abandoned(self) -> None:
        """Let another call try: the one that was allowed ended without telling anything of the server."""
        self._trying = False
