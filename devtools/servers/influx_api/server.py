"""The HTTP server around :class:`Api`."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from devtools.servers.influx_api.api import Api


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 300
    wbufsize = 1 << 16  # a response is one packet: two would wait for each other
    api: Api

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        response = self.api.respond(self.command, self.path, dict(self.headers.items()), body)
        payload = b"" if response.document is None else json.dumps(response.document).encode()
        self.send_response(response.status)
        if response.document is not None:
            self.send_header("Content-Type", "application/json; charset=utf-8")
        if response.code:
            self.send_header("X-Platform-Error-Code", response.code)
        if response.status != 204:
            self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = do_HEAD = _handle

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""


def make_server(api: Api, host: str, port: int) -> ThreadingHTTPServer:
    """A server that listens; ``serve_forever`` serves."""

    class Handler(_Handler):
        pass

    Handler.api = api
    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    return server
