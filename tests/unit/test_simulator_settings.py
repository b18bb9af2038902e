"""Configuration of the simulator: environment, flags, and one clear line for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ConfigError
from services.simulator.settings import load_settings


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIMULATOR_PASSWORD_FILE", raising=False)


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("open sesame\n", encoding="utf-8")
    return file


def test_defaults(password_file: Path) -> None:
    settings = load_settings(["--password-file", str(password_file)])
    assert settings.username == "prometheus"
    assert settings.http_port == 8000
    assert settings.day_seconds == 86_400
    assert settings.password() == "open sesame"


def test_flags_go_before_the_environment(
    password_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMULATOR_PASSWORD_FILE", str(password_file))
    monkeypatch.setenv("SIMULATOR_HTTP_PORT", "8100")
    monkeypatch.setenv("SIMULATOR_SEED", "5")
    settings = load_settings(["--seed", "6"])
    assert (settings.http_port, settings.seed) == (8100, 6)


def test_there_is_no_default_password() -> None:
    with pytest.raises(ConfigError, match=r"SIMULATOR_PASSWORD_FILE .*must be set"):
        load_settings([])


def test_every_mistake_has_its_line(password_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMULATOR_PASSWORD_FILE", str(password_file))
    monkeypatch.setenv("SIMULATOR_HTTP_PORT", "99999")
    monkeypatch.setenv("SIMULATOR_DAY_SECONDS", "soon")
    with pytest.raises(ConfigError) as caught:
        load_settings([])
    assert len(caught.value.problems) == 2
    assert any("SIMULATOR_HTTP_PORT (--http-port)" in line for line in caught.value.problems)
    assert any("SIMULATOR_DAY_SECONDS (--day-seconds)" in line for line in caught.value.problems)


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "No such file"), (b"\n", "it is empty"), (b"\xff", "not UTF-8")],
    ids=["missing", "empty", "binary"],
)
def test_an_unusable_password_file_is_named(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=why) as caught:
        load_settings(["--password-file", str(file)]).password()
    assert str(file) in str(caught.value)


def test_only_the_line_break_at_the_end_is_taken_off(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"  a b \r\n")
    assert load_settings(["--password-file", str(file)]).password() == "  a b "
