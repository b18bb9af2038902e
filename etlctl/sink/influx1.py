"""InfluxDB 1.x: databases, and retention policies that keep points for as long as configured.

By InfluxQL, see https://docs.influxdata.com/influxdb/v1/query_language/manage-database/. 1.x has
no tokens; its users are made by hand.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from math import inf
from pathlib import Path
from typing import Any

import urllib3
from pydantic import SecretStr

from common.config import InfluxSettings
from common.config.load import database_of
from common.errors import ConfigError, SinkError
from common.sink.errors import after_status, no_response
from common.sink.http_session import SinkSession
from common.sink.influx1 import is_1, kept_seconds
from common.sink.influx3 import PING_PATH
from common.sink.select import quote
from etlctl.options import read_secret_option
from etlctl.sink.init import WantedBucket
from etlctl.sink.management import shard_seconds_for
from etlctl.sink.retention import Consent, Say, ensure_made, reconcile

# Of 2.x alone.
ORGANIZATIONS_PATH = "/api/v2/orgs"
# The retention policy that CREATE DATABASE makes, where none is named.
_DEFAULT_POLICY = "autogen"
_MESSAGE_MAX_CHARS = 300
_NO_RESPONSE = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)


@dataclass(frozen=True, slots=True)
class Policy:
    """A retention policy of a database; infinity = points are kept for ever."""

    name: str
    seconds: float
    default: bool


class Influx1:
    """One user's view of one InfluxDB 1.x. Methods raise :class:`SinkError` in one sentence."""

    def __init__(self, session: SinkSession) -> None:
        self._session = session
        self._where = f"InfluxDB at {session.url}"

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def why_not_there(self) -> str | None:
        """None when InfluxDB 1.x answers, else what does, or why nothing does."""
        try:
            response = self._session.request("GET", PING_PATH)
            # An InfluxDB 1.x behind what manages it as 2.x is prepared as that.
            organizations = self._session.request("GET", ORGANIZATIONS_PATH)
        except _NO_RESPONSE as error:
            return f"{self._where} cannot be reached: {no_response(self._session, error)}"
        if is_1(response.headers) and organizations.status == HTTPStatus.NOT_FOUND:
            return None
        return f"{self._where} does not answer a ping as 1.x does: {response.status}"

    def policies(self, database: str) -> dict[str, Policy] | None:
        """The retention policies of a database by name; None where there is no such database."""
        databases = {str(row.get("name")) for row in self._rows("SHOW DATABASES")}
        if database not in databases:
            return None
        found = {}
        for row in self._rows(f"SHOW RETENTION POLICIES ON {quote(database)}"):
            name, seconds = str(row.get("name")), kept_seconds(row.get("duration"))
            found[name] = Policy(name, seconds, bool(row.get("default")))
        return found

    def create_database(self, name: str, policy: str, seconds: int | None) -> None:
        """Make a database whose default retention policy keeps points for so long."""
        duration = _duration(seconds)
        self._rows(
            f"CREATE DATABASE {quote(name)} WITH {duration} REPLICATION 1 NAME {quote(policy)}"
        )

    def create_policy(self, database: str, name: str, seconds: int | None) -> None:
        """Make a retention policy that is not the database's default."""
        policy = f"{quote(name)} ON {quote(database)}"
        self._rows(f"CREATE RETENTION POLICY {policy} {_duration(seconds)} REPLICATION 1")

    def set_retention(self, database: str, policy: str, seconds: int) -> None:
        """Change how long points are kept, and with it how long a shard lasts.

        A shard may not outlast the retention, and the server does not choose anew by itself.
        """
        self._rows(
            f"ALTER RETENTION POLICY {quote(policy)} ON {quote(database)} {_duration(seconds)} "
            f"SHARD DURATION {shard_seconds_for(seconds)}s"
        )

    def _rows(self, statement: str) -> list[dict[str, Any]]:
        """What one statement gives."""
        try:
            response = self._session.request("POST", "/query", [("q", statement)])
        except _NO_RESPONSE as error:
            why = no_response(self._session, error)
            raise SinkError(f"{self._where} cannot be reached: {why}") from None
        try:
            document = json.loads(response.data)
            result = {**document, **document.get("results", [{}])[0]}
        except (ValueError, AttributeError, LookupError, TypeError):
            result = {"error": response.data.decode("utf-8", "replace")}
        if response.status != 200 or "error" in result:
            said = str(result.get("error", ""))[:_MESSAGE_MAX_CHARS]
            raise SinkError(
                f"{self._where} answers {statement} with {response.status} {said}"
                f"{after_status(self._session, response.status)}"
            )
        return [
            dict(zip(series["columns"], row, strict=True))
            for series in result.get("series", ())
            for row in series.get("values", ())
        ]


def connect(settings: InfluxSettings, admin_file: Path, option: str) -> Influx1:
    """As the user in the file, ``USER:PASSWORD``, or as that of the settings where there is none.

    Raises :class:`ConfigError` for a file that cannot be used.
    """
    if not admin_file.exists():
        return Influx1(SinkSession(settings, connections=1))
    user, colon, password = read_secret_option(option, admin_file).partition(":")
    if not user or not colon:
        raise ConfigError(
            f"{option}: names {admin_file}, which does not hold USER:PASSWORD of an InfluxDB 1.x"
        )
    as_admin = {"username": user, "password": SecretStr(password), "password_file": None}
    session = SinkSession(settings.model_copy(update=as_admin), connections=1)
    session.credentials_from = f"{option}: {admin_file}"
    return Influx1(session)


def prepare(one: Influx1, wanted: Sequence[WantedBucket], consent: Consent, say: Say) -> None:
    """Databases and retention policies; what is right is left alone, and no points are deleted
    without consent.
    """
    for bucket in wanted:
        _ensure(one, bucket, consent, say)


def _ensure(one: Influx1, wanted: WantedBucket, consent: Consent, say: Say) -> None:
    named = database_of(wanted.name)
    database, policy, seconds = named["db"], named.get("rp"), wanted.retention_seconds
    what = f"database {database}" + (f", retention policy {policy}" if policy else "")
    policies = one.policies(database)
    if policies is None:
        make = partial(one.create_database, database, policy or _DEFAULT_POLICY, seconds)
        ensure_made(what, seconds or inf, consent, say, make)
        return
    if policy and policy not in policies:
        make = partial(one.create_policy, database, policy, seconds)
        ensure_made(what, seconds or inf, consent, say, make)
        return
    found = policies[policy] if policy else next((p for p in policies.values() if p.default), None)
    if found is None:
        raise SinkError(
            f"{what} has no default retention policy: name one, as bucket {database}/POLICY"
        )
    change = partial(one.set_retention, database, found.name)
    wanted_seconds = found.seconds if seconds is None else seconds
    reconcile(what, found.seconds, wanted_seconds, consent, say, change)


def _duration(seconds: int | None) -> str:
    return "DURATION INF" if seconds is None else f"DURATION {seconds}s"
