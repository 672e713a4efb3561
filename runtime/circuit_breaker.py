"""Stops calls to a server that failed, until a trial call succeeds."""

import time
from collections.abc import Callable


class CircuitBreaker:
    """Refuses every call for `pause_s` seconds after a failure, then allows one trial call.

    The circuit closes when the trial call succeeds, and opens again when it fails.
    """

    def __init__(self, pause_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._pause_s, self._clock = pause_s, clock
        self._open_until: float | None = None
        self._trial_is_running = False

    @property
    def is_open(self) -> bool:
        """Whether a call would be refused now."""
        return self._trial_is_running or self._is_paused

    @property
    def _is_paused(self) -> bool:
        return self._open_until is not None and self._clock() < self._open_until

    def allow(self) -> bool:
        """Return whether a call may be made.

        After every allowed call, report its outcome: `succeeded`, `failed` or `abandoned`.
        """
        if self.is_open:
            return False
        self._trial_is_running = self._open_until is not None
        return True

    def succeeded(self) -> None:
        """Close the circuit, except during the pause: then the call began before the failure."""
        if not self._is_paused:
            self._open_until, self._trial_is_running = None, False

    def failed(self) -> None:
        """Open the circuit for `pause_s` seconds."""
        self._open_until, self._trial_is_running = self._clock() + self._pause_s, False

    def abandoned(self) -> None:
        """Allow another trial call: the allowed call ended without an answer from the server."""
        self._trial_is_running = False
