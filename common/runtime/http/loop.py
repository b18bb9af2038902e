"""The loop of a small HTTP server: nothing runs while nobody is connected.

The standard library's own looks several times a second whether it is to end, which is most of what
a process that waits does.
"""

from __future__ import annotations

import selectors
import socket
from http.server import ThreadingHTTPServer
from typing import Any

# How often ``service_actions`` is called while connections are open.
_ACT_EVERY_SECONDS = 0.1


class ListeningServer(ThreadingHTTPServer):
    """Serves from :meth:`serve` until :meth:`end`, each connection in a thread of its own."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._woken, self._waker = socket.socketpair()
        try:
            super().__init__(*args, **options)
        except BaseException:
            self._close_wakers()
            raise

    def busy(self) -> bool:
        """Whether ``service_actions`` has something to look after."""
        return True

    def serve(self) -> None:
        """Serve until :meth:`end` is called."""
        with selectors.DefaultSelector() as selector:
            selector.register(self, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                ready = selector.select(_ACT_EVERY_SECONDS if self.busy() else None)
                found = [key.fileobj for key, _ in ready]
                if self._woken in found:
                    return
                if found:
                    self._handle_request_noblock()  # type: ignore[attr-defined]
                self.service_actions()

    def end(self) -> None:
        """Have :meth:`serve` return; from any thread."""
        self._waker.send(b"\0")

    def server_close(self) -> None:
        """Stop listening."""
        super().server_close()
        self._close_wakers()

    def _close_wakers(self) -> None:
        self._woken.close()
        self._waker.close()
