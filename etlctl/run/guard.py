"""Becomes the given command, and makes the kernel kill it when the process that started it dies.

``python -I -S guard.py PARENT_PID COMMAND [ARGUMENT …]``. A wrapper that executes the command and
not a ``preexec_fn``: Python code between fork and exec can deadlock when the parent has threads.
After the exec nothing of this is left: the command has this process' id, and its signals and exit
status are its own. See prctl(2), PR_SET_PDEATHSIG: the signal comes when the *thread* that started
us ends, which is why whoever starts it does so from one
thread that never ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Never returns when all goes well: 127 if the command cannot be executed, as in a shell."""
    parent_pid, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent_pid:  # it died before we asked for the signal
            return 1
    try:
        os.execv(command[0], command)
    except OSError as error:
        print(f"cannot execute {command[0]}: {error.strerror}", file=sys.stderr)
    return 127


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
