"""How far the envelopes of a channel's blocks are verified, and what was found."""

from collections.abc import Callable
from datetime import datetime

from ledger.mongodb.sync_state import EnvelopeReport, LastError
from ledger.position import Height


class EnvelopeProgress:
    """The progress of the verification of one channel's envelopes."""

    height: Height | None = None
    """The height below which every block has a verdict; None until it has been read."""
    resumed: Height | None = None
    """The block at which the verification goes on."""
    contradictions = 0
    """The codes that contradict the signatures, in all blocks with a verdict."""
    first_contradiction: int | None = None
    """The first block with such a code."""
    checked = 0
    """The envelopes that this process checked."""
    not_checked = 0
    """The envelopes that this process met and could not check wholly."""

    def __init__(self, clock: Callable[[], float], now: Callable[[], datetime]) -> None:
        self._clock, self._now = clock, now
        self._moved_at = clock()
        self.error: LastError | None = None
        """What holds the verification up."""

    def record(
        self, height: Height, contradictions: int, first: int | None, resumed: Height
    ) -> None:
        """Record that the blocks below `height` have verdicts, and what they contain.

        The verification goes on at `resumed`, below the height while the inventory of certificates
        is made again.
        """
        if (height, resumed) != (self.height, self.resumed):
            self._moved_at, self.error = self._clock(), None
        self.height, self.contradictions, self.first_contradiction = height, contradictions, first
        self.resumed = resumed

    def record_error(self, message: str) -> None:
        """Record what holds the verification up."""
        self.error = LastError(self._now(), message)

    def delay_s(self, due: int) -> float:
        """Return the seconds without progress, 0 if all blocks below `due` are verified."""
        return self._clock() - self._moved_at if (self.height or 0) < due else 0.0

    def report(self) -> EnvelopeReport:
        """Return what was found."""
        return EnvelopeReport(self.contradictions, self.first_contradiction)
