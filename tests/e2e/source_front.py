"""A front before Prometheus that passes everything on, and can pretend on demand."""

from __future__ import annotations

import itertools
import json
import re
from typing import Self

import requests

from tests.support.answering_server import AnsweringServer, Handler, reply

_PASSED_ON = ("Authorization", "Content-Type")


class SourceFront:
    """Listens while its context lasts; ``target`` is the URL of the Prometheus behind it.

    ``ahead_seconds``: its clock is ahead by so much. ``alternates``: another server seems to answer
    every second time. ``fails``: it answers queries of a range by 503.
    """

    def __init__(self) -> None:
        self.target = ""
        self.ahead_seconds = 0.0
        self.alternates = False
        self.fails = False
        self._turn = itertools.count()
        self._server = AnsweringServer(self._answer)

    @property
    def url(self) -> str:
        """Its base URL."""
        return self._server.url

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__()

    def _answer(self, handler: Handler) -> None:
        seen = handler.request_seen
        if self.fails and seen.path.endswith("/query_range"):
            reply(b'{"status": "error", "errorType": "unavailable", "error": "x"}', 503)(handler)
            return
        headers = {name: value for name, value in seen.headers.items() if name in _PASSED_ON}
        try:
            found = requests.request(
                seen.method,
                f"{self.target}{seen.path}",
                params=seen.params if seen.method == "GET" else None,
                data=seen.params if seen.method == "POST" else None,
                headers={**headers, "Accept-Encoding": "identity"},
                timeout=10,
            )
        except requests.RequestException:
            handler.hang_up()
            return
        body = found.content
        if found.ok and seen.params.get("query") == "time()":
            body = self._pretended_time(body)
        if found.ok and seen.path.endswith("/runtimeinfo") and self.alternates:
            body = re.sub(rb'"startTime":"\d{4}', b'"startTime":"%d' % self._year(), body)
        reply(body, found.status_code)(handler)

    def _pretended_time(self, body: bytes) -> bytes:
        document = json.loads(body)
        evaluated_at, text = document["data"]["result"]
        document["data"]["result"] = [evaluated_at, str(float(text) + self.ahead_seconds)]
        return json.dumps(document).encode()

    def _year(self) -> int:
        return 2001 + next(self._turn) % 2
