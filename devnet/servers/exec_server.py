"""Run as a script: become the given user, tie this process to its parent's life, and become the server.

Arguments: the parent's process id, the user and group id to become (or "-"), then the server's command.
A script of its own because only a fresh process with one thread may do this safely between fork and exec.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: str, user: str, command: list[str]) -> str:
    """Replace this process; if that fails, the text says why."""
    try:
        if user != "-":
            os.setgroups([])
            os.setgid(int(user))
            os.setuid(int(user))
        # After the change of user, which clears it. A server need not be asked: its journal is made for this.
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            return f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}"
        if os.getppid() != int(parent):  # it died before the line above
            return "the parent process is gone"
        os.execv(command[0], command)  # noqa: S606 - replacing this process is the purpose
    except OSError as error:
        return f"{command[0]}: {error.strerror}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
