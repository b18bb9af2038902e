"""What SIGTERM and SIGINT do until the process has its own handlers.

The kernel drops a signal to PID 1 of a container unless a handler is installed, and what a service
imports takes longer than a moment. So the entry points install these before any other import; this
module must stay light. Nothing has been started yet, so to end at once is an orderly stop.
"""

from __future__ import annotations

import os
import signal


def end_at_once(*, reads_again: bool = False) -> None:
    """Exit with 0 on SIGTERM or SIGINT, until :class:`common.runtime.signals.Shutdown` starts.

    ``reads_again``: SIGHUP asks for the configuration to be read again, which is about to happen.
    Must be called in the main thread.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        # Nothing of ours runs yet, and an exception could be swallowed by what is imported.
        signal.signal(number, lambda _number, _frame: os._exit(0))
    if reads_again:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # A process that began again has had its signals wait for this.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
