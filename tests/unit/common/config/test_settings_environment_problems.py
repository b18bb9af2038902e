"""What is wrong in the environment and in secret files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.certificates import certificates
from tests.support.settings_files import EXTRACT, MINIMAL, problems, secret_file

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
        (
            "ETL__LOAD__TIERS__LUKEWARM__BUCKET",
            "b",
            "load.tiers.lukewarm: must be 'hot', 'warm' or 'cold', not 'lukewarm'",
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
    (other,) = problems(tmp_path, text)
    assert "cert_file" in other
    assert "every user" not in other
    secret.chmod(mode)
    assert problems(tmp_path, text, secrets=()) == []  # who reads none need not mind


def test_an_authority_for_a_redis_without_tls_is_refused(tmp_path: Path) -> None:
    authority = certificates(tmp_path) / "tls_ca.crt"

    def found(url: str, ca_file: str) -> list[str]:
        given = f"pipeline: {{redis_url: '{url}', redis_ca_file: {ca_file}}}\n"
        return problems(tmp_path, MINIMAL + given)

    for url in ("redis://redis:6379/0", "unix:///run/redis"):
        assert found(url, str(authority)) == [
            "etl.yaml:3: pipeline.redis_ca_file: would never be used: redis_url does not begin "
            "with rediss://"
        ]
    assert found("rediss://redis:6379/0", str(authority)) == []
    assert found("rediss://redis:6379/0", "/none/ca.pem") == [
        "etl.yaml:3: pipeline.redis_ca_file: names /none/ca.pem, which cannot be read: "
        "No such file or directory"
    ]


def test_a_key_without_a_certificate_is_refused(tmp_path: Path) -> None:
    key = secret_file(tmp_path, b"-----BEGIN PRIVATE KEY-----")
    text = (
        f"extract: {{prometheus_url: 'http://p', auth: {{key_file: {key}}}}}\n"
        f"load: {{influxdb: {{url: 'http://i', org: o, bucket: b, key_file: {key}}}}}\n"
    )
    assert problems(tmp_path, text) == [
        "etl.yaml:1: extract.auth.key_file: is given without cert_file",
        "etl.yaml:2: load.influxdb.key_file: is given without cert_file",
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
