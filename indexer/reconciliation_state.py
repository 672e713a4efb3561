"""What the daemon publishes of the reconciliation that runs beside a channel's indexer."""

from datetime import datetime
from typing import Protocol

from ledger.mongodb.sync_state import ChannelState, LastError, Reconciliation


class ReconciliationState(Protocol):
    """The state of one channel's reconciliation, as it is now."""

    @property
    def state(self) -> ChannelState:
        """What reconciliation is doing."""

    @property
    def state_since(self) -> datetime:
        """When it began to do that."""

    @property
    def error(self) -> LastError | None:
        """The error that holds it up, or held it up last."""

    def snapshot(self) -> Reconciliation:
        """Return what `sync_state` stores of it."""
