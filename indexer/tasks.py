"""How tasks that run together end together."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def plain_errors() -> Iterator[None]:
    """Raises the first error inside an exception group by itself: callers decide by its type, not by who raised it."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise _first(group) from group


def heed_cancellation() -> None:
    """Raises `CancelledError` if this task was asked to end, and what it awaited did not say so.

    To be called after calls of PyMongo and redis-py: they wait with `asyncio.wait_for`, which before Python 3.12 loses
    a cancellation that comes just when it is done.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
