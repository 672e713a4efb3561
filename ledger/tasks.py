"""What tasks must mind that wait for a database."""

import asyncio


def heed_cancellation() -> None:
    """Raises `CancelledError` if this task was asked to end, and what it awaited did not say so.

    To be called after calls of PyMongo and redis-py: they wait with `asyncio.wait_for`, which before Python 3.12 loses
    a cancellation that comes just when it is done.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
