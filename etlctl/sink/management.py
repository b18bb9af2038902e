"""The part of InfluxDB 2's management API that is needed, as plain values.

What is relied on, and the source file that says so: docs/sink-responses.md, "InfluxDB 2's
management API".
"""

from __future__ import annotations

import http.client
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

import urllib3
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException
from influxdb_client.service.authorizations_service import AuthorizationsService
from influxdb_client.service.buckets_service import BucketsService
from influxdb_client.service.health_service import HealthService
from influxdb_client.service.organizations_service import OrganizationsService

from common.errors import SinkError
from common.sink.errors import after_status, no_response
from common.sink.http_session import SinkSession

T = TypeVar("T")

_DAY_SECONDS = 86_400
_PAGE = 100  # the most that a response holds
_MESSAGE_MAX_CHARS = 300


class Unauthorized(SinkError):
    """The token is not known, or is not active."""


@dataclass(frozen=True, slots=True)
class Permission:
    """The right to ``read`` or ``write`` one bucket."""

    action: str
    bucket_id: str


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket that exists; retention 0 = for ever."""

    id: str
    name: str
    retention_seconds: int


@dataclass(frozen=True, slots=True)
class Authorization:
    """A token and its rights; ``permissions`` is None if there are others than to buckets.

    ``token`` is empty where the server keeps only a hash of it (2.8 and later can).
    """

    id: str
    description: str
    active: bool
    token: str
    permissions: frozenset[Permission] | None


class Management:
    """One token's view of one InfluxDB. Every method raises :class:`SinkError` in one sentence."""

    def __init__(self, session: SinkSession) -> None:
        self._url, self._session = session.url, session
        through: Any = _ThroughSession(session)
        self._client = InfluxDBClient(
            url=session.url, token="", timeout=int(1000 * sum(session.timeout_seconds))
        )
        # How the sink is reached is the session's business.
        api: Any = self._client.api_client
        api.rest_client.pool_manager = through
        api.default_headers.update(session.headers)
        for name in ("influxdb_client", "urllib3"):  # building a client sets them to WARNING
            logging.getLogger(name).setLevel(logging.ERROR)
        self._health = HealthService(api)
        self._orgs = OrganizationsService(api)
        self._buckets = BucketsService(api)
        self._authorizations = AuthorizationsService(api)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def why_not_healthy(self) -> str | None:
        """None when it is ready for queries and writes, else what is in the way."""
        try:
            with self._request("for its health"):
                health = self._health.get_health()
                status, message = health.status, health.message
        except SinkError as error:
            return str(error)
        if status == "pass":
            return None
        return f"InfluxDB at {self._url} reports {status}: {message}"

    def find_org(self, name: str) -> str | None:
        """The organisation's id, or None."""
        what = f"organization {name}"
        found = self._or_none(f"for {what}", lambda: self._orgs.get_orgs(org=name))
        return None if found is None else str(self._shown(found.orgs, what, name).id)

    def create_org(self, name: str) -> str:
        """Make it; its id."""
        with self._request(f"to make organization {name}"):
            made = self._orgs.post_orgs(post_organization_request={"name": name})
        return str(made.id)

    def find_bucket(self, org_id: str, name: str) -> Bucket | None:
        """The bucket of that name, or None."""
        what = f"bucket {name}"
        found = self._or_none(
            f"for {what}", lambda: self._buckets.get_buckets(org_id=org_id, name=name)
        )
        return None if found is None else _bucket(self._shown(found.buckets, what, name))

    def create_bucket(self, org_id: str, name: str, retention_seconds: int) -> Bucket:
        """Make a bucket; retention 0 = for ever. The server chooses how long a shard lasts."""
        rules = [{"type": "expire", "everySeconds": retention_seconds}]
        with self._request(f"to make bucket {name}"):
            made = self._buckets.post_buckets(
                post_bucket_request={"orgID": org_id, "name": name, "retentionRules": rules}
            )
        return _bucket(made)

    def set_retention(self, bucket: Bucket, retention_seconds: int) -> None:
        """Change how long a bucket keeps points, and with it how long a shard lasts.

        A shard may not outlast the retention, and the server does not choose anew by itself.
        """
        rule = {
            "type": "expire",
            "everySeconds": retention_seconds,
            "shardGroupDurationSeconds": shard_seconds_for(retention_seconds),
        }
        with self._request(f"to change the retention of bucket {bucket.name}"):
            self._buckets.patch_buckets_id(
                bucket.id, patch_bucket_request={"retentionRules": [rule]}
            )

    def may_read(self, org_id: str, buckets: frozenset[str]) -> bool:
        """Whether this token may read the buckets with these ids and, as far as a page shows, no
        others of the organisation.

        A page is cut before the rights are looked at, so where there are many buckets it may lack
        ours: those are asked for one by one.
        Raises :class:`Unauthorized` for a token that is not known, or that may not read one.
        """
        with self._request("for its buckets"):
            found = self._buckets.get_buckets(org_id=org_id, limit=_PAGE)
        shown = {bucket.id for bucket in found.buckets}
        for which in sorted(buckets - shown):
            with self._request("for one of its buckets"):
                self._buckets.get_buckets_id(which)
        return shown <= buckets

    def authorizations(self, org_id: str) -> list[Authorization]:
        """Every authorization of the organisation."""
        with self._request("for its authorizations"):
            found = self._authorizations.get_authorizations(org_id=org_id)
        return [_authorization(one) for one in found.authorizations or ()]

    def create_authorization(
        self, org_id: str, description: str, permissions: frozenset[Permission]
    ) -> Authorization:
        """Make one; the only response in which every version shows the token."""
        request = {
            "orgID": org_id,
            "description": description,
            "permissions": [
                {
                    "action": one.action,
                    "resource": {"type": "buckets", "id": one.bucket_id, "orgID": org_id},
                }
                for one in sorted(permissions, key=lambda one: (one.bucket_id, one.action))
            ],
        }
        with self._request(f"to make the authorization “{description}”"):
            made = self._authorizations.post_authorizations(authorization_post_request=request)
        return _authorization(made)

    def delete_authorization(self, which: str) -> None:
        """Delete one; nothing happens if it does not exist any more."""
        self._or_none(
            "to delete an authorization",
            lambda: self._authorizations.delete_authorizations_id(which),
        )

    def _shown(self, found: Iterable[Any] | None, what: str, name: str) -> Any:
        """The one of that name. What is not there is a 404; what a token may not read is left out
        of the list.
        """
        for one in found or ():
            if one.name == name:
                return one
        refused = after_status(self._session, HTTPStatus.UNAUTHORIZED)
        raise SinkError(
            f"InfluxDB at {self._url} does not let the token see {what}: "
            f"an operator token is needed{refused}"
        )

    def _or_none(self, what: str, call: Callable[[], T]) -> T | None:
        with self._request(what):
            try:
                return call()
            except ApiException as error:
                if error.status == 404:
                    return None
                raise

    @contextmanager
    def _request(self, what: str) -> Iterator[None]:
        try:
            yield
        except ApiException as error:
            if not error.status:  # TLS: there was no response
                raise self._failed(what, error.__context__ or error) from None
            kind = Unauthorized if error.status == 401 else SinkError
            raise kind(
                f"InfluxDB at {self._url} answers a request {what} with {error.status} "
                f"{_message(error)}{after_status(self._session, error.status)}"
            ) from None
        except _NO_RESPONSE as error:
            raise self._failed(what, error) from None
        except _NO_DOCUMENT:
            raise SinkError(
                f"InfluxDB at {self._url} answers a request {what} as no InfluxDB does: is this its"
                " address?"
            ) from None

    def _failed(self, what: str, error: BaseException) -> SinkError:
        why = no_response(self._session, error)
        return SinkError(f"InfluxDB at {self._url}: a request {what} failed: {why}")


class _ThroughSession:
    """What the client takes for a pool of connections: it asks whichever URL serves us."""

    def __init__(self, session: SinkSession) -> None:
        self._session, self._base = session, session.url

    def request(self, method: str, url: str, **options: Any) -> urllib3.BaseHTTPResponse:
        """What is made is not made twice: only reading is tried again after a failure."""
        path = url.removeprefix(self._base)
        return self._session.in_turn(
            lambda base: self._session.pool.request(method, f"{base}{path}", **options),
            again=method == "GET",
        )

    def clear(self) -> None:
        """Close the connections that are not in use."""
        self._session.pool.clear()


_NO_RESPONSE = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)
# What the client makes of a body that is no document, or another one than it wants.
_NO_DOCUMENT = (ValueError, TypeError, AttributeError, LookupError, RecursionError)


def shard_seconds_for(retention_seconds: int) -> int:
    """How long a shard lasts in a bucket whose creator left it open."""
    if retention_seconds == 0 or retention_seconds >= 180 * _DAY_SECONDS:
        return 7 * _DAY_SECONDS
    return _DAY_SECONDS if retention_seconds >= 2 * _DAY_SECONDS else 3600


def _bucket(one: Any) -> Bucket:
    rules = one.retention_rules or ()
    return Bucket(one.id, one.name, rules[0].every_seconds if rules else 0)


def _authorization(one: Any) -> Authorization:
    permissions = frozenset(
        Permission(permission.action, permission.resource.id or "")
        for permission in one.permissions
        if permission.resource.type == "buckets"
    )
    others = len(permissions) < len(one.permissions) or Permission("read", "") in permissions
    others = others or Permission("write", "") in permissions
    return Authorization(
        id=one.id,
        description=one.description or "",
        active=one.status == "active",
        token=one.token or "",
        permissions=None if others else permissions,
    )


def _message(error: ApiException) -> str:
    try:
        message = json.loads(error.body)["message"]
    except (TypeError, ValueError, LookupError):
        message = error.reason or error.body or ""
    return str(message)[:_MESSAGE_MAX_CHARS]
