"""A service reads its configuration again, as a process of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from common.exit_codes import ExitCode
from devtools.servers.ports import free_port
from devtools.servers.waiting import wait_until
from tests.integration.runtime.rig import ETL_YAML, ROOT, WAIT_SECONDS, Process, Start, get

CHANGED = f"{ETL_YAML}transform: {{valid_metrics: [up]}}\n"
INVALID = f"{ETL_YAML}transfrom: {{}}\n"
PORT = "ETL__PIPELINE__HTTP_PORT"


def write(folder: Path, text: str) -> None:
    new = folder / "new.yaml"
    new.write_text(text)
    new.replace(folder / "etl.yaml")


def successful(port: int) -> str:
    return get(port, "/metrics")[1].partition("\netl_config_last_reload_successful ")[2].split()[0]


def begins_again(process: Process) -> dict[str, object]:
    """Its start, after an orderly end; it is the same process."""
    assert process.event("service_stopping")["reason"] == "reload"
    assert process.event("service_stopped")["exit_code"] == ExitCode.OK
    started = process.event("service_started")
    assert started["pid"] == process.child.pid
    return started


@pytest.mark.parametrize("asked", [True, False], ids=["SIGHUP", "by itself"])
def test_a_changed_file_begins_again_in_the_same_process(
    start: Start, tmp_path: Path, asked: bool
) -> None:
    port = free_port()
    process = start("loop", **{PORT: str(port)})
    assert process.working() == port
    write(tmp_path, CHANGED)
    if asked:
        process.child.send_signal(signal.SIGHUP)

    process.event("config_changed")
    assert begins_again(process)["port"] == port
    process.line(lambda line: line == "working")
    assert get(port, "/readyz")[0] == 200
    process.child.send_signal(signal.SIGTERM)
    assert process.code() == ExitCode.OK


def test_it_can_be_asked_many_times(start: Start, tmp_path: Path) -> None:
    process = start("loop")
    process.working()
    for number in range(3):
        write(tmp_path, f"{ETL_YAML}transform: {{valid_metrics: [m{number}]}}\n")
        process.child.send_signal(signal.SIGHUP)
        begins_again(process)
        process.line(lambda line: line == "working")
    process.child.send_signal(signal.SIGHUP)
    process.event("config_unchanged")
    process.child.send_signal(signal.SIGTERM)
    assert process.code() == ExitCode.OK
    assert process.events.count("config_changed") == 3


def test_an_invalid_file_is_refused_and_the_work_goes_on(start: Start, tmp_path: Path) -> None:
    process = start("loop")
    port = process.working()
    assert successful(port) == "1.0"
    write(tmp_path, INVALID)
    assert "transfrom: is an unknown key" in process.event("config_refused")["error"]
    assert successful(port) == "0.0"
    assert get(port, "/readyz")[0] == 200

    write(tmp_path, ETL_YAML)
    process.child.send_signal(signal.SIGHUP)
    process.event("config_unchanged")
    assert successful(port) == "1.0"
    process.child.send_signal(signal.SIGTERM)
    assert process.code() == ExitCode.OK
    assert process.events.count("config_refused") == 1
    assert process.events.count("service_started") == 1


def test_what_needs_a_restart_is_refused(start: Start, tmp_path: Path) -> None:
    process = start("loop")
    process.working()
    write(tmp_path, ETL_YAML.replace("{http_host", "{redis_namespace: other, http_host"))
    process.child.send_signal(signal.SIGHUP)
    error = process.event("config_refused")["error"]
    assert error == "pipeline.redis_namespace: was changed, which needs a restart"


def test_work_that_does_not_end_cannot_keep_it_from_beginning_again(
    start: Start, tmp_path: Path
) -> None:
    process = start("hang", ETL__PIPELINE__DRAIN_SECONDS="1")
    process.working()
    write(tmp_path, CHANGED)
    process.child.send_signal(signal.SIGHUP)
    process.event("drain_deadline_passed")
    assert process.event("service_started")["pid"] == process.child.pid


def test_who_asks_for_the_end_meanwhile_gets_it(start: Start, tmp_path: Path) -> None:
    process = start("slow", UNTIL=str(tmp_path / "until"))
    process.working()
    write(tmp_path, CHANGED)
    process.child.send_signal(signal.SIGHUP)
    process.event("service_stopping")
    process.child.send_signal(signal.SIGTERM)
    (tmp_path / "until").touch()
    assert process.code() == ExitCode.OK
    assert process.events.count("service_started") == 1


def test_a_terminal_that_is_gone_ends_it(tmp_path: Path) -> None:
    (tmp_path / "etl.yaml").write_text(ETL_YAML)
    master, slave = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.runtime.service_under_test", "loop"],
        cwd=ROOT,
        env={**os.environ, "ETL_CONFIG": str(tmp_path / "etl.yaml")},
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        # The terminal's SIGHUP goes to whom it belongs to.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
    )
    os.close(slave)
    with child:
        assert child.stdout
        try:
            wait_until(
                lambda: b"working" in child.stdout.readline(),  # type: ignore[union-attr]
                deadline_seconds=WAIT_SECONDS,
                what="the service works",
            )
            os.close(master)
            assert child.wait(WAIT_SECONDS) == ExitCode.OK
            assert b'"reason": "SIGHUP"' in child.stdout.read()
        finally:
            child.kill()
