"""What is wrong with a configuration is one clear line each: file, line, key, what."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.config import Settings, load_settings
from common.config.yaml_tree import MAX_NODES
from common.errors import ConfigError
from tests.support.settings_files import EXTRACT, LOAD, MINIMAL, load, problems, secret_file

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
            "(30 s), or a slow answer would look like a stuck loop"
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
    ("{name: a-b, select: up}", ".name: must match pattern '^[a-zA-Z_][a-zA-Z0-9_]*$', not 'a-b'"),
    ("{select: up}", ".name: is missing"),
    (
        "{name: etl_loaded_watermark, select: up}",
        ".name: etl_loaded_watermark is reserved for the loader's own points",
    ),
    ("{name: q, select: 'up[5m]'}", ".select: 'up[5m]' has a range: leave it out, the windows"),
    ("{name: q, select: 'sum(up)'}", ".select: 'sum(up)' is an expression, not a plain selector"),
    (
        "{name: q, expr: 'rate(up)', step: 5}",
        ".expr: 'rate(up)' is not PromQL: expected type matrix",
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
        "etl.yaml:5: load.influxdb.token_file: names /none/token, which cannot be read: "
        "No such file or directory",
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


@pytest.mark.parametrize(
    ("tiers", "wanted"),
    [
        ("{lukewarm: {bucket: x}}", "load.tiers.lukewarm"),
        ("{hot: {}}", "load.tiers.hot.bucket: is missing"),
        ("{hot: {bucket: x, resolution: 1m}}", "load.tiers.hot.resolution: has no meaning"),
        ("{hot: {bucket: x, aggregates: [avg]}}", "load.tiers.hot.aggregates: has no meaning"),
        ("{warm: {bucket: x, aggregates: [avg]}}", "load.tiers.warm: has no resolution"),
        ("{warm: {bucket: x, resolution: 1m}}", "load.tiers.warm: has no aggregates"),
        (
            "{hot: {bucket: x}, warm: {bucket: x, resolution: 1m, aggregates: [avg]}}",
            "load.tiers.warm.bucket: x is already the bucket of hot",
        ),
        (
            "{warm: {bucket: x, resolution: 1h, aggregates: [avg]}, "
            "cold: {bucket: y, resolution: 1m, aggregates: [avg]}}",
            "load.tiers.cold.resolution: is 60 s: it must be coarser than warm's (3600 s)",
        ),
        ("{hot: {bucket: x, retention: -5}}", "load.tiers.hot.retention: must be greater than 0"),
    ],
)
def test_tiers_are_refused(tmp_path: Path, tiers: str, wanted: str) -> None:
    influxdb = "influxdb: {url: 'http://i', org: o, bucket: b}"
    found = problems(tmp_path, f"{EXTRACT}load:\n  {influxdb}\n  tiers: {tiers}\n")
    assert len(found) == 1
    assert found[0].startswith(f"etl.yaml:4: {wanted}"), found


# --- YAML ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("extract:\n  a: [1\n", "etl.yaml:3:1: is not YAML: "),
        ("extract:\n\ta: 1\n", "etl.yaml:2:1: is not YAML: "),
        ("a: b: c\n", "etl.yaml:1:5: is not YAML: mapping values are not allowed here"),
        ("a: *b\n", "etl.yaml:1:4: is not YAML: found undefined alias 'b'"),
        ("a: 1\n---\nb: 2\n", "etl.yaml:2:1: is not YAML: but found another document"),
        (
            "extract: !!python/object/apply:os.system [ls]\n",
            "etl.yaml:1: extract: has the tag 'tag:yaml.org,2002:python/object/apply:os.system'",
        ),
        ("extract: !!python/name:os.system\n", "etl.yaml:1:10: is not YAML: could not determine"),
        *(
            (f"a: !!{tag} {text}\n", "etl.yaml:1: a: cannot be read: ")
            for tag, text in (
                ("int", '""'),
                ("int", "x"),
                ("float", '""'),
                ("float", "x" * 5_000),
                ("bool", "x"),
                ("timestamp", "x"),
                ("timestamp", "2024-13-01"),
            )
        ),
        ("a: \x00", "etl.yaml: is not YAML: special characters are not allowed at character 3"),
    ],
)
def test_what_is_not_yaml_is_told_with_line_and_column(
    tmp_path: Path, text: str, wanted: str
) -> None:
    found = problems(tmp_path, text)
    assert any(line.startswith(wanted) and len(line) < 500 for line in found), found


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    text = (
        MINIMAL + "pipeline:\n  read_entries: 3\n  log_level: INFO\n  read_entries: 4\npipeline: {}"
    )
    assert problems(tmp_path, text) == [
        "etl.yaml:6: pipeline.read_entries: is given twice, first in line 4",
        "etl.yaml:7: pipeline: is given twice, first in line 3",
    ]


def test_a_key_that_is_not_text_is_refused(tmp_path: Path) -> None:
    found = problems(tmp_path, MINIMAL + "pipeline: {5: a}\n? [b]\n: c\n")
    assert found[0] == "etl.yaml:3: pipeline: the key 5 is not text: put it in quotes"
    assert any("etl.yaml:4: the key a list or mapping is not text" in line for line in found)


def test_half_of_a_surrogate_pair_is_no_text(tmp_path: Path) -> None:
    rule = r'{source_labels: [a], target_label: b, regex: "\ud800", replacement: "$1\udfff"}'
    text = rf"""{MINIMAL}transform:
  relabel:
    - {rule}
  valid_metrics: [up, "\ud83d \ude42"]
  "\udfff": {{a: b}}
"""
    assert problems(tmp_path, text) == [
        r"etl.yaml:5: transform.relabel[0].regex: is not UTF-8 text: it holds '\ud800'",
        r"etl.yaml:5: transform.relabel[0].replacement: is not UTF-8 text: it holds '\udfff'",
        r"etl.yaml:6: transform.valid_metrics[1]: is not UTF-8 text: it holds '\ud83d'",
        r'etl.yaml:7: transform."\udfff": is not UTF-8 text: ' r"it holds '\udfff'",
    ]
    found = problems(tmp_path, MINIMAL + '? !!int "\\ud800"\n: 1\n')
    assert found[0] == r"etl.yaml:3: the key \ud800 is not text: put it in quotes"
    # A pair is a character, here of a key that nobody knows.
    found = problems(tmp_path, MINIMAL + r'"\ud83d\ude42": 1')
    assert found == [r'etl.yaml:3: "\ud83d\ude42": is an unknown key']


def test_a_problem_is_one_short_line_whatever_the_key(tmp_path: Path) -> None:
    key = "x" * 500
    (found,) = problems(tmp_path, f"{MINIMAL}{key}: 1\n")
    assert found == f"etl.yaml:3: {'x' * 60}…: is an unknown key"
    (found,) = problems(tmp_path, MINIMAL + '"a\\u2028b": 1\n')
    assert found == r'etl.yaml:3: "a\u2028b": is an unknown key'
    (found,) = problems(tmp_path, MINIMAL, {f"ETL__{key}": "1", "ETL": ""})
    assert found.startswith("environment variable ETL__xxx")
    assert len(found) < 300


def test_merged_keys_are_understood(tmp_path: Path) -> None:
    text = f"{MINIMAL}pipeline: &base {{read_entries: 3, drain_seconds: 4}}\n"
    other = text.replace("pipeline", "x-base") + "pipeline:\n  <<: *base\n  read_entries: 5\n"
    assert problems(tmp_path, other) == ["etl.yaml:3: x-base: is an unknown key"]
    merged = MINIMAL + "pipeline: {<<: {read_entries: 3, drain_seconds: 4}, read_entries: 5}"
    pipeline = load(tmp_path, merged).pipeline
    assert (pipeline.read_entries, pipeline.drain_seconds) == (5, 4)


def test_a_file_that_unfolds_without_end_is_refused_at_once(tmp_path: Path) -> None:
    levels = "".join(f"l{n}: &l{n} [{','.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 12))
    bomb = f"l0: &l0 [a,a,a,a,a,a,a,a,a]\n{levels}"
    assert problems(tmp_path, bomb) == [f"etl.yaml: unfolds to more than {MAX_NODES} values"]
    loop = "a: &a {b: *a}\n"
    assert problems(tmp_path, loop) == ["etl.yaml: is nested too deeply, or contains itself"]
    deep = "a: " + "[" * 20_000
    assert problems(tmp_path, deep) == ["etl.yaml: is nested too deeply, or contains itself"]


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "etl.yaml"
    file.write_bytes(MINIMAL.encode() + b"pipeline:\n  log_file: \xff\n")
    with pytest.raises(ConfigError, match=r"etl\.yaml:4: is not UTF-8 text$"):
        load_settings(file, {})
    with pytest.raises(ConfigError, match="Is a directory"):
        load_settings(tmp_path, {})
    file.write_bytes(b"# " + b"x" * (5 << 20))
    with pytest.raises(ConfigError, match="is larger than 4194304 bytes"):
        load_settings(file, {})


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    file = tmp_path / "etl.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert isinstance(load_settings(file, {}), Settings)


# --- environment and secrets -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("ETL__PIPELINE__HTTP_PORT", "x", "pipeline.http_port: must be a whole number, not 'x'"),
        ("ETL__NOPE", "1", "nope: is an unknown key"),
        ("ETL__PIPELIN__A", "1", "pipelin: is an unknown key: did you mean pipeline?"),
        ("ETL__PIPELINE__NOPE__B", "1", "pipeline.nope: is an unknown key"),
        ("ETL__PIPELINE", "{", "pipeline: must be a mapping of keys, not '{'"),
        ("ETL__TRANSFORM__VALID_METRICS", "up,down", "transform.valid_metrics: must be a list"),
        ("ETL__PIPELINE__HTTP_PORT__X", "1", "pipeline.http_port: must be a whole number"),
        ("ETL__", "1", '"": is an unknown key'),
        ("ETL____", "1", '"": is an unknown key'),
        ("ETL__LOAD__INFLUXDB__URL", "http://u:hunter2@i", "load.influxdb.url: must not carry"),
        (
            "ETL__EXTRACT__QUERIES",
            '[{"name": "a", "select": "up"}, {"name": "b", "select": "up"}]',
            "extract.queries[1]: b may select the same series as a",
        ),
        ("ETL__EXTRACT__QUERIES__0__NAME", "q", "extract.queries: must be a list"),
        # Bytes of the environment that are not UTF-8 are halves of surrogate pairs to Python.
        (
            "ETL__LOAD__INFLUXDB__TOKEN",
            "hunter2\udcff",
            r"load.influxdb.token: is not UTF-8 text: it holds '\udcff'",
        ),
        ("ETL__PIPELINE", '{"\\ud800": 1}', r'pipeline."\ud800": is not UTF-8 text'),
        (
            "ETL__TRANSFORM__VALID_METRICS",
            '["up", "\\ud800"]',
            "transform.valid_metrics[1]: is not UTF-8 text",
        ),
    ],
)
def test_a_bad_variable_is_named(tmp_path: Path, name: str, value: str, wanted: str) -> None:
    found = problems(tmp_path, MINIMAL, {name: value})
    assert len(found) == 1
    assert found[0].startswith(f"environment variable {name}: {wanted}"), found
    assert "hunter2" not in found[0]


def test_a_variables_name_that_is_not_text_is_shown_all_the_same(tmp_path: Path) -> None:
    assert problems(tmp_path, MINIMAL, {"ETL__PIPELINE__\udcff\n": "1", "ETL__\u2028": "1"}) == [
        r'environment variable ETL__PIPELINE__\udcff\n: pipeline."\udcff\n": is not UTF-8 text: '
        r"it holds '\udcff'",
        r'environment variable ETL__\u2028: "\u2028": is an unknown key',
    ]


@pytest.mark.parametrize("value", ["[" * 100_000, "[" * 600 + "]" * 600, '{"a":' * 600 + "1"])
def test_a_variable_that_is_nested_without_end_is_refused(tmp_path: Path, value: str) -> None:
    (found,) = problems(tmp_path, MINIMAL, {"ETL__TRANSFORM__RELABEL": value})
    assert found.startswith("environment")
    assert len(found) < 300


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"", "which is empty"),
        (b"\n", "which is empty"),
        (b"hunter2\nsecond line\n", "which holds line breaks or control characters"),
        (b"hunter2\x00", "which holds line breaks or control characters"),
        (b"\xffhunter2", "which is not UTF-8 text"),
        (b"x" * 70_000, "which is larger than 65536 bytes"),
    ],
)
def test_an_unusable_secret_file_is_named_but_not_quoted(
    tmp_path: Path, content: bytes, wanted: str
) -> None:
    secret = secret_file(tmp_path, content)
    text = (
        EXTRACT
        + f"load: {{influxdb: {{url: 'http://i', org: o, bucket: b, token_file: {secret}}}}}"
    )
    assert problems(tmp_path, text) == [
        f"etl.yaml:2: load.influxdb.token_file: names secret, {wanted}"
    ]


@pytest.mark.parametrize(("mode", "verb"), [(0o644, "read"), (0o602, "change")])
def test_a_secret_file_that_everybody_can_reach_is_refused(
    tmp_path: Path, mode: int, verb: str
) -> None:
    secret = secret_file(tmp_path, b"-----BEGIN PRIVATE KEY-----", mode)
    text = (
        f"extract: {{prometheus_url: 'http://p', auth: {{bearer_token_file: {secret}, "
        f"cert_file: {secret}, key_file: {secret}}}}}\n"
        f"load: {{influxdb: {{url: 'http://i', org: o, bucket: b, token_file: {secret}}}}}\n"
        f"pipeline: {{redis_password_file: {secret}, metrics_password_file: {secret}}}\n"
    )
    why = f"names secret, which every user can {verb} (mode {mode:04o}): make it 0600"
    assert problems(tmp_path, text) == [
        f"etl.yaml:1: extract.auth.bearer_token_file: {why}",
        f"etl.yaml:1: extract.auth.cert_file: {why}",
        f"etl.yaml:1: extract.auth.key_file: {why}",
        f"etl.yaml:2: load.influxdb.token_file: {why}",
        f"etl.yaml:3: pipeline.redis_password_file: {why}",
        f"etl.yaml:3: pipeline.metrics_password_file: {why}",
    ]
    secret.chmod(0o640)  # its group may: that is how containers are handed secrets
    assert problems(tmp_path, text) == []
    secret.chmod(mode)
    assert problems(tmp_path, text, secrets=()) == []  # who reads none need not mind


def test_an_authority_for_a_redis_without_tls_is_refused(tmp_path: Path) -> None:

    def found(url: str, ca_file: str) -> list[str]:
        given = f"pipeline: {{redis_url: '{url}', redis_ca_file: {ca_file}}}\n"
        return problems(tmp_path, MINIMAL + given)

    for url in ("redis://redis:6379/0", "unix:///run/redis"):
        assert found(url, "/dev/null") == [
            "etl.yaml:3: pipeline.redis_ca_file: would never be used: redis_url does not begin "
            "with rediss://"
        ]
    assert found("rediss://redis:6379/0", "/dev/null") == []
    assert found("rediss://redis:6379/0", "/none/ca.pem") == [
        "etl.yaml:3: pipeline.redis_ca_file: names /none/ca.pem, which cannot be read: "
        "No such file or directory"
    ]


def test_a_key_without_a_certificate_is_refused(tmp_path: Path) -> None:
    key = secret_file(tmp_path, b"-----BEGIN PRIVATE KEY-----")
    text = LOAD + f"extract: {{prometheus_url: 'http://p', auth: {{key_file: {key}}}}}"
    assert problems(tmp_path, text) == [
        "etl.yaml:2: extract.auth.key_file: is given without cert_file"
    ]


def test_a_secret_given_twice_is_refused_within_one_source(tmp_path: Path) -> None:
    secret = secret_file(tmp_path, b"a")
    environ = {
        "ETL__LOAD__INFLUXDB__TOKEN": "hunter2",
        "ETL__LOAD__INFLUXDB__TOKEN_FILE": str(secret),
    }
    assert problems(tmp_path, MINIMAL, environ) == [
        "environment variable ETL__LOAD__INFLUXDB__TOKEN: load.influxdb.token: "
        "and token_file are both given: keep one of them"
    ]


def test_a_secret_with_a_line_break_would_tear_a_header(tmp_path: Path) -> None:
    found = problems(tmp_path, MINIMAL, {"ETL__LOAD__INFLUXDB__TOKEN": "hunter2\r\nX: y"})
    assert found == [
        "environment variable ETL__LOAD__INFLUXDB__TOKEN: load.influxdb.token: "
        "must not hold line breaks or control characters"
    ]


# --- whatever is written ---------------------------------------------------------------------

KEYS = sorted(
    {"extract", "load", "pipeline", "transform", "queries", "influxdb", "name", "expr", "select"}
    | {"step", "url", "token", "token_file", "relabel", "regex", "action", "tiers", "hot", "auth"}
    | {"prometheus_url", "org", "bucket", "low_water_bytes", "valid_metrics", "aggregates"}
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(["up", "http://h", "{a='b'}", "15s", "hot", "keep", "", "a(", "labeldrop"]),
    st.text(max_size=8),
)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=25,
)
relaxed = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def only_config_errors(folder: Path, text: str, environ: dict[str, str]) -> None:
    file = folder / "etl.yaml"
    file.write_bytes(text.encode(errors="surrogatepass"))
    found: tuple[str, ...] | None = None
    try:
        load_settings(file, environ)
    except ConfigError as error:
        found = error.problems
    assert found is None or found
    assert all(len(line.encode().splitlines()) == 1 for line in found or ())


@relaxed
@given(tree=trees)
def test_any_tree_ends_in_settings_or_clear_lines(tmp_path: Path, tree: object) -> None:
    only_config_errors(tmp_path, yaml.safe_dump(tree), {})


@relaxed
@given(text=st.text(alphabet="{}[]:,-&*!|>'\"#%@`? \n\tab<1\\", max_size=60))
def test_any_text_ends_in_settings_or_clear_lines(tmp_path: Path, text: str) -> None:
    only_config_errors(tmp_path, text, {})


@relaxed
@given(
    environ=st.dictionaries(
        st.lists(st.sampled_from([*KEYS, "", "0"]), min_size=1, max_size=4).map(
            lambda parts: "ETL__" + "__".join(parts).upper()
        ),
        st.text(st.characters(exclude_characters="\0"), max_size=12)
        | st.sampled_from(["{}", "[]", "null", '{"a": 1}', '[{"name": "x"}]', "1", "true", "[1"]),
        max_size=4,
    )
)
def test_any_environment_ends_in_settings_or_clear_lines(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    only_config_errors(tmp_path, MINIMAL, environ)


def test_the_file_of_this_process_is_left_alone(tmp_path: Path) -> None:
    before = dict(os.environ)
    problems(tmp_path, MINIMAL, {"ETL__PIPELINE__HTTP_PORT": "1"})
    assert dict(os.environ) == before
