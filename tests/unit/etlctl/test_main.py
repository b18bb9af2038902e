"""The command line: its commands, exit codes and manners."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis.exceptions import ConnectionError as RedisConnectionError

from common.errors import (
    ConfigError,
    EtlError,
    QueryRejected,
    SinkError,
    SourceUnavailable,
    StackError,
)
from etlctl.failures import exit_code_of
from etlctl.times import BadTime
from tests.support.secret_folders import Capture, run

CONFIG: dict[str, Any] = {
    "extract": {
        "prometheus_url": "http://prometheus:9090",
        "auth": {"username": "etl", "password_file": "prometheus-password"},
    },
    "load": {
        "influxdb": {"url": "http://influxdb:8086", "token": "t0ken", "org": "o", "bucket": "b"}
    },
}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in os.environ:
        if name.startswith("ETL"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    password = tmp_path / "prometheus-password"
    password.touch(0o600)
    password.write_text("pa55word\n", encoding="utf-8")
    file = tmp_path / "etl.yaml"
    file.write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    return file


def test_config_check_prints_what_is_in_force_and_no_secret(config: Path, capsys: Capture) -> None:
    code, out, err = run(capsys, "config", "check", "--config", str(config))
    assert code == 0
    effective = yaml.safe_load(out)
    assert effective["extract"]["auth"]["password_file"] == str(
        config.parent / "prometheus-password"
    )
    assert "password" not in effective["extract"]["auth"]
    assert effective["load"]["influxdb"]["token"] == "********"
    assert effective["extract"]["timeout"] == 30
    assert "is valid" in err
    assert "pa55word" not in out + err
    assert "t0ken" not in out + err


def test_config_check_as_json(config: Path, capsys: Capture) -> None:
    code, out, _ = run(capsys, "config", "check", "--json", "--config", str(config))
    document = json.loads(out)
    assert code == 0
    assert document["valid"] is True
    assert document["settings"]["load"]["influxdb"]["token"] == "********"
    assert "t0ken" not in out


def test_the_file_may_be_named_by_the_environment(
    config: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETL_CONFIG", str(config))
    assert run(capsys, "config", "check")[0] == 0


def test_every_problem_is_a_line_with_its_place(config: Path, capsys: Capture) -> None:
    config.write_text(
        "extract:\n  prometheus_url: http://p:9090\n  timeout: soon\nload:\n  influx: {}\n",
        encoding="utf-8",
    )
    code, out, err = run(capsys, "config", "check", "--config", str(config))
    assert code == 2
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"etlctl: {config}") for line in lines)
    assert "etl.yaml:3: extract.timeout" in err
    assert "Traceback" not in err

    code, out, err = run(capsys, "config", "check", "--json", "--config", str(config))
    document = json.loads(out)
    assert code == 2
    assert document["valid"] is False
    assert document["exit_code"] == 2  # as of every error
    assert len(document["problems"]) == 3


def test_a_secret_that_cannot_be_read_is_a_problem(config: Path, capsys: Capture) -> None:
    (config.parent / "prometheus-password").unlink()
    code, _, err = run(capsys, "config", "check", "--config", str(config))
    assert code == 2
    assert "password_file" in err


def test_advice_is_given_without_failing(config: Path, capsys: Capture) -> None:
    document = {**CONFIG, "transform": {"valid_metrics": ["nothing_we_extract"]}}
    config.write_text(yaml.safe_dump(document), encoding="utf-8")
    code, _, err = run(capsys, "config", "check", "--config", str(config))
    assert code == 0
    assert "note: " in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 2),
        (BadTime("x"), 2),
        (SourceUnavailable("x"), 3),
        (QueryRejected("x"), 3),
        (SinkError("x"), 3),
        (RedisConnectionError("x"), 3),
        (StackError("x"), 1),
        (EtlError("x"), 1),
    ],
)
def test_exit_codes(error: Exception, code: int) -> None:
    assert exit_code_of(error) == code


@pytest.mark.parametrize(
    "arguments",
    [
        ["verify", "--nonsense"],
        ["nonsense"],
        ["config"],
    ],
)
def test_a_wrong_command_line_ends_with_2(capsys: Capture, arguments: list[str]) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert "Usage" in out + err
    assert "Traceback" not in err


def test_help_of_every_command(capsys: Capture) -> None:
    for arguments in ([], ["verify"], ["status"], ["config"], ["config", "check"]):
        code, out, _ = run(capsys, *arguments, "--help")
        assert code == 0
        assert "Usage" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["once", "--query", "q", "--from", "-1h"],
        ["transform", "test", "x" * 300],
        ["init", "--config", "x" * 300],
        ["verify", "--config", ""],
        ["verify", "--config", "/"],
    ],
)
def test_a_path_that_cannot_be_one_is_told_in_a_sentence(
    config: Path, capsys: Capture, arguments: list[str]
) -> None:
    more = [] if "--config" in arguments else ["--config", "y" * 300]
    if arguments[0] == "transform":
        more = ["--config", str(config)]
    code, _, err = run(capsys, *arguments, *more)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "File name too long" in err or "cannot be read" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["verify"],
        ["verify", "--sealed"],
        ["once", "--query", "q"],
        ["coverage"],
        ["recount", "--to", "now"],
        ["extract", "again", "--query", "q", "--to", "now"],
        ["backfill"],
    ],
)
def test_what_is_no_time_is_told_before_a_server_is_asked(
    config: Path, capsys: Capture, arguments: list[str]
) -> None:
    # No name of a server in the configuration leads anywhere.
    code, _, err = run(capsys, *arguments, "--from", "soon", "--config", str(config))
    assert (code, err.partition(": give RFC 3339")[0]) == (
        2,
        "etlctl: --from: 'soon' is not a time",
    )
