"""Lets a process of the devnet end with the one that started it."""

import asyncio
import contextlib
import os
import signal

_CHECK_SECONDS = 0.5


async def ended(parent: int) -> None:
    """Return at SIGTERM, SIGINT, or once the process `parent` is not this one's parent any more."""
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    while os.getppid() == parent and not asked.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asked.wait(), _CHECK_SECONDS)
