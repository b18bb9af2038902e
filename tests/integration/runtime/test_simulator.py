"""The simulator as a process: its HTTP, its logs, its end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from common.runtime.metrics_table import STANDARD_METRICS
from devtools import PROJECT_ROOT
from devtools.servers.service_process import ServiceProcess
from devtools.servers.waiting import wait_until
from tests.support.simulator_world import check_line

PASSWORD = "open sesame"
AUTH = ("prometheus", PASSWORD)


# So quick that everything happens within seconds: a file each 30 ms, a failure each 100 ms.
QUICK = {
    "SIMULATOR_BUSIEST_RATE_PER_SECOND": "500",
    "SIMULATOR_RECORDS_PER_SECOND": "10000",
    "SIMULATOR_FAILURES_PER_MINUTE": "600",
    "SIMULATOR_BURST_FAILURES_PER_MINUTE": "6000",
    "SIMULATOR_HEARTBEAT_SECONDS": "0.2",
}

Make = Callable[..., ServiceProcess]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, log_dir: Path) -> Make:
    """``make(**environ)`` → a simulator that is not started, its log in ``etl.jsonl``."""

    def make(**environ: str) -> ServiceProcess:
        folder = tmp_path_factory.mktemp("simulator")
        password(folder)
        return ServiceProcess(
            "simulator",
            folder,
            name=folder.name,
            log_dir=log_dir,
            environ={
                "SIMULATOR_PASSWORD_FILE": str(folder / "password"),
                "SIMULATOR_ETL_LOG_FILE": str(folder / "log" / "etl.jsonl"),
                **QUICK,
                **environ,
            },
            environ_prefix="SIMULATOR_",
            ready_path="/health",
        )

    return make


@pytest.fixture(scope="module")
def simulator(make: Make) -> Iterator[ServiceProcess]:
    with make() as server:
        yield server


def password(folder: Path) -> Path:
    file = folder / "password"
    file.touch(mode=0o600)
    file.write_text(PASSWORD + "\n", encoding="utf-8")
    return file


def log_of(simulator: ServiceProcess) -> Path:
    return simulator.work_dir / "log" / "etl.jsonl"


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log, each held to the contract."""
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines(keepends=True)]
    for line in lines:
        check_line(line)
    return lines


def switch(simulator: ServiceProcess, *arguments: str) -> str:
    """``etlctl simulate``, as an operator runs it."""
    done = subprocess.run(
        [
            sys.executable, "-m", "etlctl", "simulate", *arguments, "--url", simulator.url,
            "--password-file", str(simulator.work_dir / "password"),
        ],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )  # fmt: skip
    return done.stdout


def scrape(simulator: ServiceProcess) -> dict[str, dict[tuple[str, ...], float]]:
    """Sample name → label values in order of their names → value."""
    answer = requests.get(f"{simulator.url}/metrics", auth=AUTH, timeout=10)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    samples: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            samples.setdefault(sample.name, {})[labels] = sample.value
    return samples


def test_speaks_of_the_application_and_of_the_process(simulator: ServiceProcess) -> None:
    first = scrape(simulator)
    assert set(first) == {
        *(spec.name for spec in STANDARD_METRICS),
        "http_requests_total",
        "http_request_duration_seconds_bucket",
        "http_request_duration_seconds_count",
        "http_request_duration_seconds_sum",
        "http_requests_in_flight",
    }
    assert ("/api/items", "GET", "200") in first["http_requests_total"]

    def more() -> bool:
        now = scrape(simulator)
        for name in ("http_requests_total", "etl_errors_by_type_total", "etl_records_total"):
            assert all(now[name][labels] >= value for labels, value in first[name].items())
        return all(
            sum(now[name].values()) > sum(first[name].values())
            for name in ("http_requests_total", "etl_errors_by_type_total", "etl_records_total")
        )

    wait_until(more, deadline_seconds=20, what="more requests, records and failures")


def test_a_client_that_hangs_up_or_talks_rubbish_does_no_harm(simulator: ServiceProcess) -> None:
    for bytes_sent in (b"", b"GET /met", b"\x00\xff\r\n\r\n", b"GET /metrics HTTP/1.1\r\n"):
        with socket.create_connection(("127.0.0.1", simulator.port), timeout=10) as client:
            client.sendall(bytes_sent)
    assert scrape(simulator)
    assert "Traceback" not in simulator.log_tail(1000)


def test_stays_small(simulator: ServiceProcess) -> None:
    for _ in range(20):
        scrape(simulator)
    assert simulator.rss_bytes() < 36_000_000


def test_logs_what_it_does(simulator: ServiceProcess) -> None:
    def told() -> list[dict[str, Any]] | None:
        # The last line may be half written at this moment.
        whole = log_of(simulator).read_text("utf-8").rpartition("\n")[0]
        lines = [json.loads(line) for line in whole.splitlines()]
        events = {line["event"] for line in lines}
        return lines if events >= {"file_processed", "file_failed", "heartbeat"} else None

    lines = wait_until(told, deadline_seconds=20, what="files, failures and heartbeats")
    for line in lines:
        check_line(line)
    assert lines[0]["event"] == "process_started"
    assert lines[0]["pid"] == simulator.pid


def test_every_scenario_shows_and_is_gone_again(simulator: ServiceProcess) -> None:
    def health() -> int:
        return requests.get(f"{simulator.url}/health", timeout=10).status_code

    def value(name: str) -> float:
        return scrape(simulator)[name][()]

    def wait(condition: Callable[[], bool], what: str) -> None:
        wait_until(condition, deadline_seconds=20, what=what)

    def ask(scenario: str) -> None:
        answer = requests.post(
            f"{simulator.url}/scenario", auth=AUTH, data={"scenario": scenario}, timeout=10
        )
        assert answer.status_code == 200

    assert switch(simulator, "outage", "--for", "5m").startswith("outage: since ")
    assert health() == 503
    assert value("etl_health_status") == 0
    ask("stall")
    assert health() == 200
    stalled = value("etl_files_total")
    wait(lambda: value("etl_seconds_since_last_success") > 1, "a stall")
    assert value("etl_files_total") == stalled
    usual = value("etl_avg_processing_time_seconds")
    ask("slow")
    wait(lambda: value("etl_avg_processing_time_seconds") > 1.3 * usual, "slow files")
    ask("low-throughput")
    ask("failure-burst")
    failures = value("etl_failures_total")
    wait(lambda: value("etl_failures_total") > failures + 50, "many failures")
    assert switch(simulator, "recover").startswith("normal: ")
    wait(lambda: value("etl_seconds_since_last_success") < 1, "success")

    def told() -> bool:
        text = log_of(simulator).read_text("utf-8")
        lines = [json.loads(line) for line in text.rpartition("\n")[0].splitlines()]
        changes = [line for line in lines if line["event"] == "scenario_changed"]
        return [line["scenario"] for line in changes] == [
            "outage", "stall", "slow", "low-throughput", "failure-burst", "normal",
        ]  # fmt: skip

    wait(told, "the scenarios in the log")


def test_ends_in_order_and_logs_json(make: Make) -> None:
    server = make()
    for end in (signal.SIGTERM, signal.SIGINT):
        server.start()
        wait_until(
            lambda: "service_started" in server.log_tail(10_000),
            deadline_seconds=20,
            what="it says that it has started",
        )
        server.signal(end)
        assert server.wait(20) == 0
        told = [json.loads(line) for line in server.log_tail(10_000).splitlines()]
        for line in told:
            assert list(line)[:4] == ["timestamp", "level", "service", "event"]
            assert line["service"] == "simulator"
        about_itself = [line for line in told if line["event"].startswith("service_")]
        assert [line["event"] for line in about_itself] == [
            "service_started", "service_stopping", "service_stopped",
        ]  # fmt: skip
        assert about_itself[0]["port"] == server.port
        # What the log holds, and heartbeats as far as they are no news, stdout has too.
        run_id = next(line["run_id"] for line in told if "run_id" in line)
        mine = [line for line in lines_of(log_of(server)) if line["run_id"] == run_id]
        assert [line for line in told if "run_id" in line] == [
            line for line in mine if line["level"] != "debug"
        ]
    starts = [line for line in lines_of(log_of(server)) if line["event"] == "process_started"]
    ends = [line for line in lines_of(log_of(server)) if line["event"] == "process_stopped"]
    assert [line["run_id"] for line in starts] == [line["run_id"] for line in ends]
    assert len({line["run_id"] for line in starts}) == 2
    assert lines_of(log_of(server))[-1]["event"] == "process_stopped"


def test_killed_and_started_it_goes_on_with_a_new_run(make: Make) -> None:
    server = make(SIMULATOR_ETL_LOG_MAX_BYTES="16384", SIMULATOR_ETL_LOG_BACKUPS="100")
    log = log_of(server)

    def log_bytes() -> int:
        for _ in range(100):
            # A file may be renamed between the two looks.
            with contextlib.suppress(FileNotFoundError):
                return sum(file.stat().st_size for file in log.parent.iterdir())
        raise AssertionError("the log is rotated without end")

    for _ in range(3):
        server.start()
        before = log_bytes()
        wait_until(lambda: log_bytes() > before + 20_000, deadline_seconds=20, what="lines")  # noqa: B023
        server.kill()
    # As if the last one had been caught in the middle of a line.
    with log.open("a", encoding="utf-8") as file:
        file.write('{"timestamp": "20')
    with server:
        pass
    files = sorted(log.parent.iterdir(), key=lambda file: -int(file.suffix.strip(".jsonl") or 0))
    assert len(files) > 3
    lines, damaged = [], 0
    for text in "".join(file.read_text("utf-8") for file in files).splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            damaged += 1
    assert damaged == 1
    runs: dict[str, int] = {}
    for line in lines:
        check_line(line)
        assert line["sequence"] == runs.get(line["run_id"], 0) + 1
        runs[line["run_id"]] = line["sequence"]
    assert len(runs) == 4
    assert sum(line["event"] == "process_stopped" for line in lines) == 1


def test_a_full_disk_is_unhealthy_and_nothing_worse(make: Make) -> None:
    server = make(SIMULATOR_ETL_LOG_FILE="/dev/full")
    server.start(wait=False)
    try:

        def reason() -> str | None:
            with contextlib.suppress(requests.ConnectionError):
                answer = requests.get(f"{server.url}/health", timeout=10)
                return answer.json().get("reason") if answer.status_code == 503 else None
            return None

        told = wait_until(reason, deadline_seconds=20, what="an answer of 503")
        assert told == "the log cannot be written"
        assert scrape(server)["etl_health_status"][()] == 0
        assert "No space left on device" in server.log_tail(1000)
    finally:
        server.signal(signal.SIGTERM)
        assert server.wait(20) == 0


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.simulator", *arguments],
        cwd=PROJECT_ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_configuration_error_is_one_line_and_exit_2(tmp_path: Path) -> None:
    for done, words in (
        (run(), "SIMULATOR_PASSWORD_FILE (--password-file): must be set"),
        (run("--password-file", str(tmp_path / "none")), "No such file or directory"),
        (
            run("--password-file", str(password(tmp_path)), SIMULATOR_SEED="x"),
            "SIMULATOR_SEED (--seed)",
        ),
        (run("--password-file", "/dev/null"), "every user can read"),
        (
            run("--password-file", str(password(tmp_path)), "--etl-log-file", "/proc/x/etl.jsonl"),
            "SIMULATOR_ETL_LOG_FILE (--etl-log-file): cannot write /proc/x/etl.jsonl: No such",
        ),
    ):
        assert done.returncode == 2
        assert done.stdout == ""
        assert words in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_one_line_and_exit_2(tmp_path: Path) -> None:
    password(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = run(
            "--password-file", str(tmp_path / "password"),
            "--http-host", "127.0.0.1", "--http-port", port,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == (
        "simulator: http_host and http_port: cannot listen on 127.0.0.1 port "
        f"{port}: Address already in use\n"
    )


def test_imports_nothing_that_its_image_lacks() -> None:
    code = (
        "import sys, services.simulator.__main__ as _;"
        "print(sorted({'redis', 'rq', 'numpy', 'polars', 'requests', 'influxdb_client', 'msgspec',"
        " 'psutil', 'typer', 'devtools', 'services.extractor'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.strip() == "[]"
