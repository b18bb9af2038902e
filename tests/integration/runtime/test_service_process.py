"""A service as a process of its own: exit codes, signals, deadline, HTTP, log."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from common.exit_codes import ExitCode
from tests.integration.runtime.rig import ETL_YAML, ROOT, WAIT_SECONDS, Start, get


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_it_finish_and_its_log_is_of_one_shape(
    start: Start, number: signal.Signals, tmp_path: Path
) -> None:
    process = start("loop", ETL__PIPELINE__LOG_FILE=f"{tmp_path}/logs/{{service}}.log")
    port = process.working()
    assert get(port, "/livez")[0] == 200
    assert get(port, "/readyz")[0] == 200
    assert "etl_health_status 1.0" in get(port, "/metrics")[1]
    process.child.send_signal(number)
    stopping = process.event("service_stopping")
    assert (stopping["reason"], stopping["drain_seconds"]) == (number.name, 25)
    stopped = process.event("service_stopped")
    assert (stopped["exit_code"], stopped["exit_name"]) == (0, "OK")
    assert process.code() == ExitCode.OK
    assert process.stderr() == ""
    logged = [line for line in process.seen if line != "working"]
    for line in logged:
        assert list(json.loads(line))[:4] == ["timestamp", "level", "service", "event"]
    assert process.events == [
        "service_started",
        "readiness_changed",
        "service_stopping",
        "service_stopped",
    ]
    # The log file gets what stdout gets.
    assert (tmp_path / "logs" / "loader.log").read_text().splitlines() == logged


def test_metrics_are_behind_a_password_where_one_is_set(start: Start, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text("open-sesame\n")
    process = start("loop", ETL__PIPELINE__METRICS_PASSWORD_FILE=str(secret))
    port = process.working()
    for login in ("", "prometheus:wrong", "prometheus:", "admin:open-sesame"):
        assert get(port, "/metrics", login) == (
            401,
            '{"error": "user name and password required"}\n',
        )
    assert "etl_health_status 1.0" in get(port, "/metrics", "prometheus:open-sesame")[1]
    for path in ("/livez", "/readyz", "/health"):
        assert get(port, path)[0] == 200
    process.child.terminate()
    assert process.code() == ExitCode.OK
    assert "open-sesame" not in "".join(process.seen)


def test_a_password_file_that_everybody_can_read_is_refused(start: Start, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("open-sesame\n")
    secret.chmod(0o644)
    process = start("loop", ETL__PIPELINE__METRICS_PASSWORD_FILE=str(secret))
    assert process.code() == ExitCode.CONFIG
    assert process.stderr() == (
        "environment variable ETL__PIPELINE__METRICS_PASSWORD_FILE: "
        f"pipeline.metrics_password_file: names {secret}, which every user can read (mode 0644): "
        "make it 0600\n"
    )


def test_a_second_signal_ends_it_at_once(start: Start) -> None:
    process = start("hang", ETL__PIPELINE__DRAIN_SECONDS="3600")
    process.working()
    process.child.terminate()
    process.event("service_stopping")
    process.child.terminate()
    assert process.code() == ExitCode.FORCED
    assert process.events[-1] == "service_forced"


def test_the_deadline_ends_what_never_rests(start: Start) -> None:
    process = start("busy", ETL__PIPELINE__DRAIN_SECONDS="0.3")
    process.working()
    process.child.terminate()
    assert process.code() == ExitCode.DRAIN_DEADLINE
    assert "drain_deadline_passed" in process.events


def test_the_deadline_releases_the_work_even_if_part_of_that_fails(start: Start) -> None:
    process = start("hang", ETL__PIPELINE__DRAIN_SECONDS="0.3")
    process.working()
    process.child.terminate()
    assert process.code() == ExitCode.DRAIN_DEADLINE
    assert process.events[-3:] == ["drain_deadline_passed", "sink_resumed", "exit_action_failed"]


def test_a_thread_left_behind_does_not_keep_the_process(start: Start) -> None:
    process = start("thread", ETL__PIPELINE__DRAIN_SECONDS="0.5")
    process.working()
    process.child.terminate()
    process.event("service_stopped")
    assert process.code() == ExitCode.DRAIN_DEADLINE


def test_a_log_that_nobody_reads_does_not_keep_the_process(tmp_path: Path) -> None:
    """Nor the work: it goes on, and ends as it should, while the pipe is full."""
    (tmp_path / "etl.yaml").write_text(ETL_YAML)
    reader, writer = os.pipe()
    capacity_bytes = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.runtime.service_under_test", "chatty"],
        cwd=ROOT,
        env={
            **os.environ,
            "ETL_CONFIG": str(tmp_path / "etl.yaml"),
            "ETL__PIPELINE__DRAIN_SECONDS": "0.3",
        },
        stdout=writer,
    )
    os.close(writer)
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        # Less than one line fits in any more.
        while _waiting_bytes(reader) < capacity_bytes - 600:
            assert child.poll() is None
            assert time.monotonic() < deadline
        child.terminate()
        assert child.wait(WAIT_SECONDS) == ExitCode.OK
    finally:
        child.kill()
        child.wait(WAIT_SECONDS)
        os.close(reader)


def _waiting_bytes(pipe: int) -> int:
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4), sys.byteorder)


def test_a_stop_from_within_is_a_stop(start: Start) -> None:
    process = start("from_within")
    assert process.code() == ExitCode.OK
    assert process.events[-1] == "service_stopped"


def test_livez_fails_when_the_loop_stalls(start: Start) -> None:
    # Time-outs of nothing, so that a loop may be declared dead soon.
    quick = {
        "ETL__EXTRACT__TIMEOUT": "0.01",
        "ETL__LOAD__INFLUXDB__TIMEOUT_SECONDS": "0.01",
        "ETL__PIPELINE__LIVE_SECONDS": "10",
    }
    stalled, moving = start("stall", **quick), start("loop", **quick)
    port = stalled.working()
    deadline = time.monotonic() + WAIT_SECONDS
    while get(port, "/livez")[0] != 503:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert json.loads(get(port, "/livez")[1])["live"] is False
    assert get(port, "/health")[0] == 503
    assert "etl_health_status 0.0" in get(port, "/metrics")[1]
    assert moving.working()


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_an_unexpected_error_is_one_line(start: Start, level: str) -> None:
    environ = {"ETL__LOAD__INFLUXDB__TOKEN": "hunter2", "ETL__PIPELINE__LOG_LEVEL": level}
    process = start("crash", **environ)
    failed = process.event("service_failed")
    assert (failed["level"], failed["error_type"]) == ("critical", "ZeroDivisionError")
    assert failed["error"] == "with ********"
    assert ("exception" in failed) is (level == "DEBUG")
    assert process.code() == ExitCode.ERROR
    assert process.stderr() == ""
    assert "hunter2" not in "".join(process.seen)


def test_a_failing_thread_is_one_line_and_the_loop_goes_on(start: Start) -> None:
    process = start("failing_thread")
    failed = process.event("thread_failed")
    assert (failed["thread"], failed["error_type"]) == ("helper", "SinkError")
    process.line(lambda line: line == "working")
    process.child.terminate()
    assert process.code() == ExitCode.OK
    assert process.stderr() == ""


def test_other_exit_codes(start: Start) -> None:
    dependency, unusable = start("dependency"), start("unusable")
    assert dependency.code() == ExitCode.DEPENDENCY
    assert unusable.code() == ExitCode.CONFIG
    assert unusable.stderr() == "load.influxdb.bucket: has no such bucket\n"
    assert unusable.events[-2:] == ["service_failed", "service_stopped"]


# What else can be wrong is in the unit tests of the configuration: they read it in the same way.
BAD_CONFIGS = [
    (
        "pipeline: {http_port: 1",
        "etl.yaml:1:24: is not YAML: expected ',' or '}', but got '<stream end>' "
        "(while parsing a flow mapping)",
    ),
    (
        ETL_YAML + "transfrom: {}\n",
        "etl.yaml:4: transfrom: is an unknown key: did you mean transform?",
    ),
]


@pytest.mark.parametrize(("text", "wanted"), BAD_CONFIGS)
def test_a_bad_configuration_is_one_line_and_exit_code_2(
    start: Start, tmp_path: Path, text: str, wanted: str
) -> None:
    (tmp_path / "etl.yaml").write_text(text)
    process = start("loop")
    assert process.code() == ExitCode.CONFIG
    assert process.seen == []
    assert process.stderr().replace(f"{tmp_path}/", "") == f"{wanted}\n"


def test_what_cannot_be_used_is_told_before_anything_starts(start: Start, tmp_path: Path) -> None:
    first = start("loop")
    port = first.working()
    cases = {
        start("loop", ETL__PIPELINE__HTTP_PORT=str(port)): (
            "pipeline.http_host and http_port: cannot listen on 127.0.0.1 port "
            f"{port}: Address already in use"
        ),
        start("loop", ETL__PIPELINE__LOG_FILE=str(tmp_path)): (
            "environment variable ETL__PIPELINE__LOG_FILE: pipeline.log_file: "
            f"names {tmp_path}, which is a directory"
        ),
        start("loop", ETL__NOPE="1"): "environment variable ETL__NOPE: nope: is an unknown key",
        start("loop", "--config", f"{tmp_path}/none.yaml"): (
            f"{tmp_path}/none.yaml: cannot be read: No such file or directory "
            "(name the file with --config or ETL_CONFIG)"
        ),
    }
    for process, wanted in cases.items():
        assert process.code() == ExitCode.CONFIG
        assert process.stderr() == f"{wanted}\n"


def test_version_and_help(start: Start) -> None:
    version, usage = start("loop", "--version"), start("loop", "--help")
    assert version.code() == 0
    assert version.seen[0].split(".")[0].isdigit()
    assert usage.code() == 0
    assert "--config PATH" in "\n".join(usage.seen)
