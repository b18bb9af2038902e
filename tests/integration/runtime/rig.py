"""The service under test as a process of its own."""

from __future__ import annotations

import base64
import http.client
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from devtools import PROJECT_ROOT

ROOT = PROJECT_ROOT
WAIT_SECONDS = 30

ETL_YAML = """\
extract: {prometheus_url: 'http://prometheus:9090'}
load: {influxdb: {url: 'http://influxdb:8086', org: o, bucket: b}}
pipeline: {http_host: 127.0.0.1}
"""


class Process:
    """The service under test, and what it writes."""

    def __init__(self, folder: Path, mode: str, *options: str, **environ: str) -> None:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("ETL_")}
        self.child = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.runtime.service_under_test", mode, *options],
            cwd=ROOT,
            env={**kept, "ETL_CONFIG": str(folder / "etl.yaml"), **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.seen: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.child.stdout
        for line in self.child.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line(self, wanted: Callable[[str], bool]) -> str:
        """Wait for a line of stdout."""
        while (line := self._lines.get(timeout=WAIT_SECONDS)) is not None:
            self.seen.append(line)
            if wanted(line):
                return line
        raise AssertionError(f"ended without such a line: {self.seen} {self.stderr()}")

    def event(self, name: str) -> dict[str, Any]:
        """Wait for an event in the log."""
        found: dict[str, Any] = json.loads(self.line(lambda line: f'"event": "{name}"' in line))
        return found

    def working(self) -> int:
        """Wait until the loop runs; the port."""
        port: int = self.event("service_started")["port"]
        self.line(lambda line: line == "working")
        return port

    def code(self) -> int:
        """Wait for the end."""
        code = self.child.wait(WAIT_SECONDS)
        while (line := self._lines.get(timeout=WAIT_SECONDS)) is not None:
            self.seen.append(line)
        return code

    @property
    def events(self) -> list[str]:
        """Names of the events so far."""
        return [json.loads(line)["event"] for line in self.seen if line.startswith("{")]

    def stderr(self) -> str:
        """What was written to stderr, after the end."""
        assert self.child.stderr
        return self.child.stderr.read()


Start = Callable[..., Process]


def get(port: int, path: str, login: str = "") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
    credentials = base64.b64encode(login.encode()).decode()
    headers = {"Authorization": f"Basic {credentials}"} if login else {}
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()
