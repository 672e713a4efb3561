"""What the embedded servers have in common: a data folder, a port, a process, and its start and end."""

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

START_TIMEOUT = 60.0
"""Seconds until a server that does not answer is given up; far more than any needs."""
_STOP_TIMEOUT = 15.0
_LOCK_TIMEOUT = 5.0
"""Seconds that the processes of a killed server may take to be gone."""
_PORT_ATTEMPTS = 5
_LAST_LINES = 12
_TAKEN = "Address already in use"
_LIBRARY = re.compile(r"error while loading shared libraries: ([^\s:]+)")


class Server(ABC):
    """A server of its own on 127.0.0.1 with all its files in the folder `data`, which is made if absent.

    Without `port` a free one is taken at the first start and kept from then on, so an address stays good over
    stop(), kill() and start(). `binary` replaces the program that would be looked up. A context manager:
    started on entry, stopped on exit. It ends with the process that started it, however that ends.
    """

    program: ClassVar[Program]
    """What to run."""
    _ready: ClassVar[bytes]
    """What the server logs once it accepts connections. Its own log, so another server that was faster to take
    the port is never mistaken for it."""
    _stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, data: Path, *, port: int | None = None, binary: Path | None = None) -> None:
        self.data = data.absolute()
        self.log = self.data / "log"
        self._port = port
        self._binary = binary
        self._process: Process | None = None

    @property
    @abstractmethod
    def address(self) -> str:
        """What a client connects to, password included. Raises ServerError before the first start."""

    @abstractmethod
    def _command(self, binary: Path, port: int) -> list[str]:
        """The command line."""

    def _prepare(self, binary: Path, lock: int) -> Path:  # noqa: ARG002 - one server needs the lock
        """Make the files that the server needs; returns the program to run."""
        return binary

    def _settle(self) -> None:  # noqa: B027 - most servers have nothing left to do
        """Do what remains once the server accepts connections."""

    @property
    def _user(self) -> int | None:
        """The user and group id that the server runs as, None for the caller's own."""
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
        """The process id. Raises ServerError if it is not running."""
        return self._running().pid

    def start(self) -> None:
        """Start the server and return when it answers; nothing happens if it is running.

        Raises ProgramNotFoundError if its program is not found, ServerError if it does not start: the text then has
        the exit code and the last lines of its log.
        """
        if self._process is not None and self._process.running:
            return
        binary = find_program(self.program) if self._binary is None else self._binary
        if not os.access(binary, os.X_OK):
            raise ProgramNotFoundError(
                f"{binary} is not a program that this user can run. Give the path of a {self.program.name}."
            )
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            with self._locked() as lock:
                self._process = self._listen(self._prepare(binary, lock), lock)
        except OSError as error:
            raise ServerError(
                f"{self.program.name} cannot be started on the data folder {self.data}: {error}. "
                "Give a folder that this user can write."
            ) from error
        try:
            self._settle()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Shut down cleanly, within 15 seconds, after that by SIGKILL; nothing happens if it is not running."""
        if self._process is None:
            return
        self._process.thaw()
        self._process.signal(self._stop_signal)
        if not self._process.wait(_STOP_TIMEOUT):
            self._process.kill()
        self._process = None

    def kill(self) -> None:
        """SIGKILL to the server and all its processes, and reap it; nothing happens if it is not running."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def pause(self) -> None:
        """Freeze all its processes (SIGSTOP): connections stay open and nothing answers."""
        self._running().freeze()

    def resume(self) -> None:
        """Let it go on after pause()."""
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
        """Hold the data folder: a lock that the server inherits, so it lasts until its last process is gone."""
        lock = os.open(self.data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            deadline = time.monotonic() + _LOCK_TIMEOUT
            while not _try_lock(lock):
                if time.monotonic() > deadline:
                    raise ServerError(
                        f"The data folder {self.data} is in use: a {self.program.name} started by another process "
                        "runs on it. Stop that process, or give another folder."
                    )
                time.sleep(0.02)
            yield lock
        finally:
            os.close(lock)

    def _listen(self, binary: Path, lock: int) -> Process:
        """Start the process and wait until it accepts connections, with another port if the chosen one is taken."""
        for _ in range(_PORT_ATTEMPTS):
            port = free_port() if self._port is None else self._port
            offset = self._log_size()
            process = Process(self._command(binary, port), log=self.log, lock=lock, user=self._user)
            try:
                ready = self._await(process, offset)
            except BaseException:
                process.kill()
                raise
            if ready:
                self._port = port
                return process
            if self._port is not None or _TAKEN not in self._logged(offset):
                break
        raise self._failed(f"{self.program.name} ended during its start", process, offset)

    def _await(self, process: Process, offset: int) -> bool:
        """True when the server accepts connections, False when it has ended instead."""
        deadline = time.monotonic() + START_TIMEOUT
        while self._ready.decode() not in self._logged(offset):
            if not process.running:
                return False
            if time.monotonic() > deadline:
                process.kill()
                raise self._failed(
                    f"{self.program.name} did not answer within {START_TIMEOUT:.0f} s",
                    process,
                    offset,
                )
            time.sleep(0.01)
        return True

    def _failed(self, what: str, process: Process, offset: int) -> ServerError:
        logged = self._logged(offset)
        code = process.exit_code
        ending = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        library = _LIBRARY.search(logged)
        if library is not None:
            hint = (
                f"It needs the shared library {library[1]}, which cannot be loaded on this machine. On Debian or "
                f"Ubuntu, what {self.program.name} needs is installed by: apt-get install -y {self.program.packages}"
            )
        elif _TAKEN in logged:
            hint = "Its port is taken by another program. Stop that program, or give another port."
        else:
            hint = "Its log says why."
        last = "\n".join(f"  {line}" for line in logged.splitlines()[-_LAST_LINES:])
        return ServerError(f"{what} ({ending}). {hint}\nLast lines of {self.log}:\n{last}")

    def _log_size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def _logged(self, offset: int) -> str:
        with self.log.open("rb") as log:
            log.seek(offset)
            return log.read().decode(errors="replace")


def stored_secret(path: Path) -> str:
    """The password in the file `path`, which is made with a new one, readable by its owner only, if absent."""
    if not path.exists():
        fresh = path.with_name(path.name + ".new")
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600, exist_ok=False)
        fresh.write_text(secrets.token_hex(24), encoding="ascii")
        fresh.rename(path)
    return path.read_text(encoding="ascii")


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
