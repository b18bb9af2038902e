"""Configuration of etl-metrics: flags, environment, secrets, and one line for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ConfigError
from services.exporter.settings import OPTIONS, load_settings

REDIS = {"ETL_METRICS_REDIS_URL": "redis://redis:6379/0"}


def problems(*arguments: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_settings(arguments, environ)
    return list(caught.value.problems)


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("open sesame\n", encoding="utf-8")
    file.chmod(0o600)
    return file


def test_defaults() -> None:
    settings = load_settings([], {"ETL_METRICS_LOG_PATH": "/var/log/etl/etl.jsonl"})
    assert settings.log_path == Path("/var/log/etl/etl.jsonl")
    assert (settings.http_host, settings.http_port) == ("0.0.0.0", 8083)
    assert (settings.redis_url, settings.redis_password, settings.password) == (None, None, None)
    assert settings.redis_namespace == "etl"
    assert settings.log_level == "INFO"


def test_every_option_has_a_flag_and_a_variable_of_the_same_name() -> None:
    for option in OPTIONS.options:
        name = option.name.upper()
        assert option.flag == f"--{name.lower().replace('_', '-')}"
        assert OPTIONS.variable(option.name) == f"ETL_METRICS_{name}"


def test_flags_go_before_variables_and_own_variables_before_the_pipelines() -> None:
    environ = {
        "ETL__PIPELINE__REDIS_URL": "redis://pipeline:1",
        "ETL__PIPELINE__REDIS_NAMESPACE": "shop",
        "ETL__PIPELINE__LOG_LEVEL": "debug",
        "ETL_METRICS_LOG_LEVEL": "warning",
        "ETL_METRICS_HTTP_PORT": "8100",
    }
    settings = load_settings(["--http-port", "0", "--redis-url", "unix:///run/redis"], environ)
    assert settings.http_port == 0
    assert settings.redis_url == "unix:///run/redis"
    assert settings.redis_namespace == "shop"
    assert settings.log_level == "WARNING"


def test_an_empty_variable_is_not_set() -> None:
    """Compose hands on what is not set as an empty text."""
    environ = REDIS | {"ETL_METRICS_LOG_PATH": "", "ETL_METRICS_HTTP_PORT": ""}
    settings = load_settings([], environ)
    assert (settings.log_path, settings.http_port) == (None, 8083)


@pytest.mark.parametrize(
    ("text", "seconds"), [("2", 2), ("0.5", 0.5), ("1m30s", 90), ("1d", 86400)]
)
def test_durations(text: str, seconds: float) -> None:
    assert load_settings(["--redis-poll-seconds", text], REDIS).redis_poll_seconds == seconds


def test_passwords_come_from_files_and_are_not_shown(password_file: Path) -> None:
    environ = REDIS | {
        "ETL__PIPELINE__REDIS_PASSWORD_FILE": str(password_file),
        "ETL_METRICS_PASSWORD_FILE": str(password_file),
    }
    settings = load_settings([], environ)
    assert (settings.password, settings.redis_password) == ("open sesame", "open sesame")
    assert "sesame" not in repr(settings)


@pytest.mark.parametrize("name", ["password-file", "redis-password-file"])
def test_a_password_that_every_user_can_read_is_an_error(password_file: Path, name: str) -> None:
    password_file.chmod(0o644)
    (problem,) = problems(f"--{name}", str(password_file), **REDIS)
    assert problem == (
        f"etl-metrics: ETL_METRICS_{name.replace('-', '_').upper()} (--{name}): "
        f"names {password_file}, which every user can read (mode 0644): make it 0600"
    )


def test_the_authority_of_redis_may_have_the_pipelines_name(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text("-----BEGIN CERTIFICATE-----", encoding="utf-8")  # no secret: 0644 will do
    environ = {
        "ETL__PIPELINE__REDIS_URL": "rediss://redis:6379/0",
        "ETL__PIPELINE__REDIS_CA_FILE": str(ca_file),
    }
    assert load_settings([], environ).redis_ca_file == str(ca_file)


def test_there_must_be_something_to_export() -> None:
    (problem,) = problems()
    assert "ETL_METRICS_LOG_PATH (--log-path) or ETL_METRICS_REDIS_URL (--redis-url)" in problem


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"ETL_METRICS_HTTP_PORT": "65536"}, "must be a port, 0 to 65535"),
        ({"ETL_METRICS_HTTP_PORT": "-1"}, "must be a port"),
        ({"ETL_METRICS_HTTP_PORT": "８０"}, "must be a port"),
        ({"ETL_METRICS_LOG_POLL_SECONDS": "0"}, "must be >= 0.05"),
        ({"ETL_METRICS_SILENT_SECONDS": "nan"}, "must be finite"),
        ({"ETL_METRICS_SILENT_SECONDS": "2d"}, "must be <= 86400"),
        ({"ETL_METRICS_SILENT_SECONDS": "soon"}, "is not a duration"),
        ({"ETL_METRICS_LOG_LEVEL": "loud"}, "must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
        ({"ETL__PIPELINE__REDIS_NAMESPACE": "a b"}, "must be 1 to 64 of the characters"),
        ({"ETL__PIPELINE__REDIS_URL": "http://redis"}, "must begin with redis://"),
        ({"ETL__PIPELINE__REDIS_URL": "redis://"}, "must name a host"),
        ({"ETL__PIPELINE__REDIS_URL": "redis://:x@redis"}, "must not carry credentials"),
        ({"ETL__PIPELINE__REDIS_URL": "redis://redis:port"}, "its host or port is malformed"),
        ({"ETL__PIPELINE__REDIS_URL": "redis://[::1"}, "its host or port is malformed"),
        ({"ETL_METRICS_PASSWORD_FILE": "/no/such/file"}, "cannot be read: No such file"),
        ({"ETL_METRICS_REDIS_CA_FILE": "/no/such/file"}, "cannot be read: No such file"),
        ({"ETL_METRICS_REDIS_CA_FILE": "/dev/null"}, "redis_url does not begin with rediss://"),
        ({"ETL_METRICS_REDIS_SENTINEL_USERNAME": "me"}, "redis_url names no Sentinels"),
        ({"ETL__PIPELINE__REDIS_URL": "redis+sentinel://a:x/m"}, "whose port is no number"),
        ({"ETL_METRICS_USERNAME": "a:b"}, "must hold no colon"),
        ({"ETL_METRICS_REDIS_URI": "x"}, "is no setting of etl-metrics"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_variable(
    environ: dict[str, str], problem: str
) -> None:
    (name,) = environ
    (found,) = problems(**({"ETL_METRICS_LOG_PATH": "/log"} | environ))
    assert found.startswith(f"etl-metrics: {name}")
    assert problem in found
    assert "\n" not in found


def test_all_mistakes_are_told_at_once() -> None:
    found = problems("--http-port", "x", "--silent-seconds", "x", **REDIS)
    assert [text.split(": ")[1] for text in found] == [
        "ETL_METRICS_HTTP_PORT (--http-port)",
        "ETL_METRICS_SILENT_SECONDS (--silent-seconds)",
    ]


@pytest.mark.parametrize("arguments", [["--colour"], ["--http-port"], ["--http"], ["log"]])
def test_a_wrong_flag_is_one_line_too(arguments: list[str]) -> None:
    (problem,) = problems(*arguments, **REDIS)
    assert problem.startswith("etl-metrics: ")


def test_the_port_that_compose_publishes_is_none_of_our_business() -> None:
    assert load_settings([], REDIS | {"ETL_METRICS_PORT": "9999"}).http_port == 8083


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        load_settings(["--help"], {})
    assert caught.value.code == 0
    usage = capsys.readouterr().out
    assert all(option.flag in usage for option in OPTIONS.options)


def test_sentinels_have_a_user_and_a_password_of_their_own(password_file: Path) -> None:
    environ = {
        "ETL__PIPELINE__REDIS_URL": "redis+sentinel://a,b/main",
        "ETL__PIPELINE__REDIS_SENTINEL_USERNAME": "me",
    }
    (found,) = problems(**environ)
    assert "needs a password beside it" in found
    environ["ETL__PIPELINE__REDIS_SENTINEL_PASSWORD_FILE"] = str(password_file)
    settings = load_settings([], environ)
    assert settings.redis_sentinel_username == "me"
    assert settings.redis_sentinel_password == "open sesame"
    assert settings.redis_password is None
    (found,) = problems(**environ | {"ETL__PIPELINE__REDIS_URL": "redis://a"})
    assert "would never be used: redis_url names no Sentinels" in found
