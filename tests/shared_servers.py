"""The servers that all tests of a run share, with their files in memory if there is enough."""

import contextlib
import fcntl
import shutil
import tempfile
from pathlib import Path

from devnet.servers import EmbeddedServers

_PREFIX = "kindledger-tests-"
_MEMORY = Path("/dev/shm")  # a tmpfs on Linux
_NEEDED_BYTES = 8 << 30
"""The least free space for servers in memory: a machine with less memory needs it for the tests."""


class SharedServers:
    """MongoDB, PostgreSQL and Redis for all tests of a run, in a folder that `stop` deletes.

    Tests create and drop hundreds of databases. On a disk the servers would mostly wait for it to
    confirm these writes; no test needs the data of the shared servers after the run.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_location()))
        # As root, PostgreSQL runs as another user, which must be able to enter the folder.
        self._folder.chmod(0o711)
        self._servers = EmbeddedServers(self._folder, {})

    def start(self) -> dict[str, str]:
        """Start the servers; return their addresses."""
        self._servers.start()
        return {
            "mongo": self._servers.mongo_uri,
            "postgres": self._servers.postgres_dsn,
            "redis": self._servers.redis_url,
        }

    def stop(self) -> None:
        """Stop the servers and delete their files."""
        self._servers.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


def _location() -> Path | None:
    """Return the folder of a tmpfs with enough space; None for the default folder."""
    if not _MEMORY.is_dir():
        return None
    _delete_leftovers()
    return _MEMORY if shutil.disk_usage(_MEMORY).free >= _NEEDED_BYTES else None


def _delete_leftovers() -> None:
    """Delete the folders of test runs that were killed, which would occupy memory."""
    for folder in _MEMORY.glob(f"{_PREFIX}*"):
        # The folder may belong to another user, or another run may delete it at the same time.
        with contextlib.suppress(OSError):
            locks = list(folder.glob("*/lock"))  # none while its servers begin to start
            if locks and not any(_is_locked(lock) for lock in locks):
                shutil.rmtree(folder)


def _is_locked(path: Path) -> bool:
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
