"""Repeats a call that may succeed later, ever more slowly."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from runtime.backoff import Backoff
from runtime.cancellation import raise_if_cancelled

T = TypeVar("T")


class GaveUpError(Exception):
    """A call failed for longer than its retry budget; the message says which server."""


async def retry(
    call: Callable[[], Awaitable[T]],
    *,
    is_transient: Callable[[Exception], bool],
    failed: Callable[[Exception], None] = lambda _: None,
    budget_s: float | None = None,
    what: str = "the server",
    backoff: Backoff | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Return the result of `call`, which must be safe to repeat.

    `what` names the server in the message of `GaveUpError`; `failed` is told each error after which
    the call is repeated. Raises `GaveUpError` when the call
    fails more than `budget_s` seconds after the first try (never if that is None), and at once every
    error that is not transient.
    """
    delays = backoff or Backoff()
    deadline = None if budget_s is None else clock() + budget_s
    while True:
        try:
            result = await call()
        except Exception as error:
            raise_if_cancelled()
            if not is_transient(error):
                raise
            if deadline is not None and clock() > deadline:
                raise GaveUpError(f"{what} did not answer for {budget_s:.0f} s: {error}") from error
            failed(error)
            await asyncio.sleep(delays.next_delay())
        else:
            raise_if_cancelled()
            return result
