"""What InfluxDB 2 responds to a write: the stand-in is held to what a real 2.7.12 did.

With ``ETL_TEST_INFLUXDB2_URL`` the same rows run against the real one.
"""

from __future__ import annotations

import gzip
import os
import re
import time
from collections.abc import Iterator
from typing import Protocol

import pytest
import requests

from services.loader.responses import Kind, classify
from tests.doubles.influx_engine import ORG, TOKEN, Bucket, Engine
from tests.doubles.influx_management import a_place, an_influx
from tests.doubles.influxdb2 import InfluxDB2

NOW_MS = int(time.time() * 1000)
HOUR_MS = 3_600_000
GOOD = b"good value=1 %d\n" % NOW_MS


class Server(Protocol):
    """A bucket that keeps points for an hour, and how to write to it."""

    def write(self, body: bytes, **headers: str) -> requests.Response:
        """The response to a write to the bucket."""
        ...

    def written(self, measurement: str) -> int:
        """How many points of the measurement the bucket holds."""
        ...


class StandIn:
    def __init__(self, server: InfluxDB2) -> None:
        self.server = server
        server.engine.buckets["b"] = Bucket(3600)

    def write(self, body: bytes, **headers: str) -> requests.Response:
        return post(self.server.url, TOKEN, ORG, "b", body, headers)

    def written(self, measurement: str) -> int:
        points = self.server.engine.buckets["b"].points
        return sum(key[0] == measurement for key in points)


class Real:
    def __init__(self, url: str, token: str, org: str) -> None:
        self.url, self.token, self.org = url, token, org

    def write(self, body: bytes, **headers: str) -> requests.Response:
        return post(self.url, self.token, self.org, "b", body, headers)

    def written(self, measurement: str) -> int:
        response = requests.get(
            f"{self.url}/query",
            params={"db": "b", "q": f'SELECT * FROM "{measurement}" GROUP BY *', "org": self.org},
            headers={"Authorization": f"Token {self.token}"},
            timeout=30,
        )
        series = response.json()["results"][0].get("series", [])
        return sum(len(one["values"]) for one in series)


def post(
    url: str, token: str, org: str, bucket: str, body: bytes, headers: dict[str, str]
) -> requests.Response:
    return requests.post(
        f"{url}/api/v2/write",
        params={"org": org, "bucket": bucket, "precision": "ms"},
        data=body,
        headers={"Authorization": f"Token {token}"}
        | {name.replace("_", "-"): value for name, value in headers.items()},
        timeout=30,
    )


SERVERS = ["stand-in", *(["real"] if "ETL_TEST_INFLUXDB2_URL" in os.environ else [])]


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    if request.param == "stand-in":
        with InfluxDB2(Engine()) as running:
            yield StandIn(running)
        return
    with an_influx() as influx, a_place(influx) as place:
        bucket = place.bucket("b", everySeconds=3600)["id"]
        token = place.authorize(("read", bucket), ("write", bucket))["token"]
        yield Real(influx.url, token, place.org)


LINES: list[tuple[bytes, str]] = [
    (b"m,time=1 value=1 1", 'cannot use reserved tag key "time"'),
    (b"m,_field=1 value=1 1", 'cannot use reserved tag key "_field"'),
    (b"m,_measurement=1 value=1 1", 'cannot use reserved tag key "_measurement"'),
    (b"m value= 1", "missing field value"),
    (b"m value=abc 1", "invalid boolean"),
    (b"m value=+1 1", "invalid boolean"),
    (b"m value=+Inf 1", "invalid boolean"),
    (b"m value=1x 1", "invalid number"),
    (b"m value=1e400 1", "invalid float"),
    (b"m value=1 1.5", "bad timestamp"),
    (b"m value=1 1\r", "bad timestamp"),
    (b"m,a=1,a=2 value=1 1", "duplicate tags"),
    (b"m,a= value=1 1", "missing tag value"),
    (b"m,a value=1 1", "missing tag value"),
    (b"m", "missing fields"),
]


@pytest.mark.parametrize(("line", "why"), LINES, ids=[line.decode() for line, _ in LINES])
def test_a_line_that_cannot_be_parsed_keeps_the_whole_body_out(
    server: Server, line: bytes, why: str
) -> None:
    response = server.write(GOOD + line + b"\n")
    assert response.status_code == 400
    assert response.json() == {
        "code": "invalid",
        "message": f"unable to parse '{line.decode()}': {why}",
    }
    assert server.written("good") == 0


def test_each_line_that_cannot_be_parsed_is_named(server: Server) -> None:
    message = server.write(b"one\n" + GOOD + b"two value=oops 1\n").json()["message"]
    assert message.split("\n") == [
        "unable to parse 'one': missing fields",
        "unable to parse 'two value=oops 1': invalid boolean",
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"m,t=\xff\xfe value=1 %d" % NOW_MS,
        b"m,t=a\\\nb value=1 %d" % NOW_MS,
        b"m value=5u %d" % NOW_MS,
        b"m value=1 %d\n\n\n" % NOW_MS,
    ],
    ids=["invalid UTF-8", "escaped line break", "unsigned", "blank lines"],
)
def test_odd_lines_are_taken(server: Server, line: bytes) -> None:
    assert server.write(line + b"\n" + GOOD).status_code == 204
    assert (server.written("m"), server.written("good")) == (1, 1)


@pytest.mark.parametrize("body", [b"", b"\n\n", b"# a comment\n", b"#m value=1 1\n"])
def test_what_holds_no_point_is_taken_in_silence(server: Server, body: bytes) -> None:
    assert server.write(body).status_code == 204


def test_a_conflict_costs_its_own_points_and_is_counted(server: Server) -> None:
    server.write(b"typed value=1i %d\n" % NOW_MS)
    conflict = b"typed value=1.5 %d\n" % (NOW_MS + 1)
    response = server.write(conflict + GOOD + conflict)
    assert response.status_code == 422
    assert response.json()["message"] == (
        "failure writing points to database: partial write: field type conflict: "
        'input field "value" on measurement "typed" is type float, already exists as type integer '
        "dropped=2"
    )
    assert (server.written("typed"), server.written("good")) == (1, 1)


def test_what_is_too_old_is_counted_and_the_rest_is_written(server: Server) -> None:
    old = b"".join(b"old,n=%d value=1 %d\n" % (i, NOW_MS - 30 * HOUR_MS + i) for i in range(2))
    response = server.write(old + GOOD)
    assert response.status_code == 422
    message = response.json()["message"]
    assert re.fullmatch(
        "failure writing points to database: partial write: dropped 2 points outside retention "
        "policy of duration 1h0m0s - oldest point old.* at .*Z dropped because it violates a "
        "Retention Policy Lower Bound at .*, newest point old.* dropped=2 for database: "
        "[0-9a-f]{16} for retention policy: autogen",
        message,
    )
    outcome = classify(422, {}, response.content, now_seconds=0)
    assert (outcome.kind, outcome.dropped) == (Kind.RETENTION, 2)
    assert (server.written("old"), server.written("good")) == (0, 1)


BODY = gzip.compress(GOOD, mtime=0)
GZIP: list[tuple[str, bytes, int, str]] = [
    ("no gzip at all", GOOD, 500, "An internal error has occurred - check server logs"),
    ("cut short", BODY[:-12], 500, "unable to read data: unexpected EOF"),
    ("a wrong checksum", BODY[:-8] + b"\0\0\0\0" + BODY[-4:], 400,
     "unable to read data: gzip: invalid checksum"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "message"), [row[1:] for row in GZIP], ids=[row[0] for row in GZIP]
)
def test_what_is_no_gzip_is_refused(server: Server, body: bytes, status: int, message: str) -> None:
    response = server.write(body, Content_Encoding="gzip")
    assert (response.status_code, response.json()["message"]) == (status, message)
