"""A server process that ends with its parent, and is frozen or killed with its children."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path

_EXEC_SERVER = Path(__file__).with_name("exec_server.py")
_FREEZE_TIMEOUT_S = 2.0
_STOPPED = frozenset("TtZX")
"""States in /proc/PID/stat of a process that executes no instructions."""


class Process:
    """A running server process.

    Its output is appended to `log`. `lock` is a file descriptor that the process and its children
    inherit. `user` is the user and group id of the process, None for those of the caller. Raises
    OSError if the process cannot be started.

    The kernel kills the process when the *thread* that created it ends. So each process has a
    thread that waits for its end and reaps it, and callers may be threads that end earlier.
    """

    def __init__(self, command: list[str], *, log: Path, lock: int, user: int | None) -> None:
        exec_server = [
            sys.executable,
            "-I",
            "-S",
            str(_EXEC_SERVER),
            str(os.getpid()),
            "-" if user is None else str(user),
        ]
        started: Future[subprocess.Popen[bytes]] = Future()
        self._reaper = threading.Thread(
            target=_start_and_reap,
            args=(started, [*exec_server, *command], log, lock),
            name=f"reaper {command[0]}",
            daemon=True,
        )
        self._reaper.start()
        self._popen = started.result()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet; a frozen process counts as running."""
        return self._reaper.is_alive()

    @property
    def exit_code(self) -> int | None:
        """The exit code: -N after signal N, None while the process runs."""
        return self._popen.returncode

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds; return whether the process ended and was reaped."""
        self._reaper.join(timeout)
        return not self._reaper.is_alive()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, unless it has ended."""
        self._popen.send_signal(number)

    def freeze(self) -> None:
        """Suspend the process and all its descendants (SIGSTOP)."""
        self._freeze()

    def thaw(self) -> None:
        """Resume the process and all its descendants (SIGCONT)."""
        for pid in reversed([self.pid, *_descendants(self.pid)]) if self.running else ():
            _signal(pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process and all its descendants (SIGKILL); return when it is reaped."""
        for pid in reversed(self._freeze()):
            _signal(pid, signal.SIGKILL)
        self._reaper.join()

    def _freeze(self) -> list[int]:
        """Suspend all processes and return their ids.

        Parents come before their children, so that no id is reaped and reused meanwhile.
        """
        frozen: list[int] = []
        running = [self.pid] if self.running else []
        while running:
            pid = running.pop(0)
            _signal(pid, signal.SIGSTOP)
            _wait_until_stopped(pid)
            frozen.append(pid)
            running += _children(pid)
        return frozen


def _start_and_reap(
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
                start_new_session=True,  # Ctrl-C goes only to the parent, which stops its servers
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
        return  # the process has ended


def _wait_until_stopped(pid: int) -> None:
    deadline = time.monotonic() + _FREEZE_TIMEOUT_S
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
    """Return the state, parent id and later fields of /proc/PID/stat, None without the process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()
