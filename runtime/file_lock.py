"""Locks files, so that one process at a time uses what they stand for."""

import fcntl
import os
from pathlib import Path


class FileLockedError(Exception):
    """Another process holds the lock; `owner` is its id, or `unknown`."""

    def __init__(self, owner: str) -> None:
        super().__init__(f"process {owner} holds the lock")
        self.owner = owner


def lock_file(path: Path) -> int:
    """Lock the file, which is created if needed, and return its descriptor; closing it unlocks.

    The kernel drops the lock when the process ends, also when it is killed. Raises
    `FileLockedError`, and `OSError` if the file cannot be opened.
    """
    # Child processes do not inherit the descriptor, so that only this process holds the lock.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        owner = os.read(descriptor, 20).decode(errors="replace").strip()
        os.close(descriptor)
        raise FileLockedError(owner or "unknown") from None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
