"""Repairs how PyMongo waits for its conditions on Python 3.11."""

import asyncio
import sys
from collections.abc import Awaitable
from typing import TypeVar

import pymongo.lock

T = TypeVar("T")


def patch_pymongo_waits() -> None:
    """Make PyMongo wait for its conditions as it does on Python 3.12 and later.

    Call it once, when the process starts. Before Python 3.12, `asyncio.wait_for` wraps what it waits
    for in a task, and abandons that task if the caller is cancelled just when the wait ends. The
    abandoned task then takes the condition's lock for a caller that is gone. With PyMongo 4.20 a few
    calls that were cancelled while MongoDB was away could block a client for ever, though MongoDB was
    back.
    """
    if sys.version_info < (3, 12):
        pymongo.lock.wait_for = _wait_for  # type: ignore[attr-defined, assignment]


async def _wait_for(awaitable: Awaitable[T], timeout: float | None) -> T:  # noqa: ASYNC109 - the library's signature
    async with asyncio.timeout(timeout):
        return await awaitable
