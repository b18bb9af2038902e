"""``python -m devtools.chaos.exporter PORT SERIES``: the steady load that Prometheus scrapes.

``GET /metrics`` is the page; ``POST /invite`` with ``{"prefix", "first", "count", "scrapes"}`` lets
further series appear in the next scrapes.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from devtools.chaos.load import COUNTERS, LoadPage
from devtools.servers.ports import HOST


class ExporterServer(ThreadingHTTPServer):
    """Serves one page."""

    daemon_threads = True

    def __init__(self, port: int, page: LoadPage) -> None:
        super().__init__((HOST, port), _Handler)
        self.page = page


class _Handler(BaseHTTPRequestHandler):
    server: ExporterServer
    protocol_version = "HTTP/1.1"
    # A head and a body in two packets would wait for the peer's delayed acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path == "/metrics":
            self._answer(200, "text/plain; version=0.0.4", self.server.page.render())
        else:
            self._answer(404, "text/plain", b"only /metrics is here\n")

    def do_POST(self) -> None:
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.page.invite(**order)
        self._answer(200, "application/json", b"{}")

    def log_message(self, format: str, *arguments: object) -> None:
        """A line for each scrape would say nothing."""

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


def main(arguments: list[str]) -> None:
    """Serve until killed."""
    port, series = map(int, arguments)
    ExporterServer(port, LoadPage(series, COUNTERS)).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
