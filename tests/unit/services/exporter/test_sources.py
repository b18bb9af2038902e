"""The log as a source, the thread that polls it, and what HTTP shows, with /metrics guarded."""

from __future__ import annotations

import base64
import http.client
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from common.errors import ConfigError
from common.runtime.basic_auth import BasicAuth
from common.runtime.http_server import HttpServer, service_routes
from common.runtime.readiness.health import Health
from devtools.servers.waiting import wait_until
from services.exporter.log_source import LogSource
from services.exporter.poller import GRACE_SECONDS, KeepOn, Poller
from services.exporter.series import PageCollector
from tests.support.captured_log import CapturedLog
from tests.support.etl_log_lines import line


class Clock:
    def __init__(self) -> None:
        self.now = 10.0

    def __call__(self) -> float:
        return self.now


class Rig:
    """A log source over a folder, with a clock of the test's own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.log = CapturedLog()
        self.ready: dict[str, tuple[bool, str]] = {}
        self.source = LogSource(
            path,
            self.log,
            self.set_ready,
            poll_seconds=1,
            silent_seconds=30,
            clock=self.clock,
            wall_clock=lambda: 1000.0 + self.clock.now,
        )

    def set_ready(self, name: str, ok: bool, detail: str) -> None:
        self.ready[name] = (ok, detail)

    def say(self, *lines: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(b"".join(lines))

    def step(self) -> float:
        return self.source.step(lambda: True)

    def value(self, name: str, *labels: str) -> float | None:
        page = self.source.page()
        return None if page is None else page.values.get(name, {}).get(labels)

    @property
    def events(self) -> list[dict[str, object]]:
        return self.log.lines


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "etl.jsonl")
    yield rig
    rig.source.close()


def test_the_end_of_a_run_that_was_thrown_away_unread_is_told(rig: Rig) -> None:
    """The next run begins at 1, so its numbers tell nothing of what is missing before."""
    rig.say(line(1, at=1005))
    rig.step()
    assert rig.value("etl_log_breaks_total") == 0
    rig.say(line(2, at=1006))
    os.truncate(rig.path, 0)
    rig.say(line(1, at=1007, run_id="b"))
    rig.step()
    assert rig.value("etl_records_total") == 20
    assert rig.value("etl_log_lines_missed_total") == 0
    assert rig.value("etl_log_breaks_total") == 1


def test_nothing_is_shown_before_the_log_was_read(rig: Rig) -> None:
    assert rig.source.page() is None


def test_the_log_becomes_series(rig: Rig) -> None:
    rig.say(line(1, at=1005), b"garbage\n", line(2, at=1008, failures=1), b'{"schema":7}\n')
    assert rig.step() == 1
    assert rig.value("etl_records_total") == 20
    assert rig.value("etl_health_status") == 1
    assert rig.value("etl_log_up") == 1
    assert rig.value("etl_log_lines_total") == 2
    assert rig.value("etl_log_lines_skipped_total", "not_json") == 1
    assert rig.value("etl_log_lines_skipped_total", "unknown_schema") == 1
    assert rig.value("etl_log_lines_skipped_total", "too_long") == 0
    assert rig.ready == {"log": (True, "")}
    assert [event["event"] for event in rig.events] == [
        "process_log_read",
        "process_log_lines_skipped",
    ]
    assert rig.events[1]["not_json"] == 1


def test_lines_skipped_are_logged_once(rig: Rig) -> None:
    rig.say(b"garbage\n")
    rig.step()
    rig.step()
    rig.say(b"garbage\n", b"garbage\n")
    rig.step()
    found = [event for event in rig.events if event["event"] == "process_log_lines_skipped"]
    assert [event["not_json"] for event in found] == [1, 2]


def test_a_missing_log_says_so_and_keeps_what_is_known(rig: Rig) -> None:
    rig.step()
    assert rig.value("etl_log_up") == 0
    assert rig.value("etl_log_read_failures_total", "missing") == 1
    assert rig.value("etl_records_total") is None
    assert rig.ready == {"log": (False, f"{rig.path} does not exist")}

    rig.say(line(1, at=1010))
    rig.step()
    assert rig.value("etl_log_up") == 1
    assert rig.ready["log"] == (True, "")

    rig.path.unlink()
    rig.clock.now += 31
    rig.step()
    assert rig.value("etl_log_up") == 0
    assert rig.value("etl_records_total") == 10
    assert rig.value("etl_health_status") == 0


def test_a_repeated_line_is_counted_as_that(rig: Rig) -> None:
    rig.say(line(1), line(2), line(1))
    rig.step()
    assert rig.value("etl_log_lines_skipped_total", "repeated") == 1
    assert rig.value("etl_records_total") == 20


def test_what_was_there_before_us_is_history_and_what_comes_is_news(rig: Rig) -> None:
    rig.say(line(1, at=500))
    rig.step()
    assert rig.value("etl_health_status") == 0
    rig.say(line(2, at=505))
    rig.step()
    assert rig.value("etl_health_status") == 1


def test_a_new_exporter_rebuilds_the_same_totals(rig: Rig, tmp_path: Path) -> None:
    rig.say(line(1, run_id="a"), line(2, run_id="a", failures=3))
    rig.step()
    rig.path.rename(tmp_path / "etl.jsonl.1")
    rig.say(line(1, run_id="b"), line(2, run_id="b"))
    rig.step()

    again = Rig(rig.path)
    again.step()

    for name in ("etl_records_total", "etl_failures_total", "etl_process_runs_total"):
        assert again.value(name) == rig.value(name)
    assert again.value("etl_records_total") == 40
    again.source.close()


def test_a_step_that_is_told_to_stop_publishes_nothing_half_read(rig: Rig) -> None:
    rig.say(line(1))
    assert rig.source.step(lambda: False) == 0
    assert rig.source.page() is None


# -- the thread -------------------------------------------------------------------------------


def test_the_poller_polls_until_stopped() -> None:
    stop, often = threading.Event(), threading.Event()
    count = 0

    def step(keep_on: KeepOn) -> float:
        nonlocal count
        count += 1
        if count == 3:
            often.set()
        return 0.001

    poller = Poller("test", step, stop)
    poller.start()
    assert often.wait(10)
    assert not poller.stuck()
    stop.set()
    poller.join(10)
    assert not poller.is_alive()
    assert poller.stuck()


def test_a_poller_without_progress_is_stuck() -> None:
    stop, begun, go_on = threading.Event(), threading.Event(), threading.Event()
    clock = Clock()

    def step(keep_on: KeepOn) -> float:
        begun.set()
        go_on.wait(20)
        keep_on()
        begun.clear()
        stop.wait(20)
        return 0.0

    poller = Poller("test", step, stop, clock)
    poller.start()
    assert begun.wait(10)
    assert not poller.stuck()
    clock.now += GRACE_SECONDS + 1
    assert poller.stuck()
    go_on.set()
    wait_until(lambda: not begun.is_set(), deadline_seconds=10, what="progress")
    assert not poller.stuck()
    stop.set()
    poller.join(10)


# -- HTTP -------------------------------------------------------------------------------------


@pytest.fixture
def server(rig: Rig) -> Iterator[HttpServer]:
    registry = CollectorRegistry()
    registry.register(PageCollector([rig.source.page]))
    auth = BasicAuth("prometheus", "open sesame")
    server = HttpServer("127.0.0.1", 0, service_routes(registry, Health(60), dict, auth))
    yield server
    server.close()


def ask(server: HttpServer, path: str, password: str | None = None) -> tuple[int, str | None, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    headers = {}
    if password is not None:
        credentials = base64.b64encode(f"prometheus:{password}".encode()).decode()
        headers["Authorization"] = f"Basic {credentials}"
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        challenge = response.headers.get("WWW-Authenticate")
        return response.status, challenge, response.read().decode()
    finally:
        connection.close()


def test_metrics_are_behind_a_password_and_health_is_open(rig: Rig, server: HttpServer) -> None:
    rig.say(line(1))
    rig.step()
    status, _, body = ask(server, "/metrics", "open sesame")
    assert status == 200
    assert "etl_records_total 10.0" in body
    for password in (None, "wrong", ""):
        status, challenge, body = ask(server, "/metrics", password)
        assert status == 401
        assert challenge == 'Basic realm="metrics", charset="UTF-8"'
        assert "etl_" not in body
    assert ask(server, "/metrics?name[]=etl_records_total")[0] == 401
    for path in ("/livez", "/readyz", "/health"):
        status, challenge, _ = ask(server, path)
        assert status in (200, 503)
        assert challenge is None


def test_a_port_in_use_is_told_by_our_names(server: HttpServer) -> None:
    with pytest.raises(ConfigError, match=r"^etl-metrics: http_host and http_port: cannot listen"):
        HttpServer(
            "127.0.0.1",
            server.port,
            service_routes(CollectorRegistry(), Health(1), dict),
            settings_names="etl-metrics: http_host and http_port",
        )
