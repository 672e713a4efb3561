"""The progress of one channel's reconciliation, for operators."""

from collections.abc import Callable
from datetime import datetime

from ledger.mongodb.sync_state import ChannelState, DatabaseServer, LastError, Reconciliation
from ledger.position import Height
from reconciliation.reports import SettlementStatus
from reconciliation.settlement import SettlementResult


class ReconciliationProgress:
    """The state and the counters of one channel. `changed` is called after each change."""

    def __init__(
        self, channel: str, now: Callable[[], datetime], changed: Callable[[], None]
    ) -> None:
        self.channel = channel
        self.state = ChannelState.STARTING
        self.state_since = now()
        self.height = Height(0)
        self.settled_rows = 0
        self.opened_discrepancies = 0
        self.closed_discrepancies = 0
        self.open_discrepancies = 0
        self.error: LastError | None = None
        self.failures = 0
        self.status: SettlementStatus | None = None
        """The unsettled rows and open discrepancies at the last sweep; None if they are unknown."""
        self.last_sweep_at: datetime | None = None
        self.servers: Callable[[], list[DatabaseServer]] = list
        self.audited_height: Height | None = None
        """Every transaction below it was searched for in the rows; None if that is not known."""
        self.due_height: Height | None = None
        """The height that was settled a grace period ago; None if there is none in this run."""
        self.pool_size = 0
        """The maximum number of connections to each server."""
        self._now, self._changed = now, changed

    def cursor_moved(self, height: Height, *, behind: bool) -> None:
        """Note the height of the cursor, and whether it is behind the ledger."""
        self.height = height
        self.set_state(ChannelState.CATCHING_UP if behind else ChannelState.FOLLOWING)

    def add(self, result: SettlementResult) -> None:
        """Add what a transaction changed to the counters."""
        self.settled_rows += result.settled
        self.opened_discrepancies += len(result.opened)
        self.closed_discrepancies += result.closed
        self.open_discrepancies += len(result.opened) - result.closed
        self._changed()

    def sweep_finished(self, status: SettlementStatus | None) -> None:
        """Note the end of a sweep, and the status after it."""
        self.status, self.last_sweep_at = status, self._now()

    def audit_due(self, height: Height) -> None:
        """Note that the grace period of the blocks below `height` is over."""
        self.due_height = max(height, self.due_height or height)

    def audited(self, height: Height) -> None:
        """Note that every transaction below `height` was searched for in the rows."""
        self.audited_height = height
        self._changed()

    def set_state(self, state: ChannelState) -> None:
        """Set the state, and the time since when it holds."""
        if state is not self.state:
            self.state, self.state_since = state, self._now()
        self._changed()

    def failed(self, message: str, state: ChannelState) -> None:
        """Note an error that stops reconciliation, and the state that follows."""
        self.error = LastError(self._now(), message)
        self.failures += 1
        self.set_state(state)

    def snapshot(self) -> Reconciliation:
        """Return the values that the daemon stores in `sync_state`."""
        return Reconciliation(
            self.state,
            self.height,
            self.settled_rows,
            self.open_discrepancies,
            self.error,
            self.servers(),
            self.audited_height,
            self.due_height,
        )
