"""How a command that starts servers ends: with its exit code, or interrupted but cleaned up."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys
from devtools.servers.main import run_main

# A shell has its background jobs ignore it, and so would what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

def main(arguments):
    try:
        for name in arguments:
            os.kill(os.getpid(), signal.Signals[name])
        return len(arguments) + 3
    finally:
        print("cleaned up")

run_main(main)
"""


@pytest.mark.parametrize(
    ("arguments", "code"), [([], 3), (["SIGTERM"], 130), (["SIGINT"], 130)], ids=str
)
def test_the_end_of_a_command(arguments: list[str], code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "cleaned up\n", "")
