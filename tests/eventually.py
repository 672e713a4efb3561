"""Waits in a test until a condition holds, and reports the last observed value if it does not."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import NoReturn, TypeVar, overload

T = TypeVar("T")

LIMIT_S = 30.0
"""The default time limit: long enough for a machine with ten times its normal load.

A test that passes does not wait for it.
"""

_POLL_S = 0.02
_MIN_OBSERVATION_S = 0.5
"""The least time for an observation, also for the last one before the limit."""
_NOTHING = object()

Description = str | Callable[[], object]


@overload
async def eventually(
    observe: Callable[[], Awaitable[T]],
    holds: Callable[[T], object] = bool,
    *,
    within_s: float = LIMIT_S,
    poll_s: float = _POLL_S,
    describe: Description | None = None,
    retry_on: type[Exception] | tuple[type[Exception], ...] = (),
) -> T: ...


@overload
async def eventually(
    observe: Callable[[], T],
    holds: Callable[[T], object] = bool,
    *,
    within_s: float = LIMIT_S,
    poll_s: float = _POLL_S,
    describe: Description | None = None,
    retry_on: type[Exception] | tuple[type[Exception], ...] = (),
) -> T: ...


async def eventually(
    observe: Callable[[], T | Awaitable[T]],
    holds: Callable[[T], object] = bool,
    *,
    within_s: float = LIMIT_S,
    poll_s: float = _POLL_S,
    describe: Description | None = None,
    retry_on: type[Exception] | tuple[type[Exception], ...] = (),
) -> T:
    """Call `observe` until `holds` accepts its value, and return this value.

    Fail the test after `within_s` seconds with the last value, even if `observe` never returns.
    `describe` names the condition in the message. As a function it is called at the failure, to
    report the state behind a condition that is only True or False. An error in `retry_on` counts
    as a value that does not hold.
    """
    __tracebackhide__ = True
    last: object = _NOTHING
    deadline = time.monotonic() + within_s
    while True:
        timeout = asyncio.timeout(max(deadline - time.monotonic(), _MIN_OBSERVATION_S))
        try:
            async with timeout:
                observed = observe()
                value: T = await observed if isawaitable(observed) else observed
            if holds(value):
                return value
            last = value
        except TimeoutError as error:
            if timeout.expired():
                _fail(within_s, describe, last, "the observation was still running")
            if not isinstance(error, retry_on):
                raise
            last = error
        except retry_on as error:
            last = error
        if time.monotonic() >= deadline:
            _fail(within_s, describe, last)
        await asyncio.sleep(poll_s)


def eventually_sync(
    observe: Callable[[], T],
    holds: Callable[[T], object] = bool,
    *,
    within_s: float = LIMIT_S,
    describe: Description | None = None,
    retry_on: type[Exception] | tuple[type[Exception], ...] = (),
) -> T:
    """Do the same as `eventually` in a test without an event loop.

    An observation that never returns is not interrupted.
    """
    __tracebackhide__ = True
    deadline = time.monotonic() + within_s
    while True:
        try:
            value = observe()
            if holds(value):
                return value
            last: object = value
        except retry_on as error:
            last = error
        if time.monotonic() >= deadline:
            _fail(within_s, describe, last)
        time.sleep(_POLL_S)


def _fail(
    within_s: float, describe: Description | None, last: object, reason: str = ""
) -> NoReturn:
    __tracebackhide__ = True
    condition = describe if isinstance(describe, str) else "the condition"
    seen = "no value was observed" if last is _NOTHING else f"last value: {last!r}"
    parts = [f"{condition} did not hold within {within_s:g} s", seen]
    if reason:
        parts.append(reason)
    if describe is not None and not isinstance(describe, str):
        parts.append(f"state: {describe()!r}")
    raise AssertionError("; ".join(parts))
