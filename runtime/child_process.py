"""Starts modules of this program in processes of their own."""

import os
import signal
import sys


def module_command(module: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """Return the command that runs a module as this process would, and its environment."""
    paths = os.pathsep.join(filter(None, sys.path))
    return [sys.executable, "-m", module, *arguments], os.environ | {"PYTHONPATH": paths}


def ignore_stop_signals() -> None:
    """Leave the signals that a terminal or a service manager sends to the process that started us.

    It ends this process when it has no more work for it.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
