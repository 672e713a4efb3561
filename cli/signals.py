"""SIGTERM and SIGINT, and the exit codes that they lead to."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cli.errors import Exit


@contextmanager
def signals(on_signal: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Calls `on_signal` for each of both while the context lasts."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def exit_of(received: signal.Signals) -> Exit:
    """The exit code of a process that such a signal ended."""
    return Exit.TERMINATED if received is signal.SIGTERM else Exit.INTERRUPTED
