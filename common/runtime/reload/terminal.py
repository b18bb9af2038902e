"""SIGHUP says two things: read the configuration again, or that the terminal is gone."""

from __future__ import annotations

import os


class Terminal:
    """The terminal that this process began with, if it had one."""

    def __init__(self) -> None:
        self._ours = [number for number in (0, 1, 2) if os.isatty(number)]

    def is_gone(self) -> bool:
        """Whether it hung up: nobody sees this process any more, or could end it by Ctrl-C."""
        return any(not os.isatty(number) for number in self._ours)
