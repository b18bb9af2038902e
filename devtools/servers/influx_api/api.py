"""Routing: who asks, what for, and the response."""

from __future__ import annotations

import re
import secrets
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from devtools.servers.influx_api import authorizations, buckets, organizations
from devtools.servers.influx_api.databases import Databases
from devtools.servers.influx_api.state import RESOURCES, Authorization, Permission, State
from devtools.servers.influx_api.store import USER, Call, Store, new_id
from devtools.servers.influx_api.wire import STATUS_OF, Refused, Response

# By method, kind of resource, and whether an id follows.
_HANDLERS: dict[tuple[str, str, bool], Callable[[Store, Call], Response]] = {
    ("GET", "orgs", False): organizations.get_orgs,
    ("POST", "orgs", False): organizations.post_org,
    ("GET", "orgs", True): organizations.get_org,
    ("DELETE", "orgs", True): organizations.delete_org,
    ("GET", "buckets", False): buckets.get_buckets,
    ("POST", "buckets", False): buckets.post_bucket,
    ("GET", "buckets", True): buckets.get_bucket,
    ("PATCH", "buckets", True): buckets.patch_bucket,
    ("DELETE", "buckets", True): buckets.delete_bucket,
    ("GET", "authorizations", False): authorizations.get_authorizations,
    ("POST", "authorizations", False): authorizations.post_authorization,
    ("GET", "authorizations", True): authorizations.get_authorization,
    ("PATCH", "authorizations", True): authorizations.patch_authorization,
    ("DELETE", "authorizations", True): authorizations.delete_authorization,
}


def _nothing_found(statement: str, database: str | None) -> dict[str, Any]:
    """The result of a statement on a database that is not there for the token."""
    if statement.upper().startswith("SHOW MEASUREMENTS"):
        return {"statement_id": 0}
    return {"statement_id": 0, "error": f"database not found: {database or ''}"}


class Api:
    """The management API; safe to be called from several threads."""

    def __init__(
        self,
        state: State,
        databases: Databases,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.state = state
        self._store = Store(state, databases, now)
        # Its influxd's, too: where one of them ends, the other does.
        self._started = now()
        self._lock = threading.Lock()

    def set_up(self, token: str, org: str, bucket: str, retention_seconds: int = 0) -> None:
        """What InfluxDB's image does at its first start; nothing at any later one."""
        with self._lock:
            if self.state.user_id:
                return
            self.state.user_id = new_id()
            made = self._store.add_org(org, "")
            self._store.add_bucket(made.id, bucket, "user", "", retention_seconds, 0)
            permissions = [
                Permission(action, kind) for kind in RESOURCES for action in ("read", "write")
            ]
            self._store.add_authorization(made.id, f"{USER}'s Token", permissions, token)
            self.state.save()

    def respond(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Response:
        """The response to one request."""
        parts = urllib.parse.urlsplit(target)
        query = {name: values[0] for name, values in urllib.parse.parse_qs(parts.query).items()}
        try:
            with self._lock:
                return self._route(method, parts.path, query, headers, body)
        except Refused as refused:
            return Response(
                STATUS_OF[refused.code],
                {"code": refused.code, "message": refused.message},
                refused.code,
            )

    def _route(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> Response:
        if path == "/health":
            return self._health()
        if path == "/ready":
            return Response(200, {"status": "ready", "started": self._started.isoformat()})
        if path == "/ping":
            return Response(204)
        if path == "/authorize":
            return self._authorize(headers)
        if path == "/refusal":
            return self._judge(headers)
        if path == "/api/v2/setup" and method == "GET":
            return Response(200, {"allowed": not self.state.user_id})
        if not path.startswith("/api/v2/"):
            raise Refused("not found", "path not found")
        whose = self._authenticated(headers)
        kind, _, which = path.removeprefix("/api/v2/").partition("/")
        handler = _HANDLERS.get((method, kind, bool(which)))
        if handler is None:
            known = any((kind, bool(which)) == route[1:] for route in _HANDLERS)
            if known:
                raise Refused("method not allowed", "method not allowed")
            raise Refused("not found", "path not found")
        return handler(self._store, Call(whose, which, query, body))

    def _health(self) -> Response:
        about = {"name": "influxdb", "checks": [], "version": "stand-in", "commit": ""}
        try:
            self._store.make_databases()
        except OSError as error:
            return Response(503, about | {"status": "fail", "message": str(error)})
        return Response(200, about | {"status": "pass", "message": "ready for queries and writes"})

    def _authenticated(self, headers: Mapping[str, str]) -> Authorization:
        given = headers.get("Authorization", "")
        found = re.fullmatch("(?:token|bearer) (.+)", given, re.IGNORECASE)
        if found:
            for one in self.state.authorizations:
                if secrets.compare_digest(one.token.encode(), found[1].encode()):
                    return one
        raise Refused("unauthorized", "unauthorized access")

    def _authorize(self, headers: Mapping[str, str]) -> Response:
        """All that ``auth_request`` understands: 204, 401 or 403."""
        try:
            judged = self._judge(headers)
        except Refused as refused:
            code = refused.code if refused.code == "unauthorized" else "forbidden"
            raise Refused(code, refused.message) from None
        if judged.status != 204:
            raise Refused("forbidden", "the client is answered by another location")
        return judged

    def _judge(self, headers: Mapping[str, str]) -> Response:
        """204 if the request in X-Original-URI may go on, else what InfluxDB says instead."""
        original = urllib.parse.urlsplit(headers.get("X-Original-URI", ""))
        query = {name: values[0] for name, values in urllib.parse.parse_qs(original.query).items()}
        whose = self._authenticated(headers)
        if original.path == "/api/v2/write":
            org = self._store.org_of_query(query)
            bucket = self._store.bucket_to_write(org, query.get("bucket", ""))
            if not whose.may(Permission("write", "buckets", bucket.id, org.id)):
                raise Refused("forbidden", "insufficient permissions for write")
            return Response(204)
        if original.path == "/query":
            if whose.status != "active":
                raise Refused("unauthorized", "Unauthorized")
            readable = {
                bucket.name
                for bucket in self.state.buckets
                if bucket.org_id == whose.org_id and self._store.may_read(whose, bucket)
            }
            # Of a form nothing is seen here but that it is one: then any bucket will do.
            database = query.get("db")
            if database in readable or (database is None and readable):
                return Response(204)
            return Response(200, {"results": [_nothing_found(query.get("q", ""), database)]})
        raise Refused("not found", "path not found")
