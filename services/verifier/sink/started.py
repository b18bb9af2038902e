"""When a sink was started, in its own words: what 2.x says at ``/ready``, 1.x at ``/debug/vars``.

InfluxDB 3 does not say it, nor does a proxy before one that asks for more than our credentials.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus

from common.runtime.exchange import at_most
from common.sink.http_session import NO_RESPONSE, SinkSession

_PATHS = ("/ready", "/debug/vars")
# 1.x has it in front of all that it says of each shard, which may be more than is read of it.
_STARTED = re.compile(
    rb'\s*\{\s*(?:"system"\s*:\s*\{)?[^{}]*?"started"\s*:\s*"(\d[0-9TZ:.+-]{9,39})"'
)


def starts_of(session: SinkSession) -> Iterator[str]:
    """When the server of each URL was started; empty of one that is away or does not say it."""
    for url in session.addresses.urls:
        yield _of(session, url)


def started(body: bytes) -> str:
    """When the server was started by one of its responses; empty where that does not say it."""
    found = _STARTED.match(body)
    return found[1].decode() if found else ""


def _of(session: SinkSession, url: str) -> str:
    for path in _PATHS:
        try:
            with at_most(session.timeout_seconds[1]):
                response = session.request("GET", path, url=url)
        except NO_RESPONSE:
            break
        if response.status == HTTPStatus.OK and (start := started(response.data)):
            return start
    return ""
