"""Results reach every terminal and pipe, and never change what a command ends with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from common.config import load_settings
from devtools import PROJECT_ROOT
from tests.support.secret_folders import Capture, run
from tests.support.settings_files import LOAD

CONFIG = f"""\
{LOAD}extract: {{prometheus_url: 'http://prometheus:9090'}}
transform: {{relabel: [{{target_label: größe, replacement: 😀}}]}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "etl.yaml"
    file.write_text(CONFIG, encoding="utf-8")
    return file


def etlctl(*arguments: str, encoding: str = "iso8859-5") -> subprocess.CompletedProcess[bytes]:
    """A process of its own, whose terminal has another encoding."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ETL")}
    changes = {"PYTHONPATH": str(PROJECT_ROOT), "PYTHONIOENCODING": encoding}
    return subprocess.run(
        [sys.executable, "-m", "etlctl", *arguments],
        env=environ | changes,
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("encoding", ["ascii", "iso8859-5", "utf-8"])
def test_help_is_shown_in_every_encoding(encoding: str) -> None:
    ran = etlctl("--help", encoding=encoding)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert b"Redis Streams" in ran.stdout


@pytest.mark.parametrize("encoding", ["ascii", "iso8859-5", "utf-8"])
def test_documents_can_be_read_whatever_the_encoding(config: Path, encoding: str) -> None:
    ran = etlctl("config", "check", "--config", str(config), encoding=encoding)
    assert ran.returncode == 0, ran.stderr
    again = config.parent / "again.yaml"
    again.write_text(ran.stdout.decode(encoding), encoding="utf-8")
    assert load_settings(again, {}) == load_settings(config, {})

    ran = etlctl("config", "check", "--json", "--config", str(config), encoding=encoding)
    assert ran.returncode == 0
    (rule,) = json.loads(ran.stdout.decode(encoding))["settings"]["transform"]["relabel"]
    assert (rule["target_label"], rule["replacement"]) == ("größe", "😀")


def test_an_error_is_shown_in_every_encoding(config: Path) -> None:
    config.write_text(f"{CONFIG}größe: 1\n", encoding="utf-8")
    named = config.rename(config.parent / "größe.yaml")
    ran = etlctl("config", "check", "--config", str(named))
    assert ran.returncode == 2
    assert b"gr\\xf6\\xdfe.yaml:4: " in ran.stderr
    assert b"Traceback" not in ran.stderr
    # A name that is not UTF-8 at all.
    ran = etlctl("config", "check", "--config", os.fsdecode(b"/none/\xff"), encoding="utf-8")
    assert ran.returncode == 2
    assert b"/none/\\udcff: cannot be read" in ran.stderr


def test_a_secret_is_shown_byte_by_byte(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    assert etlctl("secrets", "init", "--dir", str(folder)).returncode == 0
    (folder / "redis_loader_password").write_bytes("pässword\n".encode())
    ran = etlctl("secrets", "show", "redis_loader_password", "--dir", str(folder))
    assert (ran.returncode, ran.stdout) == (0, "pässword\n".encode())


def shell(config: Path, redirected: str) -> subprocess.CompletedProcess[bytes]:
    """``config check --json`` with its output somewhere else, as a shell does it."""
    command = f'"$0" -m etlctl config check --json --config "$1" {redirected}'
    return subprocess.run(
        ["sh", "-c", command, sys.executable, str(config)],
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("valid", "code"), [(True, 0), (False, 2)])
def test_what_nobody_reads_changes_no_exit_code(config: Path, valid: bool, code: int) -> None:
    if not valid:
        config.write_text("extract: {}\n", encoding="utf-8")
    command = [sys.executable, "-m", "etlctl", "config", "check", "--json", "--config", str(config)]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        ran = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (ran.returncode, ran.stderr) == (code, b"")
    for redirected in (">&-", "2>&-", ">&- 2>&-"):
        ran = shell(config, redirected)
        assert (ran.returncode, ran.stderr) == (code, b"")


def test_output_that_cannot_be_kept_is_an_error(config: Path) -> None:
    ran = shell(config, "> /dev/full")
    assert ran.returncode == 1
    assert ran.stderr == b"etlctl: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["status", "--config", "/none/etl.yaml"], 2, "/none/etl.yaml: cannot be read"),
        (["verify", "--config", "/none/etl.yaml"], 2, "/none/etl.yaml: cannot be read"),
        (["dead-letters", "list", "--config", "/none/etl.yaml"], 2, "/none/etl.yaml: cannot be"),
        (["simulate", "--for", "5m"], 2, "--for needs a scenario"),
        (["status", "--nonsense"], 2, "No such option: --nonsense"),
        (["status", "--config"], 2, "requires an argument"),
    ],
)
def test_an_error_is_a_document_too_where_json_is_wanted(
    capsys: Capture, arguments: list[str], code: int, problem: str
) -> None:
    command, *options = arguments
    # Last, so that an option without its value does not take it.
    wanted = [command, "--json", *options] if command != "dead-letters" else [*arguments, "--json"]
    found, out, err = run(capsys, *wanted)
    document = json.loads(out)
    assert (found, document["exit_code"]) == (code, code)
    assert len(document["problems"]) == 1
    assert problem in document["problems"][0]
    assert problem in err


def test_a_server_that_is_away_is_a_document_too(config: Path, capsys: Capture) -> None:
    document = yaml.safe_load(CONFIG) | {"pipeline": {"redis_url": "unix:///none/redis"}}
    config.write_text(yaml.safe_dump(document), encoding="utf-8")
    code, out, _ = run(capsys, "status", "--json", "--config", str(config))
    assert code == 2  # nothing can be told
    (problem,) = json.loads(out)["problems"]
    assert problem.startswith("Redis cannot be reached: ")


def test_there_is_one_document_where_a_command_says_itself_what_is_wrong(
    config: Path, capsys: Capture
) -> None:
    config.write_text("extract: {}\n", encoding="utf-8")
    code, out, err = run(capsys, "config", "check", "--json", "--config", str(config))
    assert (code, err) == (2, "")
    assert json.loads(out)["valid"] is False
