"""Repeats calls to the store while MongoDB, or the volume of the archive, is unavailable."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from msgspec import Struct

from indexer.progress.channel_progress import ChannelProgress, ErrorSource
from ledger.errors import ArchiveUnavailableError
from ledger.mongodb.sync_state import ChannelState
from ledger.mongodb.transient_errors import is_transient
from runtime.retry import retry
from runtime.throttled_log import ThrottledLog

T = TypeVar("T")


class RetriedServer(Struct, frozen=True):
    """What calls are repeated for: its name in messages, and in the names of log events.

    `is_transient` tells after which errors the same call may succeed later.
    """

    name: str
    event: str
    source: ErrorSource
    is_transient: Callable[[Exception], bool]


MONGODB: Final = RetriedServer("MongoDB", "mongodb", ErrorSource.MONGODB, is_transient)
ARCHIVE: Final = RetriedServer(
    "the archive of raw blocks",
    "archive",
    ErrorSource.ARCHIVE,
    lambda error: isinstance(error, ArchiveUnavailableError) or is_transient(error),
)


class StoreRetry:
    """Repeats one channel's calls to the store; logs outages of the server and records them.

    Calls may run concurrently. An outage ends when the last failing call has succeeded: the success
    of another call does not end it.
    """

    def __init__(
        self, budget_s: float, progress: ChannelProgress, server: RetriedServer = MONGODB
    ) -> None:
        self._budget_s, self._progress, self._server = budget_s, progress, server
        self._outages = ThrottledLog(
            f"{server.event}_unavailable", f"{server.event}_available", channel=progress.channel
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
                is_transient=self._server.is_transient,
                on_failure=lambda error: self._record_failure(key, error),
                budget_s=self._budget_s,
                server=self._server.name,
            )
        finally:
            self._failing_calls.discard(key)
        if not self._failing_calls:
            self._outages.recovered()
        return result

    def _record_failure(self, key: object, error: Exception) -> None:
        self._failing_calls.add(key)
        message = f"{self._server.name}: {error}"
        self._progress.record_error(message, ChannelState.WAITING, self._server.source)
        self._outages.failed(error=message)
