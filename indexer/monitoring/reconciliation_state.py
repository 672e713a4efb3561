"""The state of reconciliation as the daemon reads it, for its health and for `sync_state`."""

from datetime import datetime
from typing import Protocol

from ledger.mongodb.sync_state import ChannelState, LastError, Reconciliation


class ReconciliationState(Protocol):
    """The present state of one channel's reconciliation."""

    @property
    def state(self) -> ChannelState:
        """The activity of reconciliation, or what stopped it."""

    @property
    def state_since(self) -> datetime:
        """The time when this state began."""

    @property
    def error(self) -> LastError | None:
        """The error that blocks reconciliation, or the last one that did."""

    def snapshot(self) -> Reconciliation:
        """Return the state as `sync_state` stores it."""
