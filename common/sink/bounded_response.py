"""A bound for what is read of a response, whoever reads it.

influxdb-client reads the whole body of a response that is an error, and so did we: one that never
ends, or inflates without end, would fill this process' memory until it is killed, and the points in
hand would be taken for poison. What lies beyond the bound is left unread, and the connection is
closed.
"""

from __future__ import annotations

import json
import re
from typing import Any

import urllib3
from urllib3.response import HTTPResponse

RESPONSE_BYTES_MAX = 1 << 20

# How the sinks' own errors begin: their message may be longer than what is read of it.
_OWN_WORDS = re.compile(rb'\s*\{\s*(?:"code"\s*:\s*"[^"\\]*"\s*,\s*)?"(?:message|error)"\s*:\s*"')
_STRING_END = re.compile(rb'(?<!\\)(?:\\\\)*"')


def sized(pools: urllib3.PoolManager, bytes_max: int = RESPONSE_BYTES_MAX) -> None:
    """Bound the responses of ``pools``, which has no connections yet."""
    pools.pool_classes_by_scheme = {
        scheme: _sized(pool_class, bytes_max)
        for scheme, pool_class in pools.pool_classes_by_scheme.items()
    }


def _sized(pool_class: Any, bytes_max: int) -> Any:
    class Connection(pool_class.ConnectionCls):  # type: ignore[misc]
        def getresponse(self) -> HTTPResponse:
            options: Any = self._response_options  # type: ignore[has-type]
            # Else the body would be read before its bound is known.
            self._response_options = options._replace(preload_content=False)
            response: HTTPResponse = super().getresponse()
            response.__class__ = BoundedResponse
            response.bytes_max = bytes_max  # type: ignore[attr-defined]
            if options.preload_content:
                response.read(cache_content=True)
                if getattr(response, "truncated", False):
                    self.close()
            return response

    class Pool(pool_class):  # type: ignore[misc]
        ConnectionCls = Connection

    return Pool


class BoundedResponse(HTTPResponse):
    """Reads no more than ``bytes_max`` where all is asked for."""

    bytes_max = RESPONSE_BYTES_MAX
    truncated = False

    def read(
        self,
        amt: int | None = None,
        decode_content: bool | None = None,
        cache_content: bool = False,
    ) -> bytes:
        """The body, inflated, up to the bound; or ``amt`` bytes of it."""
        if amt is not None:
            return super().read(amt, decode_content, cache_content)
        body = super().read(self.bytes_max + 1, decode_content)
        if len(body) > self.bytes_max:
            self.truncated = True
            self.close()
            body = _whole(body[: self.bytes_max])
        if cache_content:
            self._body = body
        return body


def _whole(cut: bytes) -> bytes:
    """What was read of an error that a sink words itself, as if it ended there."""
    begin = _OWN_WORDS.match(cut)
    if begin is None:
        return cut
    end = _STRING_END.search(cut, begin.end())
    # Half of an escape at the end would be no JSON: a line's worth less is nothing lost.
    said = cut[begin.end() : end.end() - 1 if end else cut.rfind(b"\\n", begin.end())]
    try:
        text = json.loads(b'"' + said + b'"')
    except ValueError:
        text = said.decode("utf-8", "replace").replace("\\", "")
    return json.dumps({"error": text}).encode()
