"""Reading and changing what is kept, and the databases with it."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from devtools.servers.influx_api.databases import Databases
from devtools.servers.influx_api.state import Authorization, Bucket, Org, Permission, State
from devtools.servers.influx_api.wire import Refused, parse_id

MIN_RETENTION_SECONDS = 3600
USER = "admin"

_HOUR_SECONDS, _DAY_SECONDS = 3600, 86_400
_SYSTEM_BUCKETS = {"_tasks": 3 * _DAY_SECONDS, "_monitoring": 7 * _DAY_SECONDS}


@dataclass(frozen=True, slots=True)
class Call:
    """An authenticated request: whose, for which id (or none), with which query and body."""

    whose: Authorization
    which: str
    query: Mapping[str, str]
    body: bytes

    def allow(self, wanted: Permission) -> None:
        """Raise :class:`Refused` unless the token is active and has the right."""
        if self.whose.status != "active":
            raise Refused("unauthorized", "token is inactive")
        if not self.whose.may(wanted):
            raise Refused("unauthorized", f"{wanted} is unauthorized")


class Store:
    """The state and the databases that follow it; its caller holds a lock."""

    def __init__(self, state: State, databases: Databases, now: Callable[[], datetime]) -> None:
        self.state = state
        self._databases = databases
        self._now = now
        # Until influxd was there once, no database is made: it may not listen yet.
        self._databases_made = False

    def make_databases(self) -> None:
        """Make or alter the database of each bucket, once. Raises :class:`OSError`."""
        if self._databases_made:
            return
        # influxd may have lost its databases, and may not have been there until now.
        for bucket in self.state.buckets:
            self._keep_database(bucket)
        self._databases_made = True

    def may_read(self, whose: Authorization, bucket: Bucket) -> bool:
        """Whether the token may read the bucket."""
        if bucket.type == "system":
            return whose.may(Permission("read", "orgs", bucket.org_id))
        return whose.may(Permission("read", "buckets", bucket.id, bucket.org_id))

    def org_of_query(self, query: Mapping[str, str]) -> Org:
        """The organisation that a query's ``orgID`` or ``org`` names."""
        name = query.get("org", "")
        if "orgID" in query:
            return self.org(parse_id(query["orgID"]))
        if re.fullmatch("[0-9a-f]{16}", name):
            return self.org(name)
        if not name:
            raise Refused("invalid", "Please provide either orgID or org")
        return self.org_named(name)

    def org(self, which: str) -> Org:
        """The organisation of that id."""
        for org in self.state.orgs:
            if org.id == which:
                return org
        raise Refused("not found", "organization not found")

    def org_named(self, name: str) -> Org:
        """The organisation of that name."""
        for org in self.state.orgs:
            if org.name.strip() == name.strip():
                return org
        raise Refused("not found", f'organization name "{name}" not found')

    def add_org(self, name: str, description: str) -> Org:
        """A new organisation with its system buckets."""
        org = Org(new_id(), name, description, self._time())
        self.state.orgs.append(org)
        for system, retention_seconds in _SYSTEM_BUCKETS.items():
            self.add_bucket(org.id, system, "system", "System bucket", retention_seconds, 0)
        return org

    def bucket(self, which: str) -> Bucket:
        """The bucket of that id."""
        for bucket in self.state.buckets:
            if bucket.id == which:
                return bucket
        raise Refused("not found", "bucket not found")

    def bucket_to_write(self, org: Org, text: str) -> Bucket:
        """By id if there is such a one, else by name."""
        for bucket in self.state.buckets:
            if bucket.org_id == org.id and text in (bucket.id, bucket.name):
                return bucket
        raise Refused("not found", f'bucket "{text}" not found')

    def add_bucket(
        self,
        org_id: str,
        name: str,
        kind: str,
        description: str,
        retention_seconds: int,
        shard_seconds: int,
    ) -> Bucket:
        """A new bucket with its database."""
        check_retention(retention_seconds)
        shard = max(_HOUR_SECONDS, shard_seconds or shard_seconds_for(retention_seconds))
        if 0 < retention_seconds < shard:
            raise Refused(
                "internal error",
                "retention policy duration must be greater than the shard duration",
            )
        bucket = Bucket(
            new_id(),
            org_id,
            name,
            kind,
            description,
            retention_seconds,
            shard,
            self._time(),
        )
        if self._databases_made:
            self.keep(bucket)
        self.state.buckets.append(bucket)
        return bucket

    def keep(self, bucket: Bucket) -> None:
        """Make or alter the bucket's database."""
        try:
            self._keep_database(bucket)
        except OSError as error:
            raise Refused("internal error", str(error)) from None

    def _keep_database(self, bucket: Bucket) -> None:
        if bucket.type == "user":
            shard_seconds = bucket.shard_seconds or shard_seconds_for(bucket.retention_seconds)
            self._databases.keep(bucket.name, bucket.retention_seconds, shard_seconds)

    def drop(self, bucket: Bucket) -> None:
        """Remove the bucket and its database."""
        try:
            if bucket.type == "user":
                self._databases.drop(bucket.name)
        except OSError as error:
            raise Refused("internal error", str(error)) from None
        self.state.buckets.remove(bucket)

    def authorization(self, which: str) -> Authorization:
        """The authorization of that id."""
        for one in self.state.authorizations:
            if one.id == which:
                return one
        raise Refused("not found", "authorization not found")

    def add_authorization(
        self, org_id: str, description: str, permissions: list[Permission], token: str
    ) -> Authorization:
        """A new authorization."""
        one = Authorization(
            new_id(), org_id, token, "active", description, permissions, self._time()
        )
        self.state.authorizations.append(one)
        return one

    def name_of(self, kind: str, which: str | None) -> str | None:
        """The name of an organisation or a bucket."""
        those: list[Org | Bucket] = []
        if kind == "orgs":
            those += self.state.orgs
        elif kind == "buckets":
            those += self.state.buckets
        return next((one.name for one in those if one.id == which), None)

    def _time(self) -> str:
        return self._now().isoformat(timespec="microseconds").replace("+00:00", "Z")


def check_retention(retention_seconds: int) -> None:
    """Raise :class:`Refused` for a retention that InfluxDB does not take."""
    # No error of the platform's but a plain one: hence the 500.
    if 0 < retention_seconds < MIN_RETENTION_SECONDS:
        raise Refused("internal error", "retention policy duration must be at least 1h0m0s")


def shard_seconds_for(retention_seconds: int) -> int:
    """How long a shard lasts if nobody says: ``shardGroupDuration`` in v1/services/meta/data.go."""
    if retention_seconds == 0 or retention_seconds >= 180 * _DAY_SECONDS:
        return 7 * _DAY_SECONDS
    return _DAY_SECONDS if retention_seconds >= 2 * _DAY_SECONDS else _HOUR_SECONDS


def new_id() -> str:
    """A random id."""
    return f"{secrets.randbits(63) | 1 << 59:016x}"


def new_token() -> str:
    """A random token."""
    return base64.urlsafe_b64encode(secrets.token_bytes(64)).decode()
