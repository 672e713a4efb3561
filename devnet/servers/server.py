"""The base class of the embedded servers: data folder, port, process, start and stop."""

import contextlib
import fcntl
import os
import re
import secrets
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from devnet.servers.errors import ProgramNotFoundError, ServerError
from devnet.servers.ports import free_port
from devnet.servers.process import Process
from devnet.servers.programs import Program, find_program

START_TIMEOUT_S = 60.0
"""The time limit of a start, far above what any server needs."""
_STOP_TIMEOUT_S = 15.0
_LOCK_TIMEOUT_S = 5.0
"""The time limit for the processes of a killed server to end."""
_PORT_ATTEMPTS = 5
_LAST_LINES = 12
_PORT_IN_USE = "Address already in use"
_LIBRARY = re.compile(r"error while loading shared libraries: ([^\s:]+)")


class Server(ABC):
    """A server on 127.0.0.1 with all its files in the folder `data`, which is created if absent.

    Without `port` the first start takes a free port and keeps it, so the address stays valid over
    `stop`, `kill` and `start`. `binary` is the program to run instead of the default program. As a
    context manager it starts on entry and stops on exit. The server ends when the process that
    started it ends, even by SIGKILL. `lock_timeout_s` limits the wait for the folder at a start.
    """

    program: ClassVar[Program]
    """The program to run."""
    _ready_message: ClassVar[bytes]
    """The message in the log of a server that accepts connections.

    The log distinguishes it from another server that took the port first.
    """
    _stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(
        self,
        data: Path,
        *,
        port: int | None = None,
        binary: Path | None = None,
        lock_timeout_s: float = _LOCK_TIMEOUT_S,
    ) -> None:
        self.data = data.absolute()
        self.log = self.data / "log"
        self._port = port
        self._binary = binary
        self._lock_timeout_s = lock_timeout_s
        self._process: Process | None = None

    @property
    @abstractmethod
    def address(self) -> str:
        """The address for clients, with the password. Raises ServerError before the first start."""

    @abstractmethod
    def _command(self, binary: Path, port: int) -> list[str]:
        """Return the command line."""

    def _prepare(self, binary: Path, lock: int) -> Path:  # noqa: ARG002 - PostgreSQL needs the lock
        """Create the files that the server needs; return the program to run."""
        return binary

    def _after_start(self) -> None:  # noqa: B027 - most servers need no further steps
        """Complete the start once the server accepts connections."""

    @property
    def _user(self) -> int | None:
        """The user and group id of the server, None for those of the caller."""
        return None

    @property
    def port(self) -> int:
        """The TCP port. Raises ServerError before the first start."""
        if self._port is None:
            raise ServerError(
                f"{self.program.name} has no address before its first start. Call start() first."
            )
        return self._port

    @property
    def pid(self) -> int:
        """The process id. Raises ServerError if the server is not running."""
        return self._running().pid

    def start(self) -> None:
        """Start the server and return when it accepts connections; do nothing if it is running.

        Raises ProgramNotFoundError if its program is not found, and ServerError if it does not
        start. The message then has the exit code and the last lines of its log.
        """
        if self._process is not None and self._process.running:
            return
        binary = find_program(self.program) if self._binary is None else self._binary
        if not os.access(binary, os.X_OK):
            raise ProgramNotFoundError(
                f"{binary} is not a program that this user can run, so the server cannot "
                f"be started. Give the path of a {self.program.name}."
            )
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            with self._locked() as lock:
                self._process = self._launch(self._prepare(binary, lock), lock)
        except OSError as error:
            raise ServerError(
                f"{self.program.name} cannot be started on the data folder {self.data}: {error}. "
                "Give a folder that this user can write."
            ) from error
        try:
            self._after_start()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Shut down cleanly, or by SIGKILL after 15 seconds; do nothing if it is not running."""
        if self._process is None:
            return
        self._process.thaw()
        self._process.signal(self._stop_signal)
        if not self._process.wait(_STOP_TIMEOUT_S):
            self._process.kill()
        self._process = None

    def kill(self) -> None:
        """Kill all processes of the server (SIGKILL); do nothing if it is not running."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def pause(self) -> None:
        """Suspend all processes of the server (SIGSTOP): connections stay open without answers."""
        self._running().freeze()

    def resume(self) -> None:
        """Resume the server after `pause`."""
        self._running().thaw()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _running(self) -> Process:
        if self._process is None:
            raise ServerError(f"{self.program.name} is not running. Call start() first.")
        return self._process

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """Lock the data folder; the server inherits the lock until its last process ends."""
        lock = os.open(self.data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            deadline = time.monotonic() + self._lock_timeout_s
            while not _try_lock(lock):
                if time.monotonic() > deadline:
                    raise ServerError(
                        f"The data folder {self.data} is in use by a {self.program.name} of "
                        "another process, and two servers would destroy its data. Stop the other "
                        "process, or give another folder."
                    )
                time.sleep(0.02)
            yield lock
        finally:
            os.close(lock)

    def _launch(self, binary: Path, lock: int) -> Process:
        """Start the process and wait for connections; try another port if the port is taken."""
        for _ in range(_PORT_ATTEMPTS):
            port = free_port() if self._port is None else self._port
            offset = self._log_size()
            process = Process(self._command(binary, port), log=self.log, lock=lock, user=self._user)
            try:
                ready = self._wait_until_ready(process, offset)
            except BaseException:
                process.kill()
                raise
            if ready:
                self._port = port
                return process
            if self._port is not None or _PORT_IN_USE not in self._logged(offset):
                break
        raise self._start_error(f"{self.program.name} ended during its start", process, offset)

    def _wait_until_ready(self, process: Process, offset: int) -> bool:
        """Return True when the server accepts connections, False when it has ended."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._ready_message.decode() not in self._logged(offset):
            if not process.running:
                return False
            if time.monotonic() > deadline:
                process.kill()
                raise self._start_error(
                    f"{self.program.name} was not ready within {START_TIMEOUT_S:.0f} s",
                    process,
                    offset,
                )
            time.sleep(0.01)
        return True

    def _start_error(self, event: str, process: Process, offset: int) -> ServerError:
        logged = self._logged(offset)
        code = process.exit_code
        ending = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        library = _LIBRARY.search(logged)
        if library is not None:
            hint = (
                f"It needs the shared library {library[1]}, which cannot be loaded on this "
                f"machine. On Debian or Ubuntu, install the libraries of {self.program.name}: "
                f"apt-get install -y {self.program.packages}"
            )
        elif _PORT_IN_USE in logged:
            hint = "Another program uses its port. Stop the other program, or give another port."
        else:
            hint = "Read its log for the reason."
        last = "\n".join(f"  {line}" for line in logged.splitlines()[-_LAST_LINES:])
        return ServerError(f"{event} ({ending}). {hint}\nLast lines of {self.log}:\n{last}")

    def _log_size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def _logged(self, offset: int) -> str:
        with self.log.open("rb") as log:
            log.seek(offset)
            return log.read().decode(errors="replace")


def stored_secret(path: Path) -> str:
    """Return the password in the file `path`; if absent, create the file with a new password.

    Only the owner of the file can read it.
    """
    if not path.exists():
        incomplete = path.with_name(path.name + ".new")
        incomplete.unlink(missing_ok=True)
        incomplete.touch(mode=0o600, exist_ok=False)
        incomplete.write_text(secrets.token_hex(24), encoding="ascii")
        incomplete.rename(path)
    return path.read_text(encoding="ascii")


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
