"""Cancellation that a library swallowed."""

import asyncio


def raise_if_cancelled() -> None:
    """Raise `CancelledError` if this task was cancelled and what it awaited did not say so.

    Call it after calls of PyMongo and redis-py: they wait with `asyncio.wait_for`, which before
    Python 3.12 loses a cancellation that comes just when the wait ends.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
