"""Which InfluxDB there is, and what it lets us do with the bucket."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import urllib3

from common.config import InfluxSettings
from common.errors import SinkError
from common.sink.errors import failed
from common.sink.http_session import SinkSession
from common.sink.influx1 import VERSION_HEADER, is_1
from common.sink.influx3 import PING_PATH, is_3
from etlctl.sink import influx1
from etlctl.sink.init import WantedBucket, ensure_bucket
from etlctl.sink.management import Management
from etlctl.sink.retention import Consent
from services.loader.influx import InfluxSink
from services.loader.responses import Kind, Outcome, describe

# What Go's own router says, for a path that a server does not have.
_NO_SUCH_PATH = "404 page not found"
_NO_RESPONSE = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)


@dataclass(frozen=True, slots=True)
class SinkFacts:
    """What was found. ``bucket_is_there``: it can be written to with these credentials.

    ``made``: what was made; ``why_not_made``: why a bucket that is missing could not be.
    """

    version: str
    is_1: bool
    bucket_is_there: bool
    made: str = ""
    why_not_made: str = ""

    @property
    def is_3(self) -> bool:
        """Whether it is InfluxDB 3, which has a table for each measurement."""
        return self.version.startswith("3.")


def look_at_sink(influx: InfluxSettings, may_make: Callable[[], bool]) -> SinkFacts:
    """Ask it whether the bucket can be written to; one that is missing is made if ``may_make``.

    Raises :class:`SinkError` where it cannot be reached, or refuses us.
    """
    version, one = version_of(influx)
    where = f"InfluxDB at {influx.url.rstrip('/')}"
    outcome = _probe(influx)
    made = why_not = ""
    if outcome.kind is Kind.MISSING and may_make():
        try:
            made = make_bucket(influx, one=one)
            outcome = _probe(influx)
        except SinkError as error:
            why_not = str(error)
    if one and outcome.message == _NO_SUCH_PATH:
        raise SinkError(
            f"{where} is {version} and has no /api/v2/write, which is written to: 1.8 or newer has"
        )
    if outcome.kind not in (Kind.WRITTEN, Kind.MISSING):
        missing = outcome.kind is Kind.REFUSED and not (influx.username or influx.token)
        hint = ": give --influxdb-token-file, or --influxdb-username for 1.x" if missing else ""
        raise SinkError(f"{where}: {describe(outcome, influx.bucket)}{hint}")
    return SinkFacts(version, one, outcome.kind is Kind.WRITTEN, made, why_not)


def version_of(influx: InfluxSettings) -> tuple[str, bool]:
    """Its version, empty where it does not say, and whether it is InfluxDB 1.x.

    Raises :class:`SinkError` where it cannot be reached.
    """
    session = SinkSession(influx, connections=1)
    with closing(session):
        where = f"InfluxDB at {session.url}"
        try:
            ping = session.request("GET", PING_PATH)
        except _NO_RESPONSE as error:
            raise failed(session, error) from None
    version = ping.headers.get(VERSION_HEADER) or _version_of(ping.data)
    if not version and not is_3(ping.data) and ping.status not in (200, 204, 401):
        raise SinkError(f"{where} answers a ping with {ping.status}: is it an InfluxDB?")
    return version.removeprefix("v"), is_1(ping.headers)


def _version_of(body: bytes) -> str:
    try:
        return str(json.loads(body).get("version", ""))
    except (ValueError, AttributeError, RecursionError):
        return ""


def _probe(influx: InfluxSettings) -> Outcome:
    with closing(InfluxSink(influx, connections=1)) as sink:
        return sink.probe(influx.bucket)


def make_bucket(influx: InfluxSettings, *, one: bool) -> str:
    """Make the bucket, to keep points for ever; what is to be said of it.

    Raises :class:`SinkError` where the credentials do not allow it.
    """
    said: list[str] = []
    wanted = WantedBucket(influx.bucket, None)
    if one:
        with closing(influx1.connect(influx, Path("/nonexistent"), "")) as admin:
            influx1.prepare(admin, [wanted], Consent(), said.append)
        return "; ".join(said)
    with closing(Management(SinkSession(influx, connections=1))) as management:
        org_id = management.find_org(influx.org)
        if org_id is None:
            raise SinkError(
                f"InfluxDB at {influx.url} shows this token no organization {influx.org!r}: name "
                "yours with --org"
            )
        ensure_bucket(management, org_id, wanted, Consent(), said.append)
    return "; ".join(said)
