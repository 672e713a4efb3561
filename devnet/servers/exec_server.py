"""A script that prepares its own process for a server and then executes the server's program.

It changes the user and asks the kernel to kill the process when its parent ends. Arguments: the
parent's process id, the user and group id (or "-" for no change), then the server's command.

It is a script, because only a new process with a single thread can safely do this between fork and
exec.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: str, user: str, command: list[str]) -> str:
    """Execute the server's program in this process; return an error message if that fails."""
    try:
        if user != "-":
            os.setgroups([])
            os.setgid(int(user))
            os.setuid(int(user))
        # A change of the user resets this setting, so it comes after. SIGKILL is enough: the
        # journal of each server recovers from it.
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            return f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}"
        if os.getppid() != int(parent):  # the parent ended before the call of prctl
            return "the parent process has ended"
        os.execv(command[0], command)  # noqa: S606 - the server replaces this process
    except OSError as error:
        return f"{command[0]}: {error.strerror}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
