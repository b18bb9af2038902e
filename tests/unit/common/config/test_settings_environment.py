"""Settings from the environment and from secret files."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from common.config import (
    load_settings,
)
from tests.support.settings_files import (
    EXTRACT,
    KEPT,
    MINIMAL,
    load,
    problems,
    secret_file,
)

# --- environment -----------------------------------------------------------------------------


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    environ = {
        "ETL__LOAD__INFLUXDB__URL": "https://other/prefix/",
        "etl__pipeline__http_port": "8081",
        "ETL__EXTRACT__TIMEOUT": "5s",
        "ETL__EXTRACT__AUTH__VERIFY": "false",
        "ETL__TRANSFORM__VALID_METRICS": '["up", "http_*"]',
        "ETL__LOAD__TIERS__HOT__BUCKET": "elsewhere",
        "ETL__EXTRACT__QUERIES": '[{"name": "q", "select": "up"}]',
        "ETL__PIPELINE__LOG_LEVEL": "debug",
        "ETL__PIPELINE__REDIS_NAMESPACE": "",
        "ETLX": "not ours",
        "PATH": "/bin",
    }
    settings = load(tmp_path, KEPT, environ)
    assert settings.load.influxdb.url == "https://other/prefix"
    assert settings.load.influxdb.org == "monitoring"
    assert settings.pipeline.http_port == 8081
    assert settings.extract.timeout == 5
    assert settings.extract.auth.verify is False
    assert settings.transform.valid_metrics == ("up", "http_*")
    assert settings.load.tiers["hot"].bucket == "elsewhere"
    assert [query.text for query in settings.extract.queries] == ["up"]
    assert settings.pipeline.log_level == "DEBUG"
    assert settings.pipeline.redis_namespace == "etl"


def test_a_whole_section_and_a_key_of_it_can_come_from_the_environment(tmp_path: Path) -> None:
    environ = {
        "ETL__LOAD__INFLUXDB": '{"url": "http://a", "bucket": "from-json"}',
        "ETL__LOAD__INFLUXDB__URL": "http://b",
    }
    influxdb = load(tmp_path, KEPT, environ).load.influxdb
    assert (influxdb.url, influxdb.bucket, influxdb.org) == ("http://b", "from-json", "monitoring")


def test_null_in_the_environment_takes_a_key_away(tmp_path: Path) -> None:
    text = MINIMAL + "pipeline: {log_file: a.log}"
    assert load(tmp_path, text).pipeline.log_file == "a.log"
    environ = {"ETL__PIPELINE__LOG_FILE": "null"}
    assert load(tmp_path, text, environ).pipeline.log_file is None


def test_the_process_environment_is_read_only_when_none_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "etl.yaml"
    file.write_text(MINIMAL)
    monkeypatch.setenv("ETL__PIPELINE__READ_ENTRIES", "3")
    assert load_settings(file).pipeline.read_entries == 3
    assert load_settings(file, {}).pipeline.read_entries == 8


# --- secrets ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"s3cret", "s3cret"),
        (b"s3cret\n", "s3cret"),
        (b"s3cret\r\n", "s3cret"),
        (b" spaces stay ", " spaces stay "),
        ("pässwort\n".encode(), "pässwort"),
    ],
)
def test_a_secret_is_read_from_its_file(tmp_path: Path, content: bytes, secret: str) -> None:
    path = secret_file(tmp_path, content)
    text = f"{MINIMAL}pipeline: {{redis_password_file: {path}}}"
    assert load(tmp_path, text).pipeline.redis_password == SecretStr(secret)


def test_every_secret_can_be_a_file(tmp_path: Path) -> None:
    path = secret_file(tmp_path, b"x1y2\n")
    environ = {
        "ETL__LOAD__INFLUXDB__TOKEN_FILE": str(path),
        "ETL__PIPELINE__REDIS_PASSWORD_FILE": str(path),
        "ETL__PIPELINE__METRICS_PASSWORD_FILE": str(path),
        "ETL__EXTRACT__AUTH__USERNAME": "u",
        "ETL__EXTRACT__AUTH__PASSWORD_FILE": str(path),
    }
    settings = load(tmp_path, MINIMAL, environ)
    secrets = (
        settings.load.influxdb.token,
        settings.pipeline.redis_password,
        settings.pipeline.metrics_password,
        settings.extract.auth.password,
    )
    assert [secret.get_secret_value() for secret in secrets] == ["x1y2"] * 4
    environ = {"ETL__EXTRACT__AUTH__BEARER_TOKEN_FILE": str(path)}
    assert load(tmp_path, MINIMAL, environ).extract.auth.bearer_token == SecretStr("x1y2")


def test_a_secret_from_the_environment_replaces_the_files_in_either_form(tmp_path: Path) -> None:
    path = secret_file(tmp_path, b"from file")
    absent = tmp_path / "absent"
    for written in ("token: written", f"token_file: {absent}"):
        text = EXTRACT + f"load: {{influxdb: {{url: 'http://i', org: o, bucket: b, {written}}}}}"
        for name, value, secret in (
            ("TOKEN", "given", "given"),
            ("TOKEN_FILE", str(path), "from file"),
        ):
            found = load(tmp_path, text, {f"ETL__LOAD__INFLUXDB__{name}": value})
            assert found.load.influxdb.token == SecretStr(secret)


def test_a_service_reads_only_the_secrets_it_needs(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    text = (
        f"extract: {{prometheus_url: 'http://p', auth: {{bearer_token_file: {absent}, "
        f"ca_file: {absent}}}}}\n"
        f"load: {{influxdb: {{url: 'http://i', org: o, bucket: b, token_file: {absent}}}}}\n"
        f"pipeline: {{redis_password_file: {absent}}}\n"
    )
    settings = load(tmp_path, text, secrets=())
    assert settings.load.influxdb.token == SecretStr("")
    assert settings.load.influxdb.token_file == str(absent)

    def keys(*sections: str) -> list[str]:
        found = problems(tmp_path, text, secrets=sections)
        return [line.split(": ")[1] for line in found]

    assert keys("load") == ["load.influxdb.token_file"]
    assert keys("pipeline") == ["pipeline.redis_password_file"]
    assert keys("extract") == ["extract.auth.bearer_token_file", "extract.auth.ca_file"]


@pytest.mark.parametrize("token", ["[1]", '{"a": 1}', "[::1]", "{x"])
def test_a_secret_that_looks_like_json_is_text(tmp_path: Path, token: str) -> None:
    settings = load(tmp_path, MINIMAL, {"ETL__LOAD__INFLUXDB__TOKEN": token})
    assert settings.load.influxdb.token.get_secret_value() == token
