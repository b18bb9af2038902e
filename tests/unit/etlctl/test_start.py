"""How ``etlctl`` starts: what it imports, what it knows of its commands, how it names itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from common.version import project_version
from devtools import PROJECT_ROOT
from etlctl.commands import COMMANDS, app_with
from tests.support.secret_folders import Capture, run
from tests.support.settings_files import MINIMAL

# What takes longer to import than the command line itself, or is of use to few commands.
HEAVY = {
    *("numpy", "polars", "requests", "rich", "redis", "pydantic", "yaml", "re2", "msgspec"),
    *("cryptography", "bcrypt", "influxdb_client", "urllib3", "prometheus_client", "rq", "lz4"),
    *("asyncio", "importlib.metadata"),
}
NEEDED_FOR_REDIS = {"redis", "asyncio", "cryptography", "importlib.metadata"}
NEEDED_FOR_SETTINGS = {"pydantic", "yaml", "re2", "importlib.metadata"}

_RUN = """\
import sys
from etlctl.__main__ import main
try:
    main()
finally:
    print("imported:", *sys.modules, file=sys.stderr)
"""


def imported_by(folder: Path, *arguments: str) -> set[str]:
    """The heavy modules that a run of the command has imported."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ETL")}
    ran = subprocess.run(
        [sys.executable, "-c", _RUN, *arguments],
        env={**environ, "PYTHONPATH": str(PROJECT_ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("imported:"), ran.stderr
    return HEAVY & set(last.split())


_CTRL_C_AT_AN_IMPORT = """\
import os, signal, sys
class CtrlC:
    def find_spec(self, name, *_):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, CtrlC())
from etlctl.__main__ import main
main()
"""


def test_a_ctrl_c_before_the_command_has_begun_ends_it_without_a_traceback(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _CTRL_C_AT_AN_IMPORT, "status"],
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (-signal.SIGINT, b"", b"")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []])
def test_without_a_command_nothing_heavy_is_imported(tmp_path: Path, arguments: list[str]) -> None:
    allowed = {"importlib.metadata"} if arguments == ["--version"] else set()
    assert imported_by(tmp_path, *arguments) <= allowed


def test_status_imports_what_redis_and_the_settings_need(tmp_path: Path) -> None:
    (tmp_path / "etl.yaml").write_text(
        f"{MINIMAL}pipeline: {{redis_url: 'unix://{tmp_path}/none'}}\n", encoding="utf-8"
    )
    imported = imported_by(tmp_path, "status", "--config", "etl.yaml")
    assert "redis" in imported
    assert imported <= NEEDED_FOR_REDIS | NEEDED_FOR_SETTINGS


def test_config_check_needs_no_client(tmp_path: Path) -> None:
    (tmp_path / "etl.yaml").write_text(MINIMAL, encoding="utf-8")
    assert imported_by(tmp_path, "config", "check", "--config", "etl.yaml") <= NEEDED_FOR_SETTINGS


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_itself(name: str) -> None:
    def listed(wanted: list[str]) -> str:
        found = typer.main.get_command(app_with(wanted))
        return str(found.commands[name].get_short_help_str(1_000))  # type: ignore[attr-defined]

    assert listed([name]) == listed([])


def test_no_list_of_commands_cuts_a_sentence_at_80_columns() -> None:
    def groups(command: Any) -> Iterator[Any]:
        if inner := getattr(command, "commands", None):
            yield command
            for one in inner.values():
                yield from groups(one)

    found = list(groups(typer.main.get_command(app_with(COMMANDS))))
    assert len(found) > 5
    for group in found:
        # What click has of 80 columns: margins on both sides, the longest name, a gap.
        room_chars = 80 - 2 - 6 - max(map(len, group.commands))
        for command in group.commands.values():
            sentence = command.get_short_help_str(1_000)
            assert sentence and command.get_short_help_str(room_chars) == sentence, command.name


def test_the_version(capsys: Capture) -> None:
    assert run(capsys, "--version") == (0, f"etlctl {project_version()}\n", "")
