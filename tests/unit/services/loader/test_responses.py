"""The table of responses, row by row."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3 import HTTPHeaderDict

from devtools import PROJECT_ROOT
from services.loader.lines import BEYOND_RETENTION, CORRUPT, REASONS
from services.loader.messages import Named, named, own_words, quoted_lines
from services.loader.rejected_share import REJECTED_SHARE
from services.loader.responses import (
    ABOUT_POINTS,
    FAILURES,
    PAUSES,
    Kind,
    Outcome,
    classify,
)

NOW_SECONDS = 1_700_000_000.0


def v2(code: str, message: str) -> bytes:
    return json.dumps({"code": code, "message": message}).encode()


def v1(error: str) -> bytes:
    return json.dumps({"error": error}).encode()


def respond(status: int, body: bytes = b"", **headers: str) -> Outcome:
    named = HTTPHeaderDict({name.replace("_", "-"): value for name, value in headers.items()})
    return classify(status, named, body, now_seconds=NOW_SECONDS)


PARTIAL = "failure writing points to database: partial write: "
CONFLICT = (
    'field type conflict: input field "value" on measurement "m" is type integer, '
    "already exists as type float dropped=3"
)
OF_RETENTION = (
    "dropped 4 points outside retention policy of duration 24h0m0s - oldest point "
    "home,room=Living\\ Room at 1970-01-01T00:00:01.541Z dropped because it violates a Retention "
    "Policy Lower Bound at 2025-05-20T19:06:17Z, newest point home,room=max-values-per-tag at "
    "1970-01-01T00:00:01.541Z dropped because it violates a Retention Policy Lower Bound at "
    "2025-05-20T19:06:17Z dropped=4 for database: 9f282d63c7d3a5c0 for retention policy: autogen"
)

ROWS: list[tuple[str, int, bytes, Kind]] = [
    ("written", 204, b"", Kind.WRITTEN),
    # About points.
    ("2.x unparsable", 400, v2("invalid", "unable to parse 'x y': missing fields"), Kind.POINTS),
    (
        "1.x unparsable, some written",
        400,
        v1("partial write: unable to parse 'x y': missing fields dropped=0"),
        Kind.POINTS,
    ),
    ("1.x unparsable, none written", 400, v1("unable to parse 'x': missing fields"), Kind.POINTS),
    ("2.x conflict", 422, v2("unprocessable entity", PARTIAL + CONFLICT), Kind.POINTS),
    ("1.x conflict", 400, v1("partial write: " + CONFLICT), Kind.POINTS),
    (
        "tag named time",
        422,
        v2("unprocessable entity", PARTIAL + 'invalid tag key: input tag "time" on … dropped=1'),
        Kind.POINTS,
    ),
    (
        "too long a string",
        422,
        v2("unprocessable entity", PARTIAL + 'input field "s" on measurement "m" is too long'),
        Kind.POINTS,
    ),
    ("points, in a message never seen", 422, v2("invalid", "points of bad taste"), Kind.POINTS),
    # Age.
    ("1.x retention", 400, v1("partial write: points beyond retention policy dropped=2"),
     Kind.RETENTION),
    ("2.x retention", 422, v2("unprocessable entity", PARTIAL + OF_RETENTION), Kind.RETENTION),
    (
        "shard being deleted",
        422,
        v2("unprocessable entity", PARTIAL + "shard 7 is pending deletion dropped=2"),
        Kind.RETENTION,
    ),
    # Limits.
    (
        "series limit",
        400,
        v1("partial write: max-series-per-database limit exceeded: (5) dropped=8"),
        Kind.CAPACITY,
    ),
    (
        "values limit",
        400,
        v1('partial write: max-values-per-tag limit exceeded (10/10): measurement="m" tag="t"'),
        Kind.LIMIT,
    ),
    (
        "IOx columns",
        422,
        v2("invalid", "dml handler error: service limit reached: couldn't create columns in table "
           "`m`; table contains 200 existing columns, applying this write would result in 201 "
           "columns, limit is 200"),
        Kind.LIMIT,
    ),
    (
        "IOx tables",
        400,
        v2("invalid", "dml handler error: service limit reached: couldn't create new table; "
           "namespace contains 500 existing tables, applying this write would result in 501"),
        Kind.CAPACITY,
    ),
    (
        "3.x tables",
        422,
        v1("Update to schema would exceed number of tables limit of 2000 tables"),
        Kind.CAPACITY,
    ),
    (
        "3.x tag columns of a table",
        422,
        v1("Schema update for table 'm' would exceed the tag column limit: proposed schema would "
           "have 257 tag columns, but the limit is 256"),
        Kind.LIMIT,
    ),
    (
        "3.x databases",
        422,
        v1("Adding a new database would exceed limit of 5 databases"),
        Kind.CAPACITY,
    ),
    ("3.x opaque", 400, v1("write buffer error: parsing for line protocol failed"), Kind.POINTS),
    ("3.x opaque, as text", 400, b"write buffer error: parsing for line protocol failed",
     Kind.POINTS),
    ("3.x broken gzip", 400, b"error decoding gzip stream: invalid gzip header", Kind.UNREADABLE),
    ("3.x empty", 400, b"incoming write was empty", Kind.POINTS),
    # Whatever the status.
    (
        "1.x conflict as 500",
        500,
        v1("write failed: field type conflict: input field \"value\" on measurement \"m\" is …"),
        Kind.POINTS,
    ),
    (
        "2.x conflict as 500",
        500,
        v2("internal error", "unexpected error writing points to database: partial write: "
           + CONFLICT),
        Kind.POINTS,
    ),
    ("conflict as 503", 503, v1("partial write: " + CONFLICT), Kind.POINTS),
    ("unknown, but partial", 500, v1("partial write: points of bad taste dropped=3"), Kind.POINTS),
    ("nodes, not points", 500, v1("partial write"), Kind.FAILED),
    (
        "IOx retention",
        403,
        v2("forbidden", "dml handler error: data in table a b is outside of the retention period"),
        Kind.RETENTION,
    ),
    (
        "IOx retention, later",
        422,
        v2("x", "data in table quota is outside of the retention period: minimum acceptable …"),
        Kind.RETENTION,
    ),
    (
        "1.12 write window",
        400,
        v1("partial write: dropped 0 points outside retention policy of duration 0s and 2 points "
           "outside write window (-1h0m0s to 1h0m0s) dropped=2"),
        Kind.OUTSIDE_WINDOW,
    ),
    (
        "1.12 retention",
        400,
        v1("partial write: dropped 3 points outside retention policy of duration 1h0m0s and 0 "
           "points outside write window (-1h0m0s to 1h0m0s) dropped=3"),
        Kind.RETENTION,
    ),
    (
        "a name that speaks of the window",
        422,
        v2("x", PARTIAL + OF_RETENTION.replace("Room", "1\\ points\\ outside\\ write\\ window")),
        Kind.RETENTION,
    ),
    ("stored for another node", 500, v1("write failed: hinted handoff queue not empty"),
     Kind.WRITTEN),
    ("a limit as 500", 500, v1("partial write: max-series-per-database limit exceeded: (5)"),
     Kind.CAPACITY),
    ("a rate is no limit", 429, v2("x", "service limit reached"), Kind.BUSY),
    ("hosted limit", 422, v2("invalid", "bucket cardinality exceeded"), Kind.CAPACITY),
    # Messages that only quote what other rows are about.
    (
        "a line that speaks of limits",
        400,
        v2("invalid", "unable to parse 'm,t=max-series-per-database x': missing fields"),
        Kind.POINTS,
    ),
    (
        "a measurement that speaks of quota",
        422,
        v2("unprocessable entity", PARTIAL + CONFLICT.replace('"m"', '"quota limit exceeded"')),
        Kind.POINTS,
    ),
    ("unknown, but quotes a quota", 422, v2("x", 'measurement "quota" is ugly'), Kind.POINTS),
    ("unknown, but quotes a line", 422, v2("x", 'ugly: "m,t="quota v=1 0" it is'), Kind.POINTS),
    ("unknown, but quotes with '", 422, v2("x", "ugly: 'm,t='cardinality' v=1 0'"), Kind.POINTS),
    ("unknown, but quotes with `", 422, v2("x", "ugly: `m,t=a\\ quota v=1 0`"), Kind.POINTS),
    # The body or the request as such.
    ("413", 413, v2("request too large", "points batch is too large"), Kind.TOO_LARGE),
    ("413 of a proxy", 413, b"<html>413</html>", Kind.TOO_LARGE),
    ("2.x broken gzip", 400, v2("invalid", "unable to read data: gzip: invalid checksum"),
     Kind.UNREADABLE),
    ("1.x broken gzip", 400, v1("gzip: invalid header"), Kind.UNREADABLE),
    ("1.x truncated gzip", 400, v1("unexpected EOF"), Kind.UNREADABLE),
    ("2.x truncated gzip", 500, v2("internal error", "unable to read data: unexpected EOF"),
     Kind.UNREADABLE),
    ("no database named", 400, v1("database is required"), Kind.UNEXPECTED),
    ("precision", 400, v2("invalid", "invalid precision; valid precision units are …"),
     Kind.UNEXPECTED),
    # LineStatuss of us.
    ("unknown token", 401, v2("unauthorized", "unauthorized access"), Kind.REFUSED),
    ("no right to write", 403, v2("forbidden", "insufficient permissions for write"), Kind.REFUSED),
    ("unknown bucket", 404, v2("not found", 'bucket "x" not found'), Kind.MISSING),
    ("unknown database", 404, v1('database not found: "x"'), Kind.MISSING),
    ("unknown retention policy", 500, v1("retention policy not found: x"), Kind.MISSING),
    # Waits.
    ("429", 429, v2("too many requests", "slow down"), Kind.BUSY),
    ("503", 503, b"", Kind.BUSY),
    ("500", 500, v2("internal error", "unexpected error writing points to database: timeout"),
     Kind.FAILED),
    ("1.x full cache", 500, v1("engine: cache-max-memory-size exceeded: (1/1)"), Kind.BUSY),
    ("2.x full cache", 500, v2("internal error", "unexpected error writing points to database: "
     "engine: cache-max-memory-size exceeded: (1/1)"), Kind.BUSY),
    ("1.x 500", 500, v1("timeout"), Kind.FAILED),
    ("502 of a proxy", 502, b"<html><h1>502 Bad Gateway</h1></html>", Kind.FAILED),
    ("504", 504, b"", Kind.FAILED),
    ("408", 408, b"", Kind.FAILED),
    ("599", 599, b"", Kind.FAILED),
    # What no sink sends to a write.
    ("captive portal", 200, b"<html>Please log in</html>", Kind.UNEXPECTED),
    ("200 with a sink's message", 200, v2("ok", "fine"), Kind.UNEXPECTED),
    ("202", 202, b"", Kind.UNEXPECTED),
    ("redirect", 302, b"", Kind.UNEXPECTED),
    ("400 of a proxy", 400, b"<html>400 The plain HTTP request was sent to HTTPS port</html>",
     Kind.UNEXPECTED),
    ("400 without a message", 400, b"", Kind.UNEXPECTED),
    ("422 that is JSON but no sink's", 422, b"[1, 2]", Kind.UNEXPECTED),
    ("405", 405, v2("method not allowed", "allow: GET"), Kind.UNEXPECTED),
    ("415", 415, b"", Kind.UNEXPECTED),
    ("418", 418, b"", Kind.UNEXPECTED),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "kind"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_every_response_has_its_meaning(status: int, body: bytes, kind: Kind) -> None:
    outcome = respond(status, body)
    assert outcome.kind is kind
    assert outcome.status == status
    assert outcome.message


def test_every_kind_has_a_row_and_one_treatment() -> None:
    assert {row[3] for row in ROWS} == set(Kind)
    assert len(Kind) == len(ABOUT_POINTS) + len(PAUSES) + len(FAILURES) + len(
        {Kind.WRITTEN, Kind.UNREADABLE}
    )


@given(
    status=st.integers(100, 999).filter(lambda status: status != 204),
    body=st.one_of(
        st.binary(max_size=200),
        st.text(max_size=100).map(v1),
        st.text(max_size=100).map(lambda text: v2("invalid", text)),
    ),
    headers=st.dictionaries(
        st.sampled_from(["Retry-After", "Date", "Location", "X-Influxdb-Error"]),
        st.text(max_size=40),
    ),
)
def test_nothing_but_204_says_written_and_nothing_raises(
    status: int, body: bytes, headers: dict[str, str]
) -> None:
    outcome = classify(status, HTTPHeaderDict(headers), body, now_seconds=NOW_SECONDS)
    assert outcome.kind is not Kind.WRITTEN
    assert outcome.message


@pytest.mark.parametrize(
    ("message", "dropped"),
    [
        (PARTIAL + CONFLICT, 3),
        (PARTIAL + OF_RETENTION, 4),
        ("partial write: points beyond retention policy dropped=12", 12),
        ("partial write: unable to parse 'x dropped=9': missing fields dropped=0", 0),
        ("unable to parse 'm,t=a dropped=9': bad timestamp", None),
        ("partial write: points beyond retention policy dropped=" + "9" * 5_000, None),
    ],
)
def test_the_count_of_dropped_points_is_the_sinks_and_not_a_lines(
    message: str, dropped: int | None
) -> None:
    assert respond(400, v1(message)).dropped == dropped


def test_messages_come_from_the_body_the_header_or_the_status() -> None:
    assert respond(500, v1("because")).message == "because"
    assert respond(400, b"", X_Influxdb_Error="partial write: bad").message == "partial write: bad"
    assert respond(502, b" <h1>Bad\n Gateway</h1> ").message == "<h1>Bad Gateway</h1>"
    assert respond(503).message == "Service Unavailable"
    assert respond(999).message == "status 999"
    assert respond(302, Location="https://login.example/").message.endswith(
        "https://login.example/"
    )
    assert respond(500, b"\xff\xfe").message == "\ufffd\ufffd"
    assert len(respond(502, b"x" * 100_000).message) == 500
    # Half of a surrogate pair: a dead letter keeps the message as UTF-8.
    assert respond(400, b'{"error":"bad \\ud800 name"}').message == "bad ? name"
    assert respond(400, v1("bad 🙂 name")).message == "bad 🙂 name"


@pytest.mark.parametrize("status", [400, 422, 500])
@pytest.mark.parametrize("opening", [b"[", b'{"error":'])
def test_endless_nesting_is_no_sinks_message(status: int, opening: bytes) -> None:
    outcome = respond(status, opening * 100_000)
    assert outcome.kind is (Kind.FAILED if status == 500 else Kind.UNEXPECTED)
    assert len(outcome.message) == 500


@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_that_the_sink_names_does_not_strain_the_circuit(status: int) -> None:
    named = respond(status, Retry_After="7")
    assert (named.retry_after_seconds, named.strains) == (7.0, False)
    assert respond(status).strains
    assert respond(500).strains
    assert not respond(401).strains
    assert not respond(400, v1("unable to parse 'x': y")).strains


def test_lines_are_read_out_of_the_sinks_message() -> None:
    message = (
        "partial write: unable to parse 'it's a 'line': x': missing fields\n"
        "unable to parse '': empty\n"
        "something else\n"
        "unable to parse 'm,a=b value=zzz 1': invalid boolean dropped=0"
    )
    assert quoted_lines(message) == {
        "it's a 'line': x": "unable to parse 'it's a 'line': x': missing fields",
        "": "unable to parse '': empty",
        "m,a=b value=zzz 1": "unable to parse 'm,a=b value=zzz 1': invalid boolean dropped=0",
    }
    assert quoted_lines("unable to parse 'x") == {}


def test_measurement_and_field_are_read_out_of_a_conflict_as_lines_spell_them() -> None:
    conflict = 'input field "value" on measurement "a b,c" is type float'
    assert named("field type conflict: " + conflict) == Named(b"a\\ b\\,c", field=b"value")
    odd = 'input field "a b=c" on measurement "prometheus" is type float'
    of_a_field = named("field type conflict: " + odd)
    assert of_a_field == Named(b"prometheus", field=b"a\\ b\\=c")
    assert of_a_field.holds(b"prometheus,x=y a\\ b\\=c=1 0")
    assert not of_a_field.holds(b"prometheus,x=y other=1 0")
    assert named("points of bad taste") is None


def test_what_a_limit_names_is_read_as_lines_spell_it() -> None:
    values = r'max-values-per-tag limit exceeded (9/9): measurement="a b" tag="t,\"=" value="v"'
    assert named(values) == Named(b"a\\ b", b't\\,"\\=')
    columns = "couldn't create columns in table `a`b, c`; table contains 200 existing columns"
    assert named(columns) == Named(b"a`b\\,\\ c")
    tag_columns = "Schema update for table 'it's' would exceed the tag column limit: …"
    assert named(tag_columns) == Named(b"it's")
    assert named("Update to schema would exceed number of tables limit of 2000 tables") is None
    cpu_of_a_host = Named(b"cpu", b"host")
    assert cpu_of_a_host.holds(b"cpu,zone=1,host=a value=1 0")
    assert not cpu_of_a_host.holds(b"cpu,zone=1 value=1 0")
    assert not cpu_of_a_host.holds(b"cpus,host=a value=1 0")


def test_the_sinks_own_words_are_what_it_does_not_quote() -> None:
    assert own_words("it's `a` 'b' \"c\" d") == "it's    d"


def test_the_table_in_the_docs_is_complete() -> None:
    text = (PROJECT_ROOT / "docs" / "sink-responses.md").read_text(encoding="utf-8")
    reasons = {*REASONS.values(), CORRUPT, BEYOND_RETENTION, REJECTED_SHARE}
    missing = [word for word in {kind.value for kind in Kind} | reasons if f"`{word}`" not in text]
    assert missing == []
