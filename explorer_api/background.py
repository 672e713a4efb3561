"""Work that goes on beside the requests."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import structlog

log = structlog.get_logger()

_AGAIN_S: Final = 1.0
_END_S: Final = 0.5


async def endure(work: Callable[[], Awaitable[None]]) -> None:
    """Runs `work` until it returns or is cancelled. What it raises is logged, and it begins again."""
    while True:
        try:
            await work()
        except Exception:  # the last resort: requests would wait for ever for what it keeps fresh
            log.exception("background_failed", work=getattr(work, "__qualname__", None))
            await asyncio.sleep(_AGAIN_S)
        else:
            return


async def end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancels the tasks and waits for them; cancels again what takes leave of a server that hangs."""
    going = set(tasks)
    while going:
        for task in going:
            task.cancel()
        _, going = await asyncio.wait(going, timeout=_END_S)
