"""Repeats calls that failed, with longer and longer delays."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from runtime.backoff import Backoff
from runtime.cancellation import raise_if_cancelled

T = TypeVar("T")


class GaveUpError(Exception):
    """A call failed for longer than its retry budget; the message names the server."""


async def retry(
    call: Callable[[], Awaitable[T]],
    *,
    is_transient: Callable[[Exception], bool],
    on_failure: Callable[[Exception], None] = lambda _: None,
    budget_s: float | None = None,
    server: str = "the server",
    backoff: Backoff | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Return the result of `call`, which must be safe to repeat.

    `on_failure` receives each error after which the call is repeated. Without `budget_s` the number
    of attempts is not limited. Raises `GaveUpError`, which names the `server`, when the call fails
    more than `budget_s` seconds after the first failure, and raises errors that are not transient
    at once.
    """
    delays = backoff or Backoff()
    deadline: float | None = None
    while True:
        try:
            result = await call()
        except Exception as error:
            raise_if_cancelled()
            if not is_transient(error):
                raise
            if budget_s is not None and deadline is None:
                deadline = clock() + budget_s
            elif deadline is not None and clock() > deadline:
                raise GaveUpError(
                    f"{server} did not answer for {budget_s:.0f} s: {error}"
                ) from error
            on_failure(error)
            await asyncio.sleep(delays.next_delay())
        else:
            raise_if_cancelled()
            return result
