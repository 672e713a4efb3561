"""What reconciliation of one channel has reached, for operators."""

from collections.abc import Callable
from datetime import datetime

from ledger.mongodb.sync_state import ChannelState, DatabaseServer, LastError, Reconciliation
from reconciliation.reports import SettlementStatus
from reconciliation.settlement import SettlementResult


class ReconciliationProgress:
    """One channel's figures. `changed` is called whenever one does."""

    def __init__(
        self, channel: str, now: Callable[[], datetime], changed: Callable[[], None]
    ) -> None:
        self.channel = channel
        self.state = ChannelState.STARTING
        self.height = 0
        self.settled = 0
        self.opened = 0
        self.closed = 0
        self.discrepancies = 0
        self.error: LastError | None = None
        self.failures = 0
        self.state_since = now()
        self.status: SettlementStatus | None = None
        """What waits and what is open, as the last sweep found it; None while that is not known."""
        self.swept_at: datetime | None = None
        self.servers: Callable[[], list[DatabaseServer]] = list
        self.pool_size = 0
        """Connections to each server at most."""
        self._now, self._changed = now, changed

    def reached(self, height: int, *, behind: bool) -> None:
        """The cursor stands at that height."""
        self.height = height
        self.set_state(ChannelState.CATCHING_UP if behind else ChannelState.FOLLOWING)

    def did(self, outcome: SettlementResult) -> None:
        """Counts what a transaction did."""
        self.settled += outcome.settled
        self.opened += len(outcome.opened)
        self.closed += outcome.closed
        self.discrepancies += len(outcome.opened) - outcome.closed
        self._changed()

    def swept(self, status: SettlementStatus | None) -> None:
        """Every row that waits, and every open discrepancy, was looked at."""
        self.status, self.swept_at = status, self._now()

    def set_state(self, state: ChannelState) -> None:
        """Changes what reconciliation is doing."""
        if state is not self.state:
            self.state, self.state_since = state, self._now()
        self._changed()

    def failed(self, message: str, state: ChannelState) -> None:
        """Notes the error that holds it up."""
        self.error = LastError(self._now(), message)
        self.failures += 1
        self.set_state(state)

    def snapshot(self) -> Reconciliation:
        """As it is published."""
        return Reconciliation(
            self.state, self.height, self.settled, self.discrepancies, self.error, self.servers()
        )
