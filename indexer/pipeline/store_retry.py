"""Repeats calls to the store while MongoDB is unavailable."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from indexer.progress.channel_progress import ChannelProgress, ErrorSource
from ledger.mongodb.sync_state import ChannelState
from ledger.mongodb.transient_errors import is_transient
from runtime.retry import retry
from runtime.throttled_log import ThrottledLog

T = TypeVar("T")


class StoreRetry:
    """Repeats one channel's calls to the store; logs outages of MongoDB and records them.

    Calls may run concurrently. An outage ends when the last failing call has succeeded: the success
    of another call does not end it.
    """

    def __init__(self, budget_s: float, progress: ChannelProgress) -> None:
        self._budget_s, self._progress = budget_s, progress
        self._outages = ThrottledLog(
            "mongodb_unavailable", "mongodb_available", channel=progress.channel
        )
        self._failing_calls: set[object] = set()

    async def run(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `call`, which must be safe to repeat, as calls of `LedgerStore` are.

        Raises `GaveUpError` after `budget_s` seconds of failures, and at once errors that are not
        transient.
        """
        key = object()
        try:
            result = await retry(
                call,
                is_transient=is_transient,
                on_failure=lambda error: self._record_failure(key, error),
                budget_s=self._budget_s,
                server="MongoDB",
            )
        finally:
            self._failing_calls.discard(key)
        if not self._failing_calls:
            self._outages.recovered()
        return result

    def _record_failure(self, key: object, error: Exception) -> None:
        self._failing_calls.add(key)
        message = f"MongoDB: {error}"
        self._progress.record_error(message, ChannelState.WAITING, ErrorSource.MONGODB)
        self._outages.failed(error=message)
