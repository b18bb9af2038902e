"""Thanos, Mimir and Cortex as their users' requests find them: a front before a real Prometheus.

PromQL and its data are Prometheus' own; what the front adds is where the three differ from it, by
their public documentation and sources:

* Thanos: ``docs/components/query.md`` and ``query-frontend.md``, ``pkg/store/proxy.go``,
  ``internal/cortex/querier/queryrange/limits.go``, ``pkg/queryfrontend``.
* Mimir: ``pkg/frontend/querymiddleware/limits.go``, ``pkg/util/globalerror/user.go``.
* Cortex: ``pkg/querier/tripperware/queryrange/limits.go``, ``pkg/frontend/transport/handler.go``.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from typing import Any, Self

import requests

from tests.support.answering_server import AnsweringServer, Handler, Request, reply

TENANT = "team-a"
# Of one of the two halves of the data, when it is away.
AWAY_HOST = "b"
_RANGE = re.compile(r"\[(\d+)ms\]")
_QUERIES = ("query", "query_range")
_NO_MATRIX = {"status": "success", "data": {"resultType": "matrix", "result": []}}
_AWAY = (
    'fetch series for {cluster="b"} Addr: store-b:10901 LabelSets: {cluster="b"}: rpc error: '
    'code = Unavailable desc = connection error: desc = "transport: error while dialing"'
)


@dataclass(frozen=True)
class Kind:
    """What one of them has: ``prefix`` of its API, a tenant or none, and which paths it serves."""

    name: str
    prefix: str
    tenants: bool
    serves: tuple[str, ...]
    # Whether a range selector is held to the limit of a query's length, too.
    limits_selectors: bool


_EVERYWHERE = ("labels", "label", "series", "metadata", "rules")
KINDS = {
    kind.name: kind
    for kind in (
        Kind("thanos", "", False, ("targets", *_EVERYWHERE), False),
        Kind("mimir", "/prometheus", True, ("read", *_EVERYWHERE), True),
        Kind("cortex", "/api/prom", True, ("read", *_EVERYWHERE), True),
    )
}


@dataclass
class QueryFront:
    """One of them before the Prometheus at ``behind_url``, while its context lasts.

    ``longest_seconds``: the longest query. ``lookback_seconds``: how far back it answers.
    ``is_away``: one of its stores does not answer. ``tells``: whether a front says of a response
    that a part is missing, as those of Thanos do from 0.36 on. ``busy``: too much is asked.
    """

    kind: Kind
    behind_url: str
    longest_seconds: float = 1_800
    lookback_seconds: float = 0
    is_away: bool = False
    tells: bool = True
    busy: bool = False
    kept: dict[str, bytes] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The base URL of its API."""
        return f"{self._server.url}{self.kind.prefix}"

    @property
    def extract(self) -> dict[str, Any]:
        """What a configuration needs to get in."""
        headers = {"X-Scope-OrgID": TENANT} if self.kind.tenants else {}
        return {"prometheus_url": self.url, "headers": headers}

    def __enter__(self) -> Self:
        self._server = AnsweringServer(self._answer)
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__()

    def _answer(self, handler: Handler) -> None:
        request = handler.request_seen
        base = f"{self.kind.prefix}/api/v1/"
        if self.kind.tenants and "X-Scope-OrgID" not in request.headers:
            reply(b"no org id\n", 401)(handler)
        elif self.busy:
            headers = {"Retry-After": "7"}
            reply(b"too many outstanding requests\n", 429, headers)(handler)
        elif request.path == "/metrics":
            reply(b"go_goroutines 12\n")(handler)
        elif not request.path.startswith(base):
            reply(b"404 page not found\n", 404)(handler)
        elif (endpoint := request.path.removeprefix(base)) in _QUERIES:
            self._query(handler, endpoint, request)
        elif endpoint.partition("/")[0] in self.kind.serves:
            status, body = self._behind(endpoint, dict(request.params))
            reply(body, status)(handler)
        else:
            reply(b"404 page not found\n", 404)(handler)

    def _query(self, handler: Handler, endpoint: str, request: Request) -> None:
        params, now = dict(request.params), time.time()
        end = float(params.get("end") or params.get("time") or now)
        start = float(params.get("start", end))
        ranges = [int(found) / 1000 for found in _RANGE.findall(params["query"])]
        if self.lookback_seconds:
            least = now - self.lookback_seconds
            if end < least:
                _json(handler, 200, _NO_MATRIX)
                return
            if endpoint == "query_range":
                step = float(params["step"].removesuffix("ms")) / 1000
                start += max(0, -(-(least - start) // step)) * step
                params["start"] = f"{start:.3f}"
            reach_ms = max(1, round((end - least) * 1000))
            params["query"] = _RANGE.sub(
                lambda found: f"[{min(int(found[1]), reach_ms)}ms]", params["query"]
            )
        if end - start > self.longest_seconds:
            self._too_long(handler, end - start)
        elif self.kind.limits_selectors and max(ranges, default=0) > self.longest_seconds:
            # Found by the querier, which speaks as Prometheus does.
            name = " (err-mimir-max-query-length)" if self.kind.name == "mimir" else ""
            text = f"expanding series: {self._limit(max(ranges))}{name}"
            _json(handler, 422, _error("execution", text))
        elif self.is_away:
            self._without_a_store(handler, endpoint, params, request)
        else:
            self._whole(handler, endpoint, params, request)

    def _whole(
        self, handler: Handler, endpoint: str, params: dict[str, str], request: Request
    ) -> None:
        """From the cache of results, unless the request forbids that."""
        caches = endpoint == "query_range" and "no-store" not in request.headers.get(
            "Cache-Control", ""
        )
        key = _key(params)
        if caches and key in self.kept:
            reply(self.kept[key])(handler)
            return
        status, body = self._behind(endpoint, params)
        if caches and status == 200:
            self.kept[key] = body
        reply(body, status)(handler)

    def _without_a_store(
        self, handler: Handler, endpoint: str, params: dict[str, str], request: Request
    ) -> None:
        if self.kind.name == "mimir":
            text = "failed to fetch some blocks (err-mimir-store-consistency-check-failed)"
            _json(handler, 500, _error("internal", text))
            return
        if self.kind.name == "cortex":
            text = "consistency check failed because some blocks were not queried: 01H"
            reply(text.encode(), 500)(handler)
            return
        if params.get("partial_response") == "false":
            text = f"expanding series: proxy Series(): rpc error: code = Aborted desc = {_AWAY}"
            _json(handler, 422, _error("execution", text))
            return
        _, body = self._behind(endpoint, params)
        document = json.loads(body)
        if document["data"]["resultType"] in ("matrix", "vector"):
            document["data"]["result"] = [
                one
                for one in document["data"]["result"]
                if one["metric"].get("host") not in (AWAY_HOST, None)
            ]
        if self.tells:
            document["warnings"] = [_AWAY]
        elif endpoint == "query_range" and "no-store" not in request.headers.get(
            "Cache-Control", ""
        ):
            self.kept[_key(params)] = json.dumps(document).encode()
        _json(handler, 200, document)

    def _too_long(self, handler: Handler, seconds: float) -> None:
        if self.kind.name == "mimir":
            text = self._limit(seconds).replace("the query", "the total query")
            text += " (err-mimir-max-total-query-length)"
            _json(handler, 400, _error("bad_data", text))
        else:
            reply(self._limit(seconds).encode(), 400)(handler)

    def _limit(self, seconds: float) -> str:
        """The words of ``validation.ErrQueryTooLong``."""
        length, limit = f"{seconds:g}s", f"{self.longest_seconds:g}s"
        return f"the query time range exceeds the limit (query length: {length}, limit: {limit})"

    def _behind(self, endpoint: str, params: dict[str, str]) -> tuple[int, bytes]:
        response = requests.get(f"{self.behind_url}/api/v1/{endpoint}", params=params, timeout=20)
        return response.status_code, response.content


def _key(params: dict[str, str]) -> str:
    return json.dumps({**params, "timeout": ""}, sort_keys=True)


def _error(error_type: str, text: str) -> dict[str, Any]:
    return {"status": "error", "errorType": error_type, "error": text}


def _json(handler: Handler, status: int, document: Any) -> None:
    reply(json.dumps(document).encode(), status, {"Content-Type": "application/json"})(handler)
