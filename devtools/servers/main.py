"""The main of a command that starts servers: whatever ends it, they are stopped."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn


def run_main(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Ends the process with what ``main`` makes of its arguments, or with 130 when interrupted.

    SIGTERM interrupts like Ctrl-C, so that every ``with`` is left and stops what it started.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
