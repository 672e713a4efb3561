"""Concurrent tasks: how they restart, how they end, and which of their errors is raised."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import structlog

log = structlog.get_logger()

_CANCEL_AGAIN_S: Final = 0.5


@contextmanager
def unwrap_exception_group() -> Iterator[None]:
    """Raise the first error of an exception group instead of the group.

    Callers can then handle the error by its type.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        raise _first_error(group) from group


def _first_error(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def restart_on_failure(work: Callable[[], Awaitable[None]], delay_s: float = 1.0) -> None:
    """Run `work` until it returns or is cancelled; after an error, log it and start `work` again.

    Use it for background work whose results other tasks need.
    """
    while True:
        try:
            await work()
        except Exception:
            log.exception("background_failed", work=getattr(work, "__qualname__", None))
            await asyncio.sleep(delay_s)
        else:
            return


async def cancel_and_wait(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the tasks and wait until all have ended.

    Tasks that still run after half a second are cancelled again: see `raise_if_cancelled`.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_CANCEL_AGAIN_S)
