"""The lock of a demo's data folder: one demo at a time uses a folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.errors import UnavailableError


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Lock the data folder while the context lasts, and create it if it does not exist.

    The kernel drops the lock when the process ends, also when it is killed. Raises
    `UnavailableError` if another process holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Child processes do not inherit the descriptor, so that only this process holds the lock.
    descriptor = os.open(folder / "demo.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(descriptor, 20).decode(errors="replace").strip()
            raise UnavailableError(
                f"a demo already runs in {folder} (process {owner or 'unknown'}): stop it with "
                "Ctrl-C, or give another folder with --data"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
