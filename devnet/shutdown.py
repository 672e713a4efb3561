"""Ends a process of the devnet at a signal, or together with the process that started it."""

import asyncio
import contextlib
import os
import signal

_PARENT_CHECK_S = 0.5


async def wait_for_shutdown(parent: int) -> None:
    """Return at SIGTERM, at SIGINT, or once the process `parent` is no longer the parent."""
    signalled = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signalled.set)
    while os.getppid() == parent and not signalled.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(signalled.wait(), _PARENT_CHECK_S)
