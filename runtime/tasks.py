"""Tasks that run side by side: how they restart, how they end, and which error is reported."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import structlog

log = structlog.get_logger()

_RESTART_DELAY_S: Final = 1.0
_CANCEL_AGAIN_S: Final = 0.5


@contextmanager
def unwrap_exception_group() -> Iterator[None]:
    """Raise the first error of an exception group by itself, so that callers can decide by its type."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise _first_error(group) from group


def _first_error(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def restart_on_failure(work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` until it returns or is cancelled; log whatever it raises and start it again."""
    while True:
        try:
            await work()
        except (
            Exception
        ):  # the last resort: others would wait for ever for what the work keeps fresh
            log.exception("background_failed", work=getattr(work, "__qualname__", None))
            await asyncio.sleep(_RESTART_DELAY_S)
        else:
            return


async def cancel_and_wait(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the tasks and wait until all have ended; cancel again those that still run after a while."""
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_CANCEL_AGAIN_S)
