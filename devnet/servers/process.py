"""One server process: it ends with the process that started it, and can be frozen and killed with its children."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path

_EXEC_SERVER = Path(__file__).with_name("exec_server.py")
_FREEZE_TIMEOUT = 2.0
_STOPPED = frozenset("TtZX")
"""States in /proc/PID/stat of a process that runs no more instructions."""


class Process:
    """A running server process.

    `log` gets its output, appended. `lock` is a file descriptor that the process and its children inherit.
    `user` is the user and group id to run as, None for the caller's. Raises OSError if nothing can be started.

    Linux ends such a child when the *thread* that created it ends, so each has a thread that lives as long as
    it does, and reaps it: start() may be called from any thread, however short its life.
    """

    def __init__(self, command: list[str], *, log: Path, lock: int, user: int | None) -> None:
        launch = [
            sys.executable,
            "-I",
            "-S",
            str(_EXEC_SERVER),
            str(os.getpid()),
            "-" if user is None else str(user),
        ]
        started: Future[subprocess.Popen[bytes]] = Future()
        self._keeper = threading.Thread(
            target=_keep,
            args=(started, [*launch, *command], log, lock),
            name=f"keeper {command[0]}",
            daemon=True,
        )
        self._keeper.start()
        self._popen = started.result()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet (a frozen process runs too)."""
        return self._keeper.is_alive()

    @property
    def exit_code(self) -> int | None:
        """The exit code, -N after signal N, None while running."""
        return self._popen.returncode

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for the end; whether it ended. It is then reaped."""
        self._keeper.join(timeout)
        return not self._keeper.is_alive()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process itself; nothing happens if it has ended."""
        self._popen.send_signal(number)

    def freeze(self) -> None:
        """Stop the process and all its descendants where they are (SIGSTOP)."""
        self._freeze()

    def thaw(self) -> None:
        """Let a frozen process and its descendants go on (SIGCONT)."""
        for pid in reversed([self.pid, *_descendants(self.pid)]) if self.running else ():
            _signal(pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL to the process and all its descendants; returns when the process is reaped."""
        for pid in reversed(self._freeze()):
            _signal(pid, signal.SIGKILL)
        self._keeper.join()

    def _freeze(self) -> list[int]:
        """Stop from the top, so that none of the ids can be reaped and used again meanwhile."""
        frozen: list[int] = []
        todo = [self.pid] if self.running else []
        while todo:
            pid = todo.pop(0)
            _signal(pid, signal.SIGSTOP)
            _await_stop(pid)
            frozen.append(pid)
            todo += _children(pid)
        return frozen


def _keep(
    started: "Future[subprocess.Popen[bytes]]", command: list[str], log: Path, lock: int
) -> None:
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    if "LD_LIBRARY_PATH" in os.environ:
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    try:
        with log.open("ab") as output:
            popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(lock,),
                env=environment,
                cwd="/",
                start_new_session=True,  # a Ctrl-C in the terminal is for the parent, which stops its servers
            )
    except (OSError, subprocess.SubprocessError) as error:
        started.set_exception(error)
        return
    started.set_result(popen)
    popen.wait()


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # ended by itself meanwhile


def _await_stop(pid: int) -> None:
    deadline = time.monotonic() + _FREEZE_TIMEOUT
    while (
        (stat := _stat(pid)) is not None and stat[0] not in _STOPPED and time.monotonic() < deadline
    ):
        time.sleep(0.001)


def _descendants(pid: int) -> list[int]:
    children = _children(pid)
    return children + [other for child in children for other in _descendants(child)]


def _children(parent: int) -> list[int]:
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if (stat := _stat(pid)) is not None and int(stat[1]) == parent]


def _stat(pid: int) -> list[str] | None:
    """State, parent's id and what follows, as in /proc/PID/stat; None if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()
