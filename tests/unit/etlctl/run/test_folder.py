"""The data folder of ``etlctl run``, and how its Redis is found there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from common.errors import ConfigError
from etlctl.failures import message_of
from etlctl.run.folder import (
    DATA_VARIABLE,
    PASSWORD_FILE_VARIABLE,
    URL_VARIABLE,
    data_folder,
    forget_address,
    locked,
    owner_of,
    use_redis_of_run,
    write_address,
)
from tests.support.settings_files import MINIMAL

URL = "redis://127.0.0.1:7777/0"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration that names no Redis, beside the folder of a run."""
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    file = tmp_path / "etl.yaml"
    file.write_text(MINIMAL, encoding="utf-8")
    with locked(data_folder(file)):
        write_address(data_folder(file), URL, tmp_path / "password")
    return file


def test_a_command_finds_the_redis_of_a_run(config: Path, tmp_path: Path) -> None:
    environ: dict[str, str] = {}
    assert use_redis_of_run(config, environ) == config
    assert environ == {URL_VARIABLE: URL, PASSWORD_FILE_VARIABLE: str(tmp_path / "password")}


def test_whose_redis_a_command_cannot_reach_is_said(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = RedisConnectionError("refused.")
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    assert message_of(away) == "Redis cannot be reached: refused."
    environ: dict[str, str] = {}
    write_address(data_folder(config), URL, data_folder(config) / "redis_password")
    use_redis_of_run(config, environ)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert message_of(away).endswith(
        f"it is that of etlctl run with its data in {data_folder(config)}: does that run?"
    )
    monkeypatch.setenv(URL_VARIABLE, "redis://elsewhere:6379/0")
    assert message_of(away) == "Redis cannot be reached: refused."


def test_a_disk_that_is_full_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(ConfigError, match="cannot be used: No space left"), locked(tmp_path):
        pass
    monkeypatch.undo()
    with locked(tmp_path):
        pass


@pytest.mark.parametrize(
    "text", [MINIMAL + "pipeline: {redis_url: 'redis://elsewhere:6379/0'}\n", "a: [", "[]"]
)
def test_a_configuration_that_names_a_redis_or_cannot_be_read_is_left_alone(
    config: Path, text: str
) -> None:
    config.write_text(text, encoding="utf-8")
    environ: dict[str, str] = {}
    use_redis_of_run(config, environ)
    assert (environ == {}) == (text != "[]")


def test_a_variable_goes_before_it(config: Path) -> None:
    environ = {URL_VARIABLE: "redis://elsewhere:6379/0"}
    use_redis_of_run(config, environ)
    assert environ == {URL_VARIABLE: "redis://elsewhere:6379/0"}


def test_without_a_run_nothing_is_set(config: Path) -> None:
    forget_address(data_folder(config))
    (data_folder(config) / "redis.json").write_text("[]", encoding="utf-8")
    environ: dict[str, str] = {}
    use_redis_of_run(config, environ)
    assert environ == {}


def test_the_folder_is_that_of_the_configuration_unless_another_is_named(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data_folder(config) == tmp_path / "etl-data"
    monkeypatch.setenv(DATA_VARIABLE, "/srv/etl")
    assert data_folder(config) == Path("/srv/etl")
    assert data_folder(config, tmp_path / "given") == tmp_path / "given"


def test_a_folder_is_for_one_run_and_nobody_else(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with locked(folder):
        assert folder.stat().st_mode & 0o777 == 0o700
        with pytest.raises(ConfigError, match="another etlctl run"), locked(folder):
            pass
    with locked(folder):
        pass


def test_whose_a_folder_is_can_be_asked(tmp_path: Path) -> None:
    assert owner_of(tmp_path / "nothing") is None
    with locked(tmp_path):
        assert owner_of(tmp_path) == os.getpid()
    assert owner_of(tmp_path) is None
    with locked(tmp_path):  # asking has not taken it
        pass
