"""Corrects how PyMongo waits for its conditions on Python 3.11."""

import asyncio
import sys
from collections.abc import Awaitable
from typing import TypeVar

import pymongo.lock

T = TypeVar("T")


def patch_pymongo_waits() -> None:
    """Make PyMongo wait for its conditions as it does on Python 3.12 and later.

    Call it once, when the process starts. Before Python 3.12, `asyncio.wait_for` runs the
    awaitable in a task of its own, and abandons this task if the caller is cancelled just when
    the wait ends. The abandoned task then acquires the condition's lock, and nobody releases it.
    With PyMongo 4.20, a few calls that were cancelled during an outage of MongoDB could block a
    client forever, even after MongoDB had recovered.
    """
    if sys.version_info < (3, 12):
        pymongo.lock.wait_for = _wait_for  # type: ignore[attr-defined, assignment]


# PyMongo calls it with a timeout, as it calls `asyncio.wait_for`.
async def _wait_for(awaitable: Awaitable[T], timeout: float | None) -> T:  # noqa: ASYNC109
    async with asyncio.timeout(timeout):
        return await awaitable
