"""Work that goes on beside the requests."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

log = structlog.get_logger()

_AGAIN_S: Final = 1.0


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
