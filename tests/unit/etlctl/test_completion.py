"""A real bash completes commands, options and values; zsh and fish are given what they ask for."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from devtools import PROJECT_ROOT
from tests.support.secret_folders import Capture, run

ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("ETL")}
_ASK = """\
set -eu
eval "$(etlctl completion bash)"
complete -p etlctl
COMP_WORDS=({words}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_etlctl_completion etlctl
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Where a shell finds the command by its name."""
    command = tmp_path / "etlctl"
    python = shlex.quote(sys.executable)
    command.write_text(f'#!/bin/sh\nexec {python} -m etlctl "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    return {**ENVIRON, "PATH": path, "PYTHONPATH": str(PROJECT_ROOT)}


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("etlctl sta", ["status", "stack"]),
        ("etlctl backfill pa", ["pause"]),
        ("etlctl status --wa", ["--watch"]),
        ("etlctl tap ''", ["raw", "points"]),
    ],
)
def test_bash(environ: dict[str, str], typed: str, offered: list[str]) -> None:
    ran = subprocess.run(
        ["bash", "--norc", "--noprofile", "-c", _ASK.format(words=typed)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    registered, *found = ran.stdout.splitlines()
    assert registered == "complete -o default -F _etlctl_completion etlctl"
    assert found == offered


@pytest.mark.parametrize(
    ("shell", "more", "said"),
    [
        ("zsh", {}, '"status":"Show whether all is well'),
        ("fish", {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}, "status\tShow whether all is well"),
    ],
)
def test_what_other_shells_ask(
    environ: dict[str, str], shell: str, more: dict[str, str], said: str
) -> None:
    asked = {"_ETLCTL_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": "etlctl stat"}
    ran = subprocess.run(
        ["etlctl"], env=environ | asked | more, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    assert said in ran.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script(capsys: Capture, shell: str) -> None:
    code, out, _ = run(capsys, "completion", shell)
    assert code == 0
    assert f"_ETLCTL_COMPLETE=complete_{shell}" in out


def test_another_shell_is_refused(capsys: Capture) -> None:
    code, _, err = run(capsys, "completion", "tcsh")
    assert code == 2
    assert "'bash', 'zsh', 'fish'" in err
