"""Configuration of the simulator: environment, flags, and one clear line for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ConfigError
from services.simulator.settings import load_settings
from tests.support.simulator_world import PACE


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("open sesame\n", encoding="utf-8")
    file.chmod(0o600)
    return file


def test_defaults(password_file: Path) -> None:
    settings = load_settings(["--password-file", str(password_file)], {})
    assert settings.username == "prometheus"
    assert settings.http_port == 8000
    assert settings.day_seconds == 86_400
    assert settings.password == "open sesame"
    assert settings.pace() == PACE
    assert (settings.file_records_min, settings.file_records_max) == (50, 500)
    assert settings.etl_log_file is None


def test_flags_go_before_the_environment(password_file: Path) -> None:
    environ = {
        "SIMULATOR_PASSWORD_FILE": str(password_file),
        "SIMULATOR_HTTP_PORT": "8100",
        "SIMULATOR_SEED": "5",
    }
    settings = load_settings(["--seed", "6"], environ)
    assert (settings.http_port, settings.seed) == (8100, 6)


def test_there_is_no_default_password() -> None:
    with pytest.raises(ConfigError, match=r"SIMULATOR_PASSWORD_FILE .*must be set"):
        load_settings([], {})


def test_every_mistake_has_its_line(password_file: Path) -> None:
    environ = {
        "SIMULATOR_PASSWORD_FILE": str(password_file),
        "SIMULATOR_HTTP_PORT": "99999",
        "SIMULATOR_DAY_SECONDS": "soon",
    }
    with pytest.raises(ConfigError) as caught:
        load_settings([], environ)
    assert len(caught.value.problems) == 2
    assert any("SIMULATOR_HTTP_PORT (--http-port)" in line for line in caught.value.problems)
    assert any("SIMULATOR_DAY_SECONDS (--day-seconds)" in line for line in caught.value.problems)


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "No such file"), (b"\n", "is empty"), (b"\xff", "not UTF-8")],
    ids=["missing", "empty", "binary"],
)
def test_an_unusable_password_file_is_named(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
        file.chmod(0o600)
    with pytest.raises(ConfigError, match=why) as caught:
        load_settings(["--password-file", str(file)], {})
    assert str(file) in str(caught.value)


def test_only_the_line_break_at_the_end_is_taken_off(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"  a b \r\n")
    file.chmod(0o400)
    assert load_settings(["--password-file", str(file)], {}).password == "  a b "


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o606, 0o602])
def test_a_password_file_that_is_open_to_everybody_is_refused(
    password_file: Path, mode: int
) -> None:
    password_file.chmod(mode)
    with pytest.raises(ConfigError, match=rf"every user can .*mode {mode:04o}") as caught:
        load_settings(["--password-file", str(password_file)], {})
    assert str(caught.value).startswith("simulator: SIMULATOR_PASSWORD_FILE (--password-file): ")


def test_durations_and_sizes_are_those_of_the_pipeline(password_file: Path) -> None:
    environ = {"SIMULATOR_DAY_SECONDS": "1h30m", "SIMULATOR_ETL_LOG_MAX_BYTES": "64KiB"}
    settings = load_settings(["--password-file", str(password_file)], environ)
    assert (settings.day_seconds, settings.etl_log_max_bytes) == (5_400, 65_536)


def test_variables_of_etlctl_and_of_compose_are_left_alone(password_file: Path) -> None:
    environ = {"SIMULATOR_URL": "x", "SIMULATOR_PORT": "80", "SIMULATOR_MEMORY": "96M"}
    load_settings(["--password-file", str(password_file)], environ)
    with pytest.raises(ConfigError, match="SIMULATOR_SEDE: is no setting of simulator"):
        load_settings(["--password-file", str(password_file)], {"SIMULATOR_SEDE": "1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("records_per_second", "0"),
        ("records_per_second", "nan"),
        ("records_per_second", "inf"),
        ("file_records_min", "0"),
        ("file_records_min", "1.5"),
        ("file_records_max", "100000000"),
        ("busy_share", "0"),
        ("busy_share", "1.1"),
        ("failures_per_minute", "-1"),
        ("slow_factor", "1"),
        ("burst_failures_per_minute", "0"),
        ("low_throughput_share", "1"),
        ("heartbeat_seconds", "0"),
        ("heartbeat_seconds", "5m"),
        ("etl_log_max_bytes", "1kB"),
        ("etl_log_max_bytes", "ten"),
        ("etl_log_backups", "0"),
        ("drain_seconds", "0"),
        ("log_level", "LOUD"),
        ("seed", "x"),
    ],
)
def test_a_bad_value_names_its_variable_and_its_flag(
    password_file: Path, name: str, value: str
) -> None:
    environ = {f"SIMULATOR_{name.upper()}": value}
    with pytest.raises(ConfigError) as caught:
        load_settings(["--password-file", str(password_file)], environ)
    (problem,) = caught.value.problems
    flag = name.replace("_", "-")
    assert problem.startswith(f"simulator: SIMULATOR_{name.upper()} (--{flag}): ")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--file-records-min", "501"], r"MIN \(--file-records-min\) is above .*MAX"),
        (["--tls-cert-file", "c.pem"], r"SIMULATOR_TLS_KEY_FILE \(--tls-key-file\) need each"),
        (["--tls-key-file", "k.pem"], "need each other"),
    ],
)
def test_settings_that_do_not_fit_together_are_one_line(
    password_file: Path, arguments: list[str], why: str
) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        load_settings(["--password-file", str(password_file), *arguments], {})
    assert len(caught.value.problems) == 1
