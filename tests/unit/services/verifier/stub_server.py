"""A server that gives responses that no healthy server gives."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Response = tuple[int, bytes]


@dataclass
class Stub:
    """A server that responds as it was set up and records the forms it was sent."""

    url: str = ""
    response: Callable[[dict[str, str]], Response] = lambda form: (200, b"")
    forms: list[dict[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def responds(self, body: object, status: int = 200) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.response = lambda form: (status, raw)


@contextmanager
def responding() -> Iterator[Stub]:
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            self.respond(self.rfile.read(length).decode())

        def do_GET(self) -> None:
            self.respond(urlsplit(self.path).query)

        def respond(self, encoded: str) -> None:
            form = {k: v[0] for k, v in parse_qs(encoded).items()}
            stub.forms.append(form)
            stub.headers.append(dict(self.headers.items()))
            status, body = stub.response(form)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    stub.url = f"http://127.0.0.1:{server.server_port}"
    yield stub
    server.shutdown()
    thread.join()
    server.server_close()
