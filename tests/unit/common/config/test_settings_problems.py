"""What is wrong with a configuration is one clear line each: file, line, key, what."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.config.checks.rules import REDIS_TURN_SECONDS
from common.state.connection.redis_client import SOCKET_TIMEOUT_SECONDS
from tests.support.settings_files import EXTRACT, LOAD, MINIMAL, problems

# (what etl.yaml adds, what is said). MINIMAL has two lines, so what is added begins in the third.
ADDED = [
    ("extrac: {}", ["etl.yaml:3: extrac: is an unknown key: did you mean extract?"]),
    (
        "pipeline:\n  log_levl: INFO",
        ["etl.yaml:4: pipeline.log_levl: is an unknown key: did you mean log_level?"],
    ),
    (
        "pipeline:\n\n  # a comment\n  qqq: 1",
        ["etl.yaml:6: pipeline.qqq: is an unknown key"],
    ),
    (
        "pipeline:\n  http_port: high",
        ["etl.yaml:4: pipeline.http_port: must be a whole number, not 'high'"],
    ),
    (
        "pipeline: {http_port: 1.5}",
        ["etl.yaml:3: pipeline.http_port: must be a whole number, not 1.5"],
    ),
    ("pipeline: {http_port: yes}", ["etl.yaml:3: pipeline.http_port: must be a number, not true"]),
    (
        "pipeline: {http_port: -1}",
        ["etl.yaml:3: pipeline.http_port: must be greater than or equal to 0, not -1"],
    ),
    ("pipeline: {http_port: [1]}", ["etl.yaml:3: pipeline.http_port: must be a whole number"]),
    (
        "pipeline: {log_level: LOUD}",
        [
            "etl.yaml:3: pipeline.log_level: must be 'DEBUG', 'INFO', 'WARNING', 'ERROR' or "
            "'CRITICAL', not 'LOUD'"
        ],
    ),
    ("pipeline: 7", ["etl.yaml:3: pipeline: must be a mapping of keys, not 7"]),
    ("pipeline: [a]", ["etl.yaml:3: pipeline: must be a mapping of keys"]),
    (
        "pipeline: {drain_seconds: 5 minutes}",
        [
            "etl.yaml:3: pipeline.drain_seconds: '5 minutes' is not a duration such as 15s, 1m30s "
            "or 14d (or a number of seconds)"
        ],
    ),
    (
        "pipeline: {drain_seconds: 30s5m}",
        [
            "etl.yaml:3: pipeline.drain_seconds: '30s5m' is not a duration such as 15s, 1m30s "
            "or 14d (or a number of seconds)"
        ],
    ),
    (
        "pipeline: {drain_seconds: 1.7e+308}",
        ["etl.yaml:3: pipeline.drain_seconds: is longer than 292 years"],
    ),
    (
        "pipeline: {drain_seconds: '1e300'}",
        ["etl.yaml:3: pipeline.drain_seconds: is longer than 292 years"],
    ),
    (
        "pipeline: {drain_seconds: .inf}",
        ["etl.yaml:3: pipeline.drain_seconds: must be a finite number, not inf"],
    ),
    (
        "pipeline: {drain_seconds: nan}",
        ["etl.yaml:3: pipeline.drain_seconds: must be a finite number, not nan"],
    ),
    (
        "pipeline: {drain_seconds: 0}",
        ["etl.yaml:3: pipeline.drain_seconds: must be greater than 0, not 0"],
    ),
    (
        "pipeline: {high_water_bytes: 5 GB/s}",
        [
            "etl.yaml:3: pipeline.high_water_bytes: '5 GB/s' is not a size such as 512, 64KiB or "
            "256MiB"
        ],
    ),
    (
        "pipeline: {high_water_bytes: 1MiB, low_water_bytes: 1MiB}",
        [
            "etl.yaml:3: pipeline.low_water_bytes: is 1048576: it must be below high_water_bytes "
            "(1048576)"
        ],
    ),
    (
        "pipeline: {redis_url: 'http://redis'}",
        [
            "etl.yaml:3: pipeline.redis_url: must begin with redis:// or rediss:// or unix://",
        ],
    ),
    (
        "pipeline: {redis_url: 'redis://:hunter2@redis/0'}",
        [
            "etl.yaml:3: pipeline.redis_url: must not carry credentials: the password belongs in "
            "pipeline.redis_password_file"
        ],
    ),
    (
        "pipeline: {redis_url: 'redis+sentinel://a,b/'}",
        [
            "etl.yaml:3: pipeline.redis_url: must name the master that the Sentinels are asked "
            "for, as in redis+sentinel://HOST1,HOST2:PORT,HOST3/NAME/DB"
        ],
    ),
    (
        "pipeline: {redis_sentinel_password: word}",
        [
            "etl.yaml:3: pipeline.redis_sentinel_password: would never be used: redis_url names no "
            "Sentinels"
        ],
    ),
    (
        "pipeline: {redis_url: 'redis+sentinel://a/m', redis_sentinel_username: me}",
        [
            "etl.yaml:3: pipeline.redis_sentinel_username: needs redis_sentinel_password_file "
            "beside it"
        ],
    ),
    (
        "pipeline: {redis_password: 12345}",
        ["etl.yaml:3: pipeline.redis_password: must be text: put it in quotes"],
    ),
    (
        "pipeline: {redis_password_file: /none/x}",
        [
            "etl.yaml:3: pipeline.redis_password_file: names /none/x, which cannot be read: "
            "No such file or directory"
        ],
    ),
    (
        "pipeline: {redis_password: a, redis_password_file: /none/x}",
        [
            "etl.yaml:3: pipeline.redis_password: and redis_password_file are both given: keep "
            "one of them"
        ],
    ),
    (
        "pipeline: {entry_lease_seconds: 24}",
        [
            "etl.yaml:3: pipeline.entry_lease_seconds: is 24 s: a lease must outlive "
            "load.influxdb.timeout_seconds (20 s) by 5 s or more"
        ],
    ),
    (
        "pipeline: {live_seconds: 25}",
        [
            "etl.yaml:3: pipeline.live_seconds: is 25 s: it must be longer than extract.timeout "
            "(30 s), or a slow response would look like a stuck loop"
        ],
    ),
    (
        "pipeline: {interval_seconds: 1.0001}",
        ["etl.yaml:3: pipeline.interval_seconds: must be a whole number of milliseconds"],
    ),
    ("pipeline: {redis_namespace: 'a:b'}", ["etl.yaml:3: pipeline.redis_namespace: must match "]),
    (
        "transform: {valid_metrics: up}",
        ["etl.yaml:3: transform.valid_metrics: must be a list", "not 'up'"],
    ),
    (
        "transform:\n  valid_metrics:\n    - up\n    - 5\n",
        ["etl.yaml:6: transform.valid_metrics[1]: must be text: put it in quotes, not 5"],
    ),
    ("transform: {valid_metrics: [' ']}", ["etl.yaml:3: transform.valid_metrics[0]: must not be"]),
    (
        "transform:\n  relabel:\n    - regex: a(\n      action: keep",
        ["etl.yaml:5: transform.relabel[0].regex: 'a(' is not valid in RE2: missing ): "],
    ),
]

# (the whole of etl.yaml, what is said)
WHOLE = [
    ("", ["etl.yaml: extract: is missing", "etl.yaml: load: is missing"]),
    (EXTRACT, ["etl.yaml: load: is missing"]),
    (
        EXTRACT + "load:\n  influxdb:\n    url: http://i\n",
        [
            "etl.yaml:3: load.influxdb.org: is missing",
            "etl.yaml:3: load.influxdb.bucket: is missing",
        ],
    ),
    ("- a\n", ["etl.yaml:1: must be a mapping of sections such as extract:"]),
    ("just text", ["etl.yaml:1: must be a mapping of sections such as extract:"]),
    (
        LOAD + "extract:\n  prometheus_url: prometheus:9090\n",
        ["etl.yaml:3: extract.prometheus_url: must begin with http:// or https://"],
    ),
    (
        LOAD + "extract: {prometheus_url: 'http://user:hunter2@p'}",
        [
            "etl.yaml:2: extract.prometheus_url: must not carry credentials: "
            "they belong in extract.auth"
        ],
    ),
    (
        LOAD + "extract: {prometheus_url: 'http://p:port'}",
        ["etl.yaml:2: extract.prometheus_url: is not a URL: its host or port is malformed"],
    ),
    (
        LOAD + "extract: {prometheus_url: 'http://'}",
        ["etl.yaml:2: extract.prometheus_url: must name a host"],
    ),
    (
        LOAD + "extract: {prometheus_url: 'http://p/?a=b'}",
        ["etl.yaml:2: extract.prometheus_url: must not carry a query or a fragment"],
    ),
    (
        "extract:\n  prometheus_url: http://p\n  timeout: 60\n" + LOAD,
        [
            "etl.yaml:1: extract.window_lease_seconds: is 60 s: a lease must outlive "
            "extract.timeout (60 s) by 5 s or more"
        ],
    ),
    (
        "extract: {prometheus_url: 'http://p', timeout: 2}\n"
        "load: {influxdb: {url: 'http://i', org: o, bucket: b, timeout_seconds: 2}}\n"
        "pipeline: {live_seconds: 3}",
        [
            "etl.yaml:3: pipeline.live_seconds: is 3 s: it must be at least 10 s, "
            "as a loop that waits for Redis may take as long"
        ],
    ),
    (
        LOAD + "extract: {prometheus_url: 'http://p', auth: {password: a}}",
        ["etl.yaml:2: extract.auth: has a password but no username"],
    ),
    (
        LOAD + "extract: {prometheus_url: 'http://p', auth: {username: a}}",
        ["etl.yaml:2: extract.auth: has a username but neither password nor password_file"],
    ),
    (
        LOAD + "extract: {prometheus_url: 'http://p', auth: {username: a, bearer_token: b}}",
        ["etl.yaml:2: extract.auth: has both a user and a bearer token: keep one of them"],
    ),
    (
        LOAD + "extract: {prometheus_url: 'http://p', auth: {ca_file: /none/ca.pem}}",
        [
            "etl.yaml:2: extract.auth.ca_file: names /none/ca.pem, which cannot be read: "
            "No such file or directory"
        ],
    ),
    (
        LOAD + "extract: {prometheus_url: 'http://p', queries: []}",
        [
            "etl.yaml:2: extract.queries: is empty: leave the key out for the default queries, "
            "or name some"
        ],
    ),
]

# (one entry of extract.queries in flow style, what is said of it after "extract.queries[0]")
QUERIES = [
    ("{name: q}", ": has neither expr nor select: give exactly one of them"),
    ("{name: q, expr: up, select: up}", ": has both expr and select: give exactly one of them"),
    ("{name: q, expr: up}", ": has an expr but no step: say how far apart its points are (15s)"),
    ("{name: q, select: up, step: 5}", ".step: belongs to expr: raw samples keep their own"),
    ("{name: q, expr: up, step: 0.0005}", ".step: must be a whole number of milliseconds"),
    ("{name: q, expr: up, step: 1.0e+308}", ".step: is longer than 292 years"),
    ("{name: q, expr: up, step: 0}", ".step: must be greater than 0, not 0"),
    ("{name: q, expr: ' ', step: 5}", ".expr: must not be blank"),
    ("{name: q, expr: '', step: 5}", ".expr: must have at least 1 character, not ''"),
    (
        "{name: a-b, select: up}",
        ".name: must match pattern '^[a-zA-Z_:][a-zA-Z0-9_:]*$', not 'a-b'",
    ),
    ("{select: up}", ".name: is missing"),
    (
        "{name: etl_loaded_watermark, select: up}",
        ".name: etl_loaded_watermark is reserved for the loader's own points",
    ),
    (
        "{name: etl_seal, expr: up, step: 5}",
        ".name: etl_seal is reserved for the loader's own points",
    ),
    ("{name: q, select: 'up[5m]'}", ".select: 'up[5m]' has a range: leave it out, the windows"),
    ("{name: q, select: 'sum(up)'}", ".select: 'sum(up)' is an expression, not a plain selector"),
    (
        "{name: q, expr: 'rate(up)', step: 5}",
        ".expr: 'rate(up)' is not PromQL: expected type matrix",
    ),
    (
        "{name: q, expr: 'rate(up[5m] @ end())', step: 5}",
        ".expr: has @ start() or @ end(): its values would depend on the windows that it is",
    ),
    (
        "{name: q, select: up, settle_seconds: -1}",
        ".settle_seconds: must be greater than or equal to 0, not -1",
    ),
    ("{name: q, select: 'up offset 5m'}", ".select: 'up offset 5m' has a modifier (offset or @)"),
    ("{name: q, expr: up, step: 1h, aggregates: [p95]}", ".aggregates[0]: must be 'avg', 'min', "),
    ("{name: up, expr: up, step: 1, selekt: up}", ".selekt: is an unknown key: did you mean"),
]


def matches(found: list[str], wanted: list[str]) -> bool:
    """Each wanted text opens a line of its own, or stands in the last one."""
    rest = iter(found)
    line = ""
    for text in wanted:
        if text in line:
            continue
        line = next(rest, "")
        if text not in line:
            return False
    return next(rest, None) is None


@pytest.mark.parametrize(("added", "wanted"), ADDED)
def test_what_is_added_is_refused(tmp_path: Path, added: str, wanted: list[str]) -> None:
    found = problems(tmp_path, MINIMAL + added)
    assert matches(found, wanted), found
    assert "hunter2" not in "".join(found)


@pytest.mark.parametrize(("text", "wanted"), WHOLE)
def test_the_file_is_refused(tmp_path: Path, text: str, wanted: list[str]) -> None:
    found = problems(tmp_path, text)
    assert matches(found, wanted), found
    assert "hunter2" not in "".join(found)


@pytest.mark.parametrize(("query", "wanted"), QUERIES)
def test_the_query_is_refused(tmp_path: Path, query: str, wanted: str) -> None:
    text = f"{LOAD}extract:\n  prometheus_url: http://p\n  queries:\n    - {query}\n"
    found = problems(tmp_path, text)
    assert len(found) == 1
    assert found[0].startswith(f"etl.yaml:5: extract.queries[0]{wanted}"), found


def test_the_least_live_seconds_hold_two_waits_for_redis() -> None:
    assert REDIS_TURN_SECONDS >= 2 * SOCKET_TIMEOUT_SECONDS


def test_all_problems_are_told_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
        pipeline:
          http_port: high
          unknown: 1
        load:
          influxdb: {url: 'http://i', org: o, bucket: b, token_file: /none/token}
          connections: 0
        extract:
          prometheus_url: http://p
          queries:
            - name: same
              expr: up
              step: 15s
            - name: same
              select: '{job="a"'
        """
    assert problems(tmp_path, text, {"ETL__PIPELINE__READ_ENTRIES": "many"}) == [
        "etl.yaml:2: pipeline.http_port: must be a whole number, not 'high'",
        "etl.yaml:3: pipeline.unknown: is an unknown key",
        "etl.yaml:5: load.influxdb.token_file: names /none/token, which is not there: "
        "`etlctl sink init` makes it",
        "etl.yaml:6: load.connections: must be greater than or equal to 1, not 0",
        "etl.yaml:14: extract.queries[1].select: '{job=\"a\"' is not PromQL: unexpected end of "
        "input inside braces",
        "environment variable ETL__PIPELINE__READ_ENTRIES: pipeline.read_entries: must be a whole "
        "number, not 'many'",
    ]


def test_queries_of_one_name(tmp_path: Path) -> None:
    text = LOAD + (
        "extract:\n"
        "  prometheus_url: http://p\n"
        "  queries:\n"
        "    - {name: a, select: x}\n"
        "    - {name: b, select: y}\n"
        "    - name: a\n"
        "      select: z\n"
    )
    assert problems(tmp_path, text) == [
        "etl.yaml:7: extract.queries[2].name: a is already the name of queries[0]"
    ]


def test_a_step_that_no_live_window_holds(tmp_path: Path) -> None:
    text = LOAD + (
        "extract:\n"
        "  prometheus_url: http://p\n"
        "  live_window_max_seconds: 5m\n"
        "  queries: [{name: slow, expr: x, step: 1h}]\n"
    )
    assert problems(tmp_path, text) == [
        "etl.yaml:4: extract.live_window_max_seconds: is 300 s: it must hold at least one step of "
        "queries[0] slow (3600 s)"
    ]
