"""A signal in a service's first moments ends it, also where it is PID 1 without an init."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from common.exit_codes import ExitCode
from devtools import PROJECT_ROOT

SERVICES = ("exporter", "extractor", "loader", "simulator", "transformer", "verifier")
WAIT_SECONDS = 60
# A module of that name is found first, says so and goes on for ever.
_STUCK = """\
import os, time
os.write(1, b"importing")
while True:
    time.sleep(0.01)
"""
_PID_1 = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def start(service: str, folder: Path, before: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """A service that does not come further than its first import of another's package."""
    for name in ("redis", "prometheus_client", "pydantic", "structlog", "yaml"):
        (folder / f"{name}.py").write_text(_STUCK)
    return subprocess.Popen(
        [*before, sys.executable, "-m", f"services.{service}"],
        cwd=PROJECT_ROOT,
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_for_import(child: subprocess.Popen[bytes]) -> None:
    assert child.stdout
    assert child.stdout.read(len(b"importing")) == b"importing", child.communicate()


def can_unshare() -> bool:
    if not shutil.which("unshare"):
        return False
    return subprocess.run([*_PID_1, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("service", SERVICES)
def test_while_it_imports(service: str, number: signal.Signals, tmp_path: Path) -> None:
    with start(service, tmp_path) as child:
        wait_for_import(child)
        child.send_signal(number)
        _, errors = child.communicate(timeout=WAIT_SECONDS)
    assert (child.returncode, errors) == (ExitCode.OK, b"")


@pytest.mark.parametrize("service", SERVICES)
def test_as_pid_1(service: str, tmp_path: Path) -> None:
    if not can_unshare():
        pytest.skip("no namespace of processes can be made here (unshare --pid needs root)")
    with start(service, tmp_path, _PID_1) as unshare:
        wait_for_import(unshare)
        children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")
        (pid,) = map(int, children.read_text().split())
        assert Path(f"/proc/{pid}/status").read_text().count("NSpid:")
        os.kill(pid, signal.SIGTERM)
        try:
            _, errors = unshare.communicate(timeout=WAIT_SECONDS)
        finally:
            if unshare.poll() is None:
                os.kill(pid, signal.SIGKILL)
    assert (unshare.returncode, errors) == (ExitCode.OK, b"")
