"""Becoming the same command anew, with the same process id, parent and environment."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from common.runtime.log_writer import flush_log


def begin_again() -> NoReturn:
    """Execute this process' own command line once more.

    Whoever started the process sees no end of it. Sockets and files are closed by the kernel, and
    signals that are blocked wait for what the process becomes.
    """
    flush_log()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
