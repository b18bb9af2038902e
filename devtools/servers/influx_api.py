"""A stand-in for InfluxDB 2's management API: organisations, buckets, authorizations.

It answers as the source of the 2.7 branch says (docs/sink-responses.md names each fact's file),
keeps its state in a JSON file, and makes and alters the database of each bucket in a real influxd
1.x, whose write path and queries an nginx in front of both serves as InfluxDB 2's. For nginx's
``auth_request`` it says whether a token may: ``GET /authorize`` with the request in X-Original-URI.

Only the standard library, and one file: a container needs nothing else to run it.
``python -m devtools.servers.influx_api --listen 127.0.0.1:8087 --influxd http://127.0.0.1:8088 …``
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import secrets
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

Json = dict[str, Any]
T = TypeVar("T")

MIN_RETENTION_SECONDS = 3600
DEFAULT_PAGE, MAX_PAGE = 20, 100

_HOUR, _DAY = 3600, 86_400
_STATUS_OF = {
    "internal error": 500,
    "not found": 404,
    "conflict": 422,
    "invalid": 400,
    "unprocessable entity": 422,
    "forbidden": 403,
    "unauthorized": 401,
    "method not allowed": 405,
}
_RESOURCES = (
    "authorizations buckets dashboards orgs sources tasks telegrafs users variables scrapers "
    "secrets labels views documents notificationRules notificationEndpoints checks dbrp notebooks "
    "annotations remotes replications"
).split()
_SYSTEM_BUCKETS = {"_tasks": 3 * _DAY, "_monitoring": 7 * _DAY}
_USER = "admin"


class Refused(Exception):
    """An error that is answered: InfluxDB's code, which decides the status, and its words."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, and a document or nothing."""

    status: int
    document: Any = None
    code: str = ""


# -- rights --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Permission:
    """The right to read or write resources of a type: one, those of an organisation, or all."""

    action: str
    type: str
    id: str | None = None
    org_id: str | None = None

    def covers(self, wanted: Permission) -> bool:
        """Whether who has this may do ``wanted``, which is about one resource."""
        if (self.action, self.type) != (wanted.action, wanted.type):
            return False
        if self.id is None:
            return self.org_id is None or self.org_id == wanted.org_id
        return self.id == wanted.id

    def __str__(self) -> str:
        inside = f"orgs/{self.org_id}/" if self.org_id else ""
        which = f"/{self.id}" if self.id else ""
        return f"{self.action}:{inside}{self.type}{which}"

    @classmethod
    def read(cls, document: Any) -> Permission:
        """From its JSON form; :class:`Refused` in InfluxDB's words."""
        try:
            resource = document["resource"]
            action, kind = document["action"], resource["type"]
        except (TypeError, KeyError):
            action = kind = ""
            resource = {}
        if kind not in _RESOURCES and kind != "instance":
            raise Refused(
                "invalid",
                "invalid resource type for permission: unknown resource type for permission",
            )
        if action not in ("read", "write"):
            raise Refused(
                "invalid", "invalid action type for permission: unknown action for permission"
            )
        ids = [resource.get(key) for key in ("id", "orgID")]
        which, org = (None if text is None else parse_id(text) for text in ids)
        return cls(action, kind, which, org)


def parse_id(text: Any) -> str:
    """An id as InfluxDB writes it: 16 hexadecimal digits, not all of them zero."""
    if not isinstance(text, str) or len(text) != 16:
        raise Refused("invalid", "id must have a length of 16 bytes")
    if not re.fullmatch("[0-9a-fA-F]{16}", text) or not int(text, 16):
        raise Refused("invalid", "invalid ID")
    return text.lower()


# -- state ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class Org:
    """An organisation."""

    id: str
    name: str
    description: str
    created_at: str


@dataclass(slots=True)
class Bucket:
    """A bucket; retention 0 = for ever."""

    id: str
    org_id: str
    name: str
    type: str
    description: str
    retention_seconds: int
    shard_seconds: int
    created_at: str


@dataclass(slots=True)
class Authorization:
    """A token and what it may."""

    id: str
    org_id: str
    token: str
    status: str
    description: str
    permissions: list[Permission]
    created_at: str

    def may(self, wanted: Permission) -> bool:
        """Whether the token is active and has the right."""
        return self.status == "active" and any(p.covers(wanted) for p in self.permissions)


@dataclass(slots=True)
class State:
    """Everything that is kept; in a file if there is a path."""

    path: Path | None = None
    user_id: str = ""
    orgs: list[Org] = field(default_factory=list)
    buckets: list[Bucket] = field(default_factory=list)
    authorizations: list[Authorization] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> State:
        """What was saved, or nothing yet. Raises :class:`ValueError` for any other file."""
        state = cls(path)
        if not path.exists():
            return state
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            state.user_id = kept["user_id"]
            state.orgs = [Org(**one) for one in kept["orgs"]]
            state.buckets = [Bucket(**one) for one in kept["buckets"]]
            for one in kept["authorizations"]:
                permissions = [Permission(**permission) for permission in one.pop("permissions")]
                state.authorizations.append(Authorization(**one, permissions=permissions))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: is no state of this program: {error!r}") from None
        return state

    def save(self) -> None:
        """Write the file whole; it holds tokens, so only its owner can read it."""
        if self.path is None:
            return
        kept = asdict(self)
        del kept["path"]
        part = self.path.with_name(f".{self.path.name}.part")
        part.unlink(missing_ok=True)
        part.touch(mode=0o600, exist_ok=False)
        part.write_text(json.dumps(kept, indent=1), encoding="utf-8")
        part.replace(self.path)


# -- databases of influxd 1.x --------------------------------------------------------------------


class Databases(Protocol):
    """Where points of a bucket go."""

    def keep(self, name: str, retention_seconds: int, shard_seconds: int) -> None:
        """Make or alter the database. Raises :class:`OSError` when it cannot be done."""

    def drop(self, name: str) -> None:
        """Drop the database. Raises :class:`OSError` when it cannot be done."""


class NoDatabases:
    """For tests of the management API alone."""

    def keep(self, name: str, retention_seconds: int, shard_seconds: int) -> None:
        """Nothing."""

    def drop(self, name: str) -> None:
        """Nothing."""


class InfluxdDatabases:
    """The databases of an influxd 1.x, through ``/query``."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        # Whatever proxy the environment names: influxd is on the same machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def keep(self, name: str, retention_seconds: int, shard_seconds: int) -> None:
        """CREATE and ALTER: each does nothing if there is nothing to do."""
        quoted = _quoted(name)
        self._execute(f"CREATE DATABASE {quoted}")
        self._execute(
            f'ALTER RETENTION POLICY "autogen" ON {quoted} DURATION {retention_seconds}s '
            f"SHARD DURATION {shard_seconds}s DEFAULT"
        )

    def drop(self, name: str) -> None:
        """Nothing happens if there is none."""
        self._execute(f"DROP DATABASE {_quoted(name)}")

    def _execute(self, statement: str) -> None:
        form = urllib.parse.urlencode({"q": statement}).encode()
        try:
            with self._opener.open(f"{self._url}/query", form, timeout=30) as answer:
                result = json.load(answer)["results"][0]
        except (urllib.error.URLError, ValueError, KeyError, IndexError) as error:
            raise OSError(f"{statement}: {error}") from None
        if "error" in result:
            raise OSError(f"{statement}: {result['error']}")


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def shard_seconds_for(retention_seconds: int) -> int:
    """How long a shard lasts if nobody says: ``shardGroupDuration`` in v1/services/meta/data.go."""
    if retention_seconds == 0 or retention_seconds >= 180 * _DAY:
        return 7 * _DAY
    return _DAY if retention_seconds >= 2 * _DAY else _HOUR


# -- the API -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Call:
    """An authenticated request: whose, for which id (or none), with which query and body."""

    whose: Authorization
    which: str
    query: Mapping[str, str]
    body: bytes


class Api:
    """What is answered to a request; safe to be called from several threads."""

    def __init__(
        self,
        state: State,
        databases: Databases,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.state = state
        self._databases = databases
        self._now = now
        self._lock = threading.Lock()
        self._databases_made = False

    def set_up(self, token: str, org: str, bucket: str, retention_seconds: int = 0) -> None:
        """What InfluxDB's image does at its first start; nothing at any later one."""
        with self._lock:
            if self.state.user_id:
                return
            self.state.user_id = self._new_id()
            made = self._add_org(org, "")
            self._add_bucket(made.id, bucket, "user", "", retention_seconds, 0)
            permissions = [
                Permission(action, kind) for kind in _RESOURCES for action in ("read", "write")
            ]
            self._add_authorization(made.id, f"{_USER}'s Token", permissions, token)
            self.state.save()

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer to one request."""
        parts = urllib.parse.urlsplit(target)
        query = {name: values[0] for name, values in urllib.parse.parse_qs(parts.query).items()}
        try:
            with self._lock:
                return self._route(method, parts.path, query, headers, body)
        except Refused as refused:
            return Answer(
                _STATUS_OF[refused.code],
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
    ) -> Answer:
        if path == "/health":
            return self._health()
        if path == "/ping":
            return Answer(204)
        if path == "/authorize":
            return self._authorize(headers)
        if path == "/refusal":
            return self._judge(headers)
        if path == "/api/v2/setup" and method == "GET":
            return Answer(200, {"allowed": not self.state.user_id})
        if not path.startswith("/api/v2/"):
            raise Refused("not found", "path not found")
        whose = self._authenticated(headers)
        kind, _, which = path.removeprefix("/api/v2/").partition("/")
        handler = self._HANDLERS.get((method, kind, bool(which)))
        if handler is None:
            known = any((kind, bool(which)) == route[1:] for route in self._HANDLERS)
            if known:
                raise Refused("method not allowed", "method not allowed")
            raise Refused("not found", "path not found")
        return handler(self, Call(whose, which, query, body))

    def _health(self) -> Answer:
        about = {"name": "influxdb", "checks": [], "version": "stand-in", "commit": ""}
        if not self._databases_made:
            # influxd may have lost its databases, and may not have been there until now.
            try:
                for bucket in self.state.buckets:
                    self._keep_database(bucket)
            except OSError as error:
                return Answer(503, about | {"status": "fail", "message": str(error)})
            self._databases_made = True
        return Answer(200, about | {"status": "pass", "message": "ready for queries and writes"})

    # Who may.

    def _authenticated(self, headers: Mapping[str, str]) -> Authorization:
        given = headers.get("Authorization", "")
        found = re.fullmatch("(?:token|bearer) (.+)", given, re.IGNORECASE)
        if found:
            for one in self.state.authorizations:
                if secrets.compare_digest(one.token.encode(), found[1].encode()):
                    return one
        raise Refused("unauthorized", "unauthorized access")

    def _allow(self, whose: Authorization, wanted: Permission) -> None:
        if whose.status != "active":
            raise Refused("unauthorized", "token is inactive")
        if not whose.may(wanted):
            raise Refused("unauthorized", f"{wanted} is unauthorized")

    def _may_read(self, whose: Authorization, bucket: Bucket) -> bool:
        if bucket.type == "system":
            return whose.may(Permission("read", "orgs", bucket.org_id))
        return whose.may(Permission("read", "buckets", bucket.id, bucket.org_id))

    def _authorize(self, headers: Mapping[str, str]) -> Answer:
        """All that ``auth_request`` understands: 204, 401 or 403."""
        try:
            return self._judge(headers)
        except Refused as refused:
            code = refused.code if refused.code == "unauthorized" else "forbidden"
            raise Refused(code, refused.message) from None

    def _judge(self, headers: Mapping[str, str]) -> Answer:
        """204 if the request in X-Original-URI may go on, else what InfluxDB would answer."""
        original = urllib.parse.urlsplit(headers.get("X-Original-URI", ""))
        query = {name: values[0] for name, values in urllib.parse.parse_qs(original.query).items()}
        whose = self._authenticated(headers)
        if original.path == "/api/v2/write":
            org = self._org_of_query(query)
            bucket = self._bucket_to_write(org, query.get("bucket", ""))
            if not whose.may(Permission("write", "buckets", bucket.id, org.id)):
                raise Refused("forbidden", "insufficient permissions for write")
            return Answer(204)
        if original.path == "/query":
            if whose.status != "active":
                raise Refused("unauthorized", "Unauthorized")
            readable = {
                bucket.name
                for bucket in self.state.buckets
                if bucket.org_id == whose.org_id and self._may_read(whose, bucket)
            }
            # Of a form nothing is seen here but that it is one: then any bucket will do.
            database = query.get("db")
            if database in readable or (database is None and readable):
                return Answer(204)
            raise Refused("forbidden", f"database not found: {database or ''}")
        raise Refused("not found", "path not found")

    # Organisations.

    def _org_of_query(self, query: Mapping[str, str]) -> Org:
        name = query.get("org", "")
        if "orgID" in query:
            return self._org(parse_id(query["orgID"]))
        if re.fullmatch("[0-9a-f]{16}", name):
            return self._org(name)
        if not name:
            raise Refused("invalid", "Please provide either orgID or org")
        return self._org_named(name)

    def _org(self, which: str) -> Org:
        for org in self.state.orgs:
            if org.id == which:
                return org
        raise Refused("not found", "organization not found")

    def _org_named(self, name: str) -> Org:
        for org in self.state.orgs:
            if org.name.strip() == name.strip():
                return org
        raise Refused("not found", f'organization name "{name}" not found')

    def _get_orgs(self, call: Call) -> Answer:
        if "org" in call.query:
            found = [self._org_named(call.query["org"])]
        elif "orgID" in call.query:
            found = [self._org(parse_id(call.query["orgID"]))]
        else:
            found = self.state.orgs
        readable = [org for org in found if call.whose.may(Permission("read", "orgs", org.id))]
        return Answer(
            200,
            {
                "links": {"self": "/api/v2/orgs"},
                "orgs": [_org_document(org) for org in _page(readable, call.query)],
            },
        )

    def _get_org(self, call: Call) -> Answer:
        org_id = parse_id(call.which)
        self._allow(call.whose, Permission("read", "orgs", org_id))
        return Answer(200, _org_document(self._org(org_id)))

    def _post_org(self, call: Call) -> Answer:
        document = _document(call.body, "failed to unmarshal json")
        name = str(document.get("name", ""))
        self._allow(call.whose, Permission("write", "orgs"))
        if not name.strip():
            raise Refused("invalid", "org name is empty")
        if any(org.name.strip() == name.strip() for org in self.state.orgs):
            raise Refused("conflict", f"organization with name {name} already exists")
        org = self._add_org(name, str(document.get("description", "")))
        self.state.save()
        return Answer(201, _org_document(org))

    def _delete_org(self, call: Call) -> Answer:
        org_id = parse_id(call.which)
        self._allow(call.whose, Permission("write", "orgs", org_id))
        org = self._org(org_id)
        for bucket in [one for one in self.state.buckets if one.org_id == org.id]:
            self._drop(bucket)
        self.state.orgs.remove(org)
        self.state.save()
        return Answer(204)

    def _add_org(self, name: str, description: str) -> Org:
        org = Org(self._new_id(), name, description, self._time())
        self.state.orgs.append(org)
        for system, retention_seconds in _SYSTEM_BUCKETS.items():
            self._add_bucket(org.id, system, "system", "System bucket", retention_seconds, 0)
        return org

    # Buckets.

    def _bucket(self, which: str) -> Bucket:
        for bucket in self.state.buckets:
            if bucket.id == which:
                return bucket
        raise Refused("not found", "bucket not found")

    def _bucket_to_write(self, org: Org, text: str) -> Bucket:
        """By id if there is such a one, else by name."""
        for bucket in self.state.buckets:
            if bucket.org_id == org.id and text in (bucket.id, bucket.name):
                return bucket
        raise Refused("not found", f'bucket "{text}" not found')

    def _get_buckets(self, call: Call) -> Answer:
        org_id = parse_id(call.query["orgID"]) if "orgID" in call.query else None
        if org_id is None and "org" in call.query:
            org_id = self._org_named(call.query["org"]).id
        found = sorted(self.state.buckets, key=lambda bucket: bucket.name)
        if "id" in call.query:
            found = [self._bucket(parse_id(call.query["id"]))]
        else:
            found = [
                bucket
                for bucket in found
                if org_id in (None, bucket.org_id)
                and call.query.get("name", bucket.name) == bucket.name
            ]
            if not found and org_id is not None and "name" in call.query:
                raise Refused("not found", f'bucket "{call.query["name"]}" not found')
        # The page is cut before rights are looked at, as in tenant/middleware_bucket_auth.go.
        readable = [one for one in _page(found, call.query) if self._may_read(call.whose, one)]
        return Answer(
            200,
            {
                "links": {"self": "/api/v2/buckets"},
                "buckets": [_bucket_document(bucket) for bucket in readable],
            },
        )

    def _get_bucket(self, call: Call) -> Answer:
        bucket = self._bucket(parse_id(call.which))
        if not self._may_read(call.whose, bucket):
            self._allow(call.whose, Permission("read", "buckets", bucket.id, bucket.org_id))
        return Answer(200, _bucket_document(bucket))

    def _post_bucket(self, call: Call) -> Answer:
        document = _document(call.body, "failed to unmarshal json")
        if document.get("orgID") is None:
            raise Refused("invalid", "organization id must be provided")
        org_id = parse_id(document["orgID"])
        retention_seconds, shard_seconds = _rule(document)
        self._allow(call.whose, Permission("write", "buckets", None, org_id))
        name = str(document.get("name", ""))
        _check_bucket_name(name)
        self._org(org_id)
        if any(one.org_id == org_id and one.name == name for one in self.state.buckets):
            raise Refused("conflict", f"bucket with name {name} already exists")
        bucket = self._add_bucket(
            org_id,
            name,
            "user",
            str(document.get("description", "")),
            retention_seconds or 0,
            shard_seconds or 0,
        )
        self.state.save()
        return Answer(201, _bucket_document(bucket))

    def _patch_bucket(self, call: Call) -> Answer:
        bucket_id = parse_id(call.which)
        document = _document(call.body, "failed to unmarshal json")
        retention_seconds, shard_seconds = _rule(document)
        bucket = self._bucket(bucket_id)
        self._allow(call.whose, Permission("write", "buckets", bucket.id, bucket.org_id))
        kept = retention_seconds if retention_seconds is not None else bucket.retention_seconds
        shard = shard_seconds if shard_seconds is not None else bucket.shard_seconds
        _check_retention(kept)
        if 0 < kept < shard:
            raise Refused(
                "unprocessable entity",
                "shard-group duration must also be updated to be smaller than new retention "
                "duration",
            )
        changed = Bucket(**asdict(bucket) | {"retention_seconds": kept, "shard_seconds": shard})
        changed.description = str(document.get("description", bucket.description))
        self._keep(changed)
        self.state.buckets[self.state.buckets.index(bucket)] = changed
        self.state.save()
        return Answer(200, _bucket_document(changed))

    def _delete_bucket(self, call: Call) -> Answer:
        bucket = self._bucket(parse_id(call.which))
        self._allow(call.whose, Permission("write", "buckets", bucket.id, bucket.org_id))
        if bucket.type == "system":
            raise Refused("invalid", "system buckets cannot be deleted")
        self._drop(bucket)
        self.state.save()
        return Answer(204)

    def _add_bucket(
        self,
        org_id: str,
        name: str,
        kind: str,
        description: str,
        retention_seconds: int,
        shard_seconds: int,
    ) -> Bucket:
        _check_retention(retention_seconds)
        shard = max(_HOUR, shard_seconds or shard_seconds_for(retention_seconds))
        if 0 < retention_seconds < shard:
            raise Refused(
                "internal error",
                "retention policy duration must be greater than the shard duration",
            )
        bucket = Bucket(
            self._new_id(),
            org_id,
            name,
            kind,
            description,
            retention_seconds,
            shard,
            self._time(),
        )
        if self._databases_made:
            self._keep(bucket)
        self.state.buckets.append(bucket)
        return bucket

    def _keep(self, bucket: Bucket) -> None:
        try:
            self._keep_database(bucket)
        except OSError as error:
            raise Refused("internal error", str(error)) from None

    def _keep_database(self, bucket: Bucket) -> None:
        if bucket.type == "user":
            shard_seconds = bucket.shard_seconds or shard_seconds_for(bucket.retention_seconds)
            self._databases.keep(bucket.name, bucket.retention_seconds, shard_seconds)

    def _drop(self, bucket: Bucket) -> None:
        try:
            if bucket.type == "user":
                self._databases.drop(bucket.name)
        except OSError as error:
            raise Refused("internal error", str(error)) from None
        self.state.buckets.remove(bucket)

    # Authorizations.

    def _authorization(self, which: str) -> Authorization:
        for one in self.state.authorizations:
            if one.id == which:
                return one
        raise Refused("not found", "authorization not found")

    def _get_authorizations(self, call: Call) -> Answer:
        org_id = parse_id(call.query["orgID"]) if "orgID" in call.query else None
        if org_id is None and "org" in call.query:
            org_id = self._org_named(call.query["org"]).id
        readable = [
            self._authorization_document(one)
            for one in self.state.authorizations
            if org_id in (None, one.org_id)
            and call.whose.may(Permission("read", "authorizations", one.id, one.org_id))
            and call.whose.may(Permission("read", "users", self.state.user_id))
        ]
        return Answer(
            200, {"links": {"self": "/api/v2/authorizations"}, "authorizations": readable}
        )

    def _get_authorization(self, call: Call) -> Answer:
        one = self._allowed_authorization("read", call.whose, call.which)
        return Answer(200, self._authorization_document(one))

    def _post_authorization(self, call: Call) -> Answer:
        document = _document(call.body, "invalid json structure")
        wanted = document.get("permissions") or []
        if not wanted:
            raise Refused("invalid", "authorization must include permissions")
        permissions = [Permission.read(one) for one in wanted]
        if document.get("orgID") is None:
            raise Refused("invalid", "org id required: invalid ID")
        org_id = parse_id(document["orgID"])
        self._allow(call.whose, Permission("write", "authorizations", None, org_id))
        self._allow(call.whose, Permission("write", "users", self.state.user_id))
        for permission in permissions:
            if not call.whose.may(permission):
                raise Refused(
                    "forbidden",
                    f"permission {permission} is not allowed: {permission} is unauthorized",
                )
            if permission.org_id not in (None, org_id):
                raise Refused("invalid", f"permission {permission} is not for org id {org_id}")
        if all(org.id != org_id for org in self.state.orgs):
            raise Refused("invalid", "unable to create token")
        one = self._add_authorization(
            org_id, str(document.get("description", "")), permissions, _new_token()
        )
        self.state.save()
        return Answer(201, self._authorization_document(one))

    def _patch_authorization(self, call: Call) -> Answer:
        document = _document(call.body, "invalid json structure")
        one = self._allowed_authorization("write", call.whose, call.which)
        status = document.get("status", one.status)
        if status not in ("active", "inactive"):
            raise Refused("invalid", "unknown authorization status")
        one.status = status
        one.description = str(document.get("description", one.description))
        self.state.save()
        return Answer(200, self._authorization_document(one))

    def _delete_authorization(self, call: Call) -> Answer:
        self.state.authorizations.remove(
            self._allowed_authorization("write", call.whose, call.which)
        )
        self.state.save()
        return Answer(204)

    def _allowed_authorization(
        self, action: str, whose: Authorization, which: str
    ) -> Authorization:
        one = self._authorization(parse_id(which))
        self._allow(whose, Permission(action, "authorizations", one.id, one.org_id))
        self._allow(whose, Permission(action, "users", self.state.user_id))
        return one

    def _add_authorization(
        self, org_id: str, description: str, permissions: list[Permission], token: str
    ) -> Authorization:
        one = Authorization(
            self._new_id(), org_id, token, "active", description, permissions, self._time()
        )
        self.state.authorizations.append(one)
        return one

    def _authorization_document(self, one: Authorization) -> Json:
        return {
            "id": one.id,
            "token": one.token,
            "status": one.status,
            "description": one.description,
            "orgID": one.org_id,
            "org": self._name_of("orgs", one.org_id),
            "userID": self.state.user_id,
            "user": _USER,
            "permissions": [
                {"action": permission.action, "resource": self._resource_document(permission)}
                for permission in one.permissions
            ],
            "links": {
                "self": f"/api/v2/authorizations/{one.id}",
                "user": f"/api/v2/users/{self.state.user_id}",
            },
            "createdAt": one.created_at,
            "updatedAt": one.created_at,
        }

    def _resource_document(self, permission: Permission) -> Json:
        named = {
            "type": permission.type,
            "id": permission.id,
            "orgID": permission.org_id,
            "name": self._name_of(permission.type, permission.id),
            "org": self._name_of("orgs", permission.org_id),
        }
        return {key: value for key, value in named.items() if value is not None}

    def _name_of(self, kind: str, which: str | None) -> str | None:
        those: list[Org | Bucket] = []
        if kind == "orgs":
            those += self.state.orgs
        elif kind == "buckets":
            those += self.state.buckets
        return next((one.name for one in those if one.id == which), None)

    def _new_id(self) -> str:
        return f"{secrets.randbits(63) | 1 << 59:016x}"

    def _time(self) -> str:
        return self._now().isoformat(timespec="microseconds").replace("+00:00", "Z")

    _HANDLERS: ClassVar[dict[tuple[str, str, bool], Callable[[Api, Call], Answer]]] = {
        ("GET", "orgs", False): _get_orgs,
        ("POST", "orgs", False): _post_org,
        ("GET", "orgs", True): _get_org,
        ("DELETE", "orgs", True): _delete_org,
        ("GET", "buckets", False): _get_buckets,
        ("POST", "buckets", False): _post_bucket,
        ("GET", "buckets", True): _get_bucket,
        ("PATCH", "buckets", True): _patch_bucket,
        ("DELETE", "buckets", True): _delete_bucket,
        ("GET", "authorizations", False): _get_authorizations,
        ("POST", "authorizations", False): _post_authorization,
        ("GET", "authorizations", True): _get_authorization,
        ("PATCH", "authorizations", True): _patch_authorization,
        ("DELETE", "authorizations", True): _delete_authorization,
    }


def _document(body: bytes, what: str) -> Json:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise Refused("invalid", f"{what}: {error}") from None
    if not isinstance(document, dict):
        raise Refused("invalid", f"{what}: cannot unmarshal {type(document).__name__}")
    return document


def _rule(document: Json) -> tuple[int | None, int | None]:
    """Retention and shard duration in seconds, as far as the document says them."""
    rules = document.get("retentionRules") or []
    if len(rules) > 1:
        raise Refused(
            "unprocessable entity", "buckets cannot have more than one retention rule at this time"
        )
    if not rules:
        return None, None
    every, shard = (rules[0].get(key) for key in ("everySeconds", "shardGroupDurationSeconds"))
    for value in (every, shard):
        if value is not None and not isinstance(value, int):
            raise Refused("invalid", "failed to unmarshal json: cannot unmarshal into int64")
    if every is not None and every < 0:
        raise Refused("unprocessable entity", "expiration seconds cannot be negative")
    if shard is not None and shard < 0:
        raise Refused("unprocessable entity", "shard-group duration seconds cannot be negative")
    return every, shard


def _check_retention(retention_seconds: int) -> None:
    # No error of the platform's but a plain one: hence the 500.
    if 0 < retention_seconds < MIN_RETENTION_SECONDS:
        raise Refused("internal error", "retention policy duration must be at least 1h0m0s")


def _check_bucket_name(name: str) -> None:
    if name.startswith("_"):
        raise Refused(
            "invalid", f"bucket name {name} is invalid. Buckets may not start with underscore"
        )
    if '"' in name:
        raise Refused(
            "invalid",
            f"bucket name {name} is invalid. Bucket names may not include quotation marks",
        )


def _page(found: Sequence[T], query: Mapping[str, str]) -> Sequence[T]:
    numbers = {"limit": DEFAULT_PAGE, "offset": 0}
    for name in numbers:
        if name in query:
            try:
                numbers[name] = int(query[name])
            except ValueError:
                raise Refused("invalid", f"{name} is invalid") from None
    if not 1 <= numbers["limit"] <= MAX_PAGE:
        raise Refused("invalid", f"limit must be between 1 and {MAX_PAGE}")
    return found[numbers["offset"] : numbers["offset"] + numbers["limit"]]


def _org_document(org: Org) -> Json:
    return {
        "links": {"self": f"/api/v2/orgs/{org.id}"},
        "id": org.id,
        "name": org.name,
        "description": org.description,
        "createdAt": org.created_at,
        "updatedAt": org.created_at,
    }


def _bucket_document(bucket: Bucket) -> Json:
    return {
        "id": bucket.id,
        "orgID": bucket.org_id,
        "type": bucket.type,
        "name": bucket.name,
        "description": bucket.description,
        "retentionRules": [
            {
                "type": "expire",
                "everySeconds": bucket.retention_seconds,
                "shardGroupDurationSeconds": bucket.shard_seconds,
            }
        ],
        "createdAt": bucket.created_at,
        "updatedAt": bucket.created_at,
        "links": {"self": f"/api/v2/buckets/{bucket.id}", "org": f"/api/v2/orgs/{bucket.org_id}"},
        "labels": [],
    }


def _new_token() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(64)).decode()


# -- HTTP ----------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 300
    wbufsize = 1 << 16  # an answer is one packet: two would wait for each other
    api: Api

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self.api.answer(self.command, self.path, dict(self.headers.items()), body)
        payload = b"" if answer.document is None else json.dumps(answer.document).encode()
        self.send_response(answer.status)
        if answer.document is not None:
            self.send_header("Content-Type", "application/json; charset=utf-8")
        if answer.code:
            self.send_header("X-Platform-Error-Code", answer.code)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = do_HEAD = _handle

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""


def make_server(api: Api, host: str, port: int) -> ThreadingHTTPServer:
    """A server that listens; ``serve_forever`` answers."""

    class Handler(_Handler):
        pass

    Handler.api = api
    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    return server


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="influx_api", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--listen", default="127.0.0.1:8087", metavar="HOST:PORT")
    parser.add_argument("--influxd", metavar="URL", help="influxd 1.x; without it no databases")
    parser.add_argument("--state-file", type=Path, required=True, metavar="FILE")
    parser.add_argument("--admin-token-file", type=Path, required=True, metavar="FILE")
    parser.add_argument("--org", required=True, metavar="NAME", help="made at the first start")
    parser.add_argument("--bucket", required=True, metavar="NAME", help="made at the first start")
    parser.add_argument("--retention-seconds", type=int, default=0, metavar="SECONDS")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until killed; 2 and one sentence if that cannot begin."""
    options = _arguments(arguments)
    host, _, port = options.listen.rpartition(":")
    databases: Databases = InfluxdDatabases(options.influxd) if options.influxd else NoDatabases()
    try:
        token = options.admin_token_file.read_text(encoding="utf-8").strip()
        if not token:
            raise ValueError(f"{options.admin_token_file}: is empty")
        api = Api(State.load(options.state_file), databases)
        api.set_up(token, options.org, options.bucket, options.retention_seconds)
        server = make_server(api, host, int(port))
    except (OSError, ValueError) as error:
        print(f"influx_api: {error}", file=sys.stderr)
        return 2
    with server:
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
