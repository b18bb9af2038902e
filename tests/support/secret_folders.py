"""Runs of ``etlctl`` in this process, and what a directory of secrets holds."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest

from etlctl.__main__ import main

Capture = pytest.CaptureFixture[str]
Run = Callable[..., tuple[int, str, str]]


def run(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    # A command may set variables, as its process ends with it.
    with patch.dict(os.environ), pytest.raises(SystemExit) as caught:
        main(arguments)
    printed = capsys.readouterr()
    code = caught.value.code
    return (code if isinstance(code, int) else 0), printed.out, printed.err


def contents(folder: Path) -> dict[str, bytes]:
    """Name → content of every file."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def mode(path: Path) -> int:
    """Permission bits."""
    return stat.S_IMODE(path.stat().st_mode)
