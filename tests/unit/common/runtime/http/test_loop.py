"""The loop of the HTTP server does nothing while nobody is connected."""

from __future__ import annotations

import selectors
import socket
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from common.runtime.http.loop import ListeningServer


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


class _Server(ListeningServer):
    open = 0

    def busy(self) -> bool:
        return self.open > 0


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """How long the loop was ready to wait, each time."""
    found: list[float | None] = []

    class Selector(selectors.SelectSelector):
        def select(self, timeout: float | None = None) -> Any:
            found.append(timeout)
            return super().select(timeout)

    monkeypatch.setattr(selectors, "DefaultSelector", Selector)
    return found


def _asked(server: ListeningServer) -> bytes:
    with socket.create_connection(server.server_address[:2]) as client:  # type: ignore[arg-type]
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return client.recv(64)


def test_it_waits_for_a_client_and_for_nothing_else(waits: list[float | None]) -> None:
    server = _Server(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        assert _asked(server).startswith(b"HTTP/1.0 204")
        assert _asked(server).startswith(b"HTTP/1.0 204")
    finally:
        server.end()
        thread.join()
        server.server_close()
    assert waits
    assert set(waits) == {None}


def test_it_looks_after_open_connections(waits: list[float | None]) -> None:
    looked_after = threading.Event()

    class Looking(_Server):
        open = 1

        def service_actions(self) -> None:
            looked_after.set()

    server = Looking(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        assert looked_after.wait(30)
    finally:
        server.end()
        thread.join()
        server.server_close()
    assert None not in waits


def test_a_port_that_is_taken_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        _Server(taken.getsockname(), _Handler)
