"""Repeats calls to MongoDB while it is away."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    OperationFailure,
    PyMongoError,
    WTimeoutError,
)

from indexer.channel_progress import ChannelProgress, ErrorSource
from ledger.mongodb.sync_state import ChannelState
from runtime.backoff import Backoff
from runtime.cancellation import raise_if_cancelled
from runtime.throttled_log import ThrottledLog

T = TypeVar("T")

# Codes with which a replica set says "not now": steps down, shuts down, fails over, is overloaded.
_TRANSIENT_CODES = frozenset(
    {6, 7, 50, 64, 89, 91, 112, 133, 134, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436}
)


class GaveUpError(Exception):
    """A needed server stayed away longer than the retry budget: end, and be restarted."""


def is_transient(error: PyMongoError) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, ConnectionFailure | WTimeoutError) or error.has_error_label(
        "RetryableWriteError"
    ):
        return True
    if isinstance(error, BulkWriteError):
        failures = [
            *error.details.get("writeErrors", ()),
            *error.details.get("writeConcernErrors", ()),
        ]
        return all(failure["code"] in _TRANSIENT_CODES for failure in failures)
    return isinstance(error, OperationFailure) and error.code in _TRANSIENT_CODES


async def retry_while_unavailable(
    call: Callable[[], Awaitable[T]], budget_s: float, progress: ChannelProgress
) -> T:
    """The result of `call`, which must be safe to repeat.

    Raises `GaveUpError` after `budget_s` seconds of failures, and at once what waiting cannot cure.
    """
    backoff = Backoff()
    trouble = ThrottledLog(
        "mongodb_unavailable", "mongodb_available", time.monotonic, channel=progress.channel
    )
    deadline = time.monotonic() + budget_s
    while True:
        try:
            result = await call()
        except PyMongoError as error:
            raise_if_cancelled()
            if not is_transient(error):
                raise
            if time.monotonic() > deadline:
                raise GaveUpError(
                    f"MongoDB did not answer for {budget_s:.0f} s: {error}"
                ) from error
            message = f"MongoDB: {error}"
            progress.failed(message, ChannelState.WAITING, ErrorSource.MONGODB)
            trouble.failed(message)
            await asyncio.sleep(backoff.next_delay())
        else:
            raise_if_cancelled()
            trouble.over()
            return result
