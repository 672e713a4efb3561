"""The signals that end a running command in an orderly way, and the exit code of each."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from cli.errors import Exit

log = structlog.get_logger()

_EXIT_CODES: Final = {
    signal.SIGTERM: Exit.TERMINATED,
    signal.SIGINT: Exit.INTERRUPTED,
    signal.SIGHUP: Exit.HUNG_UP,
}


@contextmanager
def handle_signals(on_signal: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Log each SIGTERM, SIGINT and SIGHUP while the context lasts, and call `on_signal` with it.

    SIGHUP stays ignored where the process was started to ignore it, as `nohup` does. SIGINT is
    handled even then: a shell without job control ignores it for every background process.
    """

    def received(number: signal.Signals) -> None:
        log.info("signal_received", signal=number.name)
        on_signal(number)

    loop = asyncio.get_running_loop()
    handled = set(_EXIT_CODES)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        handled.remove(signal.SIGHUP)
    for number in handled:
        loop.add_signal_handler(number, received, number)
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


def exit_code_of(received: signal.Signals) -> Exit:
    """Return the exit code of a process that this signal ended: 128 plus the signal's number."""
    return _EXIT_CODES[received]
