"""A terminal whose keys are read as they are pressed, and which is as before afterwards."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(Exception):
    """SIGTERM or SIGHUP: the terminal must be put right before the process ends."""


def has_keys() -> bool:
    """Whether stdin is a terminal."""
    # None: it was closed.
    return sys.stdin is not None and sys.stdin.isatty()


@contextmanager
def keys_as_pressed() -> Iterator[None]:
    """Keys need no Return and are not shown; where stdin is no terminal nothing changes."""
    if sys.platform == "win32" or not has_keys():
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP raise :class:`Terminated`."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Terminated

    numbers = [signal.SIGTERM] if sys.platform == "win32" else [signal.SIGTERM, signal.SIGHUP]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def pressed(seconds: float) -> str:
    """What was pressed within ``seconds``, as soon as it is; empty if nothing was."""
    if sys.platform == "win32" or not has_keys():
        time.sleep(seconds)
        return ""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return os.read(sys.stdin.fileno(), 64).decode(errors="replace") if ready else ""
