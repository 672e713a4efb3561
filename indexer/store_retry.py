"""Repeats calls to the store while MongoDB is unavailable."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from indexer.channel_progress import ChannelProgress, ErrorSource
from ledger.mongodb.sync_state import ChannelState
from ledger.mongodb.transient_errors import is_transient
from runtime.retry import retry
from runtime.throttled_log import ThrottledLog

T = TypeVar("T")


async def retry_while_unavailable(
    call: Callable[[], Awaitable[T]], budget_s: float, progress: ChannelProgress
) -> T:
    """Return the result of `call`, which must be safe to repeat; log and publish an outage.

    Raises `GaveUpError` after `budget_s` seconds of failures, and at once errors that are not
    transient.
    """
    failures = ThrottledLog("mongodb_unavailable", "mongodb_available", channel=progress.channel)

    def failed(error: Exception) -> None:
        message = f"MongoDB: {error}"
        progress.record_error(message, ChannelState.WAITING, ErrorSource.MONGODB)
        failures.failed(error=message)

    result = await retry(
        call, is_transient=is_transient, on_failure=failed, budget_s=budget_s, server="MongoDB"
    )
    failures.recovered()
    return result
