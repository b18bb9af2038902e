"""The client of Prometheus on whole answers: status, headers, body, and where it breaks off."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import requests
import urllib3
from requests.structures import CaseInsensitiveDict

from common.config import ExtractSettings, Query
from common.errors import SourceError, SourceUnavailable
from common.source.errors import retry_after
from devtools.fuzz.mutate import Mutator
from devtools.fuzz.target import Target, require
from devtools.fuzz.targets.answers import date_or_seconds
from devtools.fuzz.targets.prometheus import body_of
from services.extractor.prometheus import PrometheusClient

STATUSES = (200, 200, 200, 200, 400, 401, 403, 404, 422, 429, 500, 502, 503, 504, 301, 204, 0)
SOME_BODIES = (
    b'{"status":"error","errorType":"bad_data","error":"parse error"}',
    b'{"status":"error","errorType":"execution","error":"too many samples"}',
    b'{"status":"error","errorType":"timeout","error":"query timed out"}',
    b'{"status":"success","data":{"resultType":"scalar","result":[1700000000.1,"1700000000.1"]}}',
    b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"5"]}]}}',
    b'{"status":"success","data":{"version":"3.1.0"}}',
    b"# HELP x\nprometheus_tsdb_lowest_timestamp_seconds 1.7e+09\n",
    b"<html>gateway</html>",
    b"",
)
_TOKENS = (
    *(
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b" ",
        b"\n",
        b"null",
        b"error",
        b"success",
        b"\xff",
    ),
    *(b"prometheus_tsdb_lowest_timestamp_seconds ", b'"status":"error",', b"execution", b"NaN"),
)


_SETTINGS = ExtractSettings(prometheus_url="http://prometheus:9090")
_EXPR = Query(name="q", expr="up", step=15)
_SELECT = Query(name="s", select="up").bound(15, {})


class _Raw:
    def __init__(self, pieces: list[bytes], breaks: bool) -> None:
        self._pieces, self._breaks = list(pieces), breaks

    def read1(self, amount: int, decode_content: bool = False) -> bytes:
        while self._pieces:
            if piece := self._pieces.pop(0):
                return piece
        if self._breaks:
            raise urllib3.exceptions.IncompleteRead(1, 2)
        return b""


class _Response:
    def __init__(self, status: int, headers: dict[str, str], raw: _Raw) -> None:
        self.status_code, self.headers, self.raw = status, CaseInsensitiveDict(headers), raw
        self.request = requests.Request(headers={"Authorization": "Bearer of-ours"})

    def close(self) -> None:
        """There is no connection."""


class FixedSession(requests.Session):
    """Answers whatever is asked with status, headers and pieces of a body, which may break off."""

    def __init__(self, case: Any) -> None:
        super().__init__()
        self._case = case

    def get_adapter(self, url: str) -> Any:
        """Itself: it sends nothing."""
        return self

    def send(self, *_: Any, **__: Any) -> requests.Response:
        """The one answer."""
        status, headers, pieces, breaks, _ = self._case
        return cast(requests.Response, _Response(status, headers, _Raw(pieces, breaks)))


_CALLS: tuple[Callable[[PrometheusClient], Any], ...] = (
    lambda client: list(client.read(_SELECT, 0, 60_000)),
    lambda client: list(client.read(_EXPR, 0, 60_000)),
    lambda client: client.now_ms(),
    lambda client: client.run(),
    lambda client: client.lowest_timestamp_ms(),
    lambda client: client.count_in(_SELECT, 0, 60_000),
    lambda client: client.ranges_are_left_open(1_000_000_000_000),
    lambda client: client.clock_reading(),
    lambda client: client.answers_at(_SELECT, 60_000),
)


class PrometheusAnswers(Target):
    """Whatever is answered to whatever is asked: a result or a source error."""

    name = "prometheus_answers"
    weight = 50

    def make(self, m: Mutator) -> tuple[int, dict[str, str], list[bytes], bool, int]:
        """Status, headers, pieces of the body, whether it breaks off, which call."""
        body = m.pick(SOME_BODIES) if m.chance(0.8) else body_of(m)
        if m.chance(0.7):
            body = m.bytes(body, _TOKENS)
        if m.chance(0.01):
            body = b"[" * 60_000
        at = m.below(len(body) + 1)
        headers = {}
        for name in ("Retry-After", "Date"):
            if m.chance(0.4):
                headers[name] = date_or_seconds(m)
        if m.chance(0.1):
            headers["location"] = m.word()
        if m.chance(0.05):
            headers["Content-Encoding"] = "gzip"
        pieces = [body[:at], body[at:]]
        return m.pick(STATUSES), headers, pieces, m.chance(0.1), m.below(len(_CALLS))

    def check(self, case: Any) -> bool:
        """The message is one line, and the wait can be kept."""
        client = PrometheusClient(_SETTINGS, lambda auth: FixedSession(case))
        wait = retry_after(CaseInsensitiveDict(case[1]))
        require(wait is None or (math.isfinite(wait) and wait >= 0), "an impossible wait", wait)
        try:
            _CALLS[case[4]](client)
        except SourceError as error:
            require(bool(str(error)) and len(str(error)) < 5_000, "a message too long to read")
            if isinstance(error, SourceUnavailable) and error.retry_after_seconds is not None:
                require(math.isfinite(error.retry_after_seconds), "waits for ever")
            return False
        return True
