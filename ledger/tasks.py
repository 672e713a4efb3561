"""What tasks must mind that wait for a database."""

import asyncio
import sys
from collections.abc import Awaitable
from typing import TypeVar

import pymongo.lock

T = TypeVar("T")


def heed_cancellation() -> None:
    """Raises `CancelledError` if this task was asked to end, and what it awaited did not say so.

    To be called after calls of PyMongo and redis-py: they wait with `asyncio.wait_for`, which before Python 3.12 loses
    a cancellation that comes just when it is done.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def mend_waits() -> None:
    """Lets PyMongo wait for its conditions as it does on Python 3.12 and later.

    Before, `asyncio.wait_for` gives what it waits for a task of its own, and does not see that to its end if it is
    cancelled while the wait ends: the task then takes the condition's lock for a caller who is gone. With PyMongo 4.20
    a few calls that were cancelled while MongoDB was away could block a client for ever, though MongoDB was back.
    """
    if sys.version_info < (3, 12):
        pymongo.lock.wait_for = _wait_for  # type: ignore[attr-defined, assignment]


async def _wait_for(awaitable: Awaitable[T], timeout: float | None) -> T:  # noqa: ASYNC109 - the library's signature
    async with asyncio.timeout(timeout):
        return await awaitable
