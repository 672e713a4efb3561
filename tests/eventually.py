"""Waits in a test until something holds, and says what was there instead when it does not."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeVar

T = TypeVar("T")

LIMIT_S = 30.0
"""Long enough for a machine under ten times its load: a test that passes does not wait for it."""

_POLL_S = 0.02


async def eventually(
    observe: Callable[[], T | Awaitable[T]],
    holds: Callable[[T], object] = bool,
    *,
    within_s: float = LIMIT_S,
    describe: str | None = None,
) -> T:
    """Return the first observed value that `holds`; fail with the last value if none does in time."""
    deadline = time.monotonic() + within_s
    while True:
        observed = observe()
        value: T = await observed if isawaitable(observed) else observed
        if holds(value):
            return value
        what = describe or "the condition"
        assert time.monotonic() < deadline, (
            f"{what} did not hold within {within_s:g} s; last seen: {value!r}"
        )
        await asyncio.sleep(_POLL_S)
