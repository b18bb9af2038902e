"""The address of what runs here, and free ports on it: as ``etlctl run`` takes them.

Some ports are drawn long before a server listens on them. Such a port is held: nobody who draws one
here, in whichever process, gets it. A UDP socket on it, which no server of ours has, says so.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from weakref import finalize

from common.errors import StackError
from etlctl.run.ports import HOST
from etlctl.run.ports import free_port as drawn_port

_ATTEMPTS = 200


class HeldPort:
    """A free port that nobody else is given until :meth:`close`, or as long as this object is."""

    def __init__(self, draw: Callable[[], int] = drawn_port) -> None:
        for _ in range(_ATTEMPTS):
            self.port = draw()
            held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                held.bind((HOST, self.port))
            except OSError:
                held.close()
            else:
                self._close = finalize(self, held.close)
                return
        raise StackError(f"{_ATTEMPTS} free ports on {HOST} were drawn, and all of them are held")

    def close(self) -> None:
        """Let others have it."""
        self._close()


def free_port(draw: Callable[[], int] = drawn_port) -> int:
    """A port that nobody listens on now, and nobody holds.

    Somebody may take it before its server does: retry then, or hold it.
    """
    held = HeldPort(draw)
    held.close()
    return held.port


__all__ = ["HOST", "HeldPort", "free_port"]
