"""The lock of a demo's data folder: one demo at a time uses a folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.errors import UnavailableError
from runtime.file_lock import FileLockedError, lock_file


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Lock the data folder while the context lasts, and create it if it does not exist.

    Raises `UnavailableError` if another process holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = lock_file(folder / "demo.lock")
    except FileLockedError as error:
        raise UnavailableError(
            f"a demo already runs in {folder} (process {error.owner}): stop it with Ctrl-C, or "
            "give another folder with --data"
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)
