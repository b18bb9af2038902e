"""The simulator as a process: its HTTP, its logs, its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from localstack import PROJECT_ROOT
from localstack.service_process import ServiceProcess
from localstack.waiting import wait_until

PASSWORD = "open sesame"
AUTH = ("prometheus", PASSWORD)


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory, log_dir: Path) -> Iterator[ServiceProcess]:
    folder = tmp_path_factory.mktemp("simulator")
    password_file = folder / "password"
    password_file.write_text(PASSWORD + "\n", encoding="utf-8")
    with ServiceProcess(
        "simulator",
        folder,
        log_dir=log_dir,
        environ={
            "SIMULATOR_PASSWORD_FILE": str(password_file),
            "SIMULATOR_BUSIEST_RATE_PER_SECOND": "500",
        },
        environ_prefix="SIMULATOR_",
        ready_path="/health",
    ) as server:
        yield server


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


def test_speaks_the_three_families_and_counts_on(simulator: ServiceProcess) -> None:
    first = scrape(simulator)
    assert set(first) == {
        "http_requests_total",
        "http_request_duration_seconds_bucket",
        "http_request_duration_seconds_count",
        "http_request_duration_seconds_sum",
        "http_requests_in_flight",
    }
    assert ("/api/items", "GET", "200") in first["http_requests_total"]

    def more() -> bool:
        now = scrape(simulator)["http_requests_total"]
        before = first["http_requests_total"]
        assert all(now[labels] >= value for labels, value in before.items())
        return sum(now.values()) > sum(before.values())

    wait_until(more, deadline_seconds=20, what="more requests")


@pytest.mark.parametrize("auth", [None, ("prometheus", "wrong"), ("wrong", PASSWORD)])
def test_metrics_are_not_for_everybody(
    simulator: ServiceProcess, auth: tuple[str, str] | None
) -> None:
    answer = requests.get(f"{simulator.url}/metrics", auth=auth, timeout=10)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
    assert b"http_requests" not in answer.content


def test_health_is_open_and_there_is_nothing_else(simulator: ServiceProcess) -> None:
    health = requests.get(f"{simulator.url}/health", timeout=10)
    assert (health.status_code, health.json()) == (200, {"status": "ok"})
    assert requests.head(f"{simulator.url}/health", timeout=10).status_code == 200
    for path in ("/", "/metrics/", "/metricsx", "/health/x", "/../etc/passwd"):
        assert requests.get(f"{simulator.url}{path}", auth=AUTH, timeout=10).status_code == 404
    assert requests.post(f"{simulator.url}/metrics", auth=AUTH, timeout=10).status_code == 501


def test_a_client_that_hangs_up_or_talks_rubbish_does_no_harm(simulator: ServiceProcess) -> None:
    for bytes_sent in (b"", b"GET /met", b"\x00\xff\r\n\r\n", b"GET /metrics HTTP/1.1\r\n"):
        with socket.create_connection(("127.0.0.1", simulator.port), timeout=10) as client:
            client.sendall(bytes_sent)
    assert scrape(simulator)
    assert "Traceback" not in simulator.log_tail(1000)


def test_stays_small(simulator: ServiceProcess) -> None:
    scrape(simulator)
    assert simulator.rss_bytes() <= 50 * 2**20


def test_ends_in_order_and_logs_json(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD, encoding="utf-8")
    server = ServiceProcess(
        "simulator",
        tmp_path,
        environ={"SIMULATOR_PASSWORD_FILE": str(tmp_path / "password")},
        environ_prefix="SIMULATOR_",
        ready_path="/health",
    )
    for end in (signal.SIGTERM, signal.SIGINT):
        server.start()
        server.signal(end)
        assert server.wait(20) == 0
        events = [json.loads(line) for line in server.log_tail(100).splitlines()]
        assert [event["event"] for event in events] == [
            "service_started", "service_stopping", "service_stopped",
        ]  # fmt: skip
        assert events[0]["port"] == server.port
        assert list(events[0])[:4] == ["timestamp", "level", "service", "event"]
        assert all(event["service"] == "simulator" and event["timestamp"] for event in events)


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
        (run("--password-file", "/dev/null", SIMULATOR_SEED="x"), "SIMULATOR_SEED (--seed)"),
        (run("--password-file", "/dev/null"), "it is empty"),
    ):
        assert done.returncode == 2
        assert done.stdout == ""
        assert words in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_one_line_and_exit_2(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = run(
            "--password-file", str(tmp_path / "password"),
            "--http-host", "127.0.0.1", "--http-port", port,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == f"simulator: cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_imports_nothing_that_its_image_lacks() -> None:
    code = (
        "import sys, services.simulator.__main__ as _;"
        "print(sorted({'redis', 'rq', 'numpy', 'polars', 'requests', 'influxdb_client', 'msgspec',"
        " 'psutil', 'typer', 'localstack', 'services.extractor'} & set(sys.modules)))"
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
