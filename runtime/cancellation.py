"""Raises cancellations that a library has swallowed."""

import asyncio


def raise_if_cancelled() -> None:
    """Raise `CancelledError` if this task was cancelled and a library swallowed the cancellation.

    Call this after calls of PyMongo and redis-py. Both wait with `asyncio.wait_for`, which before
    Python 3.12 loses a cancellation that comes just when the wait ends.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
