"""The demo as an operator runs it: a process, a terminal that is none, signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
import yaml

from devtools import PROJECT_ROOT
from devtools.demo.run import RedisView
from devtools.servers.waiting import wait_until

DEADLINE_SECONDS = 45.0


class DemoProcess:
    """A running demo and what it has said so far."""

    def __init__(self, report: Path, seconds: float) -> None:
        environ = {
            key: value for key, value in os.environ.items() if not key.startswith(("ETL", "DEMO"))
        }
        self.report = report
        self.lines: list[str] = []
        options = ["--seconds", str(seconds), "--report", str(report)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "devtools.demo", *options],
            env={**environ, "PYTHONPATH": str(PROJECT_ROOT)},
            cwd=report.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as out:
            self.lines.extend(iter(out.readline, ""))

    @property
    def said(self) -> str:
        return "".join(self.lines)

    @property
    def run_dir(self) -> Path:
        """Known once it runs."""
        found = re.search(r"logs are in (\S+)/logs", self.said)
        assert found, self.said
        return Path(found[1])

    @property
    def document(self) -> Any:
        return json.loads(self.report.read_text(encoding="utf-8"))

    def wait_for(self, text: str) -> None:
        """Wait until it has said something that matches ``text``."""

        def seen() -> bool:
            assert self.process.poll() is None or self._reader.is_alive(), self.said
            return re.search(text, self.said) is not None

        wait_until(seen, deadline_seconds=DEADLINE_SECONDS, what=text)

    def end(self) -> int:
        """Wait for its end; its exit code."""
        code = self.process.wait(timeout=DEADLINE_SECONDS)
        self._reader.join(timeout=DEADLINE_SECONDS)
        return code

    def left_behind(self) -> list[str]:
        """Command lines of processes that still work in its folder."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            line = " ".join(process.info["cmdline"] or ())
            if str(self.run_dir) in line:
                found.append(line)
        return found

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.end()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[float], DemoProcess]]:
    started: list[DemoProcess] = []

    def begin(seconds: float) -> DemoProcess:
        started.append(DemoProcess(tmp_path / "demo.json", seconds))
        return started[-1]

    yield begin
    for demo in started:
        demo.close()


def test_a_demo_moves_samples_and_proves_it(start: Callable[[float], DemoProcess]) -> None:
    # Long enough that a window of every query is loaded, beside other tests too.
    demo = start(15)
    assert demo.end() == 0, demo.said
    figures = demo.document
    assert list(figures) == [
        "seconds",
        "setup_seconds",
        "source_samples",
        "sink_points",
        "mismatches",
        "dropped",
        "dead_letters",
        "ledger_imbalance",
        "services",
    ]
    assert figures["seconds"] >= 8
    assert figures["source_samples"] > 100
    assert figures["mismatches"] == figures["dead_letters"] == figures["ledger_imbalance"] == 0
    # Drops are those of the ledger, which may go on beyond the range compared.
    assert figures["sink_points"] <= figures["source_samples"]
    assert figures["sink_points"] + sum(figures["dropped"].values()) >= figures["source_samples"]
    assert figures["services"] == {
        "simulator": 1,
        "extractor": 1,
        "transformer": 2,
        "loader": 1,
    }
    assert "PROVEN: what Prometheus holds is what InfluxDB holds." in demo.said
    assert "start redis" in demo.said
    assert demo.left_behind() == []
    assert (demo.run_dir / "logs" / "loader-1.log").exists()


def test_ctrl_c_ends_an_endless_demo_which_sees_a_point_that_nobody_sent(
    start: Callable[[float], DemoProcess],
) -> None:
    demo = start(0)
    demo.wait_for(r"loaded [1-9]")
    with RedisView(demo.run_dir / "etl.yaml") as state:

        def covered() -> int | None:
            feeds = state.feeds().values()
            loaded_ms = min(feed.loaded_watermark_ms for feed in feeds)
            return loaded_ms if loaded_ms > max(feed.origin_ms for feed in feeds) else None

        covered_ms = wait_until(covered, deadline_seconds=DEADLINE_SECONDS, what="a common range")
    config = yaml.safe_load((demo.run_dir / "etl.yaml").read_text(encoding="utf-8"))
    influxdb = config["load"]["influxdb"]
    token = Path(influxdb["token_file"]).read_text(encoding="utf-8").strip()
    answer = requests.post(
        f"{influxdb['url']}/api/v2/write",
        params={"bucket": influxdb["bucket"], "org": influxdb["org"], "precision": "ms"},
        data=f"service_availability,job=ghost value=1 {covered_ms}",
        headers={"Authorization": f"Token {token}"},
        timeout=10,
    )
    assert answer.status_code == 204
    demo.process.send_signal(signal.SIGINT)
    assert demo.end() == 1, demo.said
    assert "NOT PROVEN" in demo.said
    assert demo.document["mismatches"] == 1
    assert demo.document["ledger_imbalance"] == 0
    assert demo.left_behind() == []


def test_an_interrupted_demo_leaves_nothing_behind(start: Callable[[float], DemoProcess]) -> None:
    demo = start(600)
    demo.wait_for("Running for 600 s")
    demo.process.send_signal(signal.SIGTERM)
    assert demo.end() == 130, demo.said
    assert "Interrupted" in demo.said
    assert "Traceback" not in demo.said
    assert not demo.report.exists()
    assert demo.left_behind() == []
    assert not (demo.run_dir / "secrets").exists()
