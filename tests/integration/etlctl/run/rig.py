"""``etlctl run`` as a process of the test's own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from redis import Redis
from redis.exceptions import RedisError

from common.secret_files import read_secret
from common.state.connection.redis_client import connect
from common.state.keys import Keys
from common.state.ledger import Ledger
from devtools import PROJECT_ROOT
from devtools.servers.binaries import Program
from devtools.servers.waiting import wait_until

PATIENCE_SECONDS = 60.0


def write_config(
    file: Path, prometheus_url: str, influx_url: str, database: str, **pipeline: Any
) -> Path:
    """An etl.yaml that names no Redis, at a quick pace."""
    config = {
        "extract": {
            "prometheus_url": prometheus_url,
            "timeout": 3,
            "window_lease_seconds": 8,
            "settle_seconds": 2.5,
            "initial_lookback_seconds": 5,
            "queries": [
                {"name": "health", "expr": "up", "step": 1},
                {"name": "itself", "select": '{job="prometheus",__name__=~"prometheus_.*"}'},
            ],
        },
        "load": {
            "influxdb": {
                "url": influx_url,
                "org": "o",
                "bucket": database,
                "timeout_seconds": 2,
            },
        },
        "pipeline": {
            "interval_seconds": 2,
            "entry_lease_seconds": 8,
            "watermark_seconds": 1,
            **pipeline,
        },
    }
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return file


def folder_with_redis(folder: Path, program: Program) -> Path:
    """A folder for PATH with a redis-server that finds its libraries."""
    folder.mkdir(exist_ok=True)
    script = folder / "redis-server"
    libraries = program.environment({}).get("LD_LIBRARY_PATH", "")
    script.write_text(
        f'#!/bin/sh\nLD_LIBRARY_PATH="{libraries}" exec "{program.path}" "$@"\n', encoding="utf-8"
    )
    script.chmod(0o755)
    return folder


class Run:
    """One ``etlctl run``; its output is read all the time."""

    def __init__(self, config: Path, path: str, *arguments: str) -> None:
        self.config, self.data = config, config.with_name(f"{config.stem}-data")
        self.environ = environment(path)
        self._lines: list[str] = []
        self._known = 0
        self.process = subprocess.Popen(
            [sys.executable, "-m", "etlctl", "run", "--config", str(config), *arguments],
            cwd=PROJECT_ROOT,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self._lines.append(line.rstrip("\n"))

    @property
    def output(self) -> str:
        return "\n".join(self._lines)

    def until_said(self, text: str, times: int = 1) -> None:
        """Wait until the output has a text; a process that has ended says no more."""

        def said() -> bool:
            ended = self.process.poll() is not None
            assert not ended or text in self.output, self.output
            return self.output.count(text) >= times

        self._until(said, f"{text!r} is said")

    def _until(self, condition: Any, what: str) -> None:
        try:
            wait_until(condition, deadline_seconds=PATIENCE_SECONDS, what=what, poll_seconds=0.1)
        except Exception as error:
            raise AssertionError(f"{error}\n{self.output}") from None

    def redis(self) -> Redis:
        address = json.loads((self.data / "redis.json").read_text(encoding="utf-8"))
        return connect(address["redis_url"], read_secret(address["redis_password_file"]))

    def loaded(self) -> int:
        """Samples loaded, by the ledger; 0 while Redis does not answer."""
        try:
            with self.redis() as redis:
                return Ledger(redis, Keys("etl")).audit().total.loaded
        except (RedisError, OSError):
            return 0

    def until_more_is_loaded(self) -> None:
        before = self._known = max(self._known, self.loaded())
        self._until(lambda: self.loaded() > before, "more is loaded")

    def pid_of(self, name: str) -> int:
        """Process id of the last process of that name, of those that run."""
        marks = {"redis": "redis-server"}
        mark = marks.get(name, f"services.{name}")
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for pid in children.read_text(encoding="ascii").split():
            if mark in Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8"):
                return int(pid)
        raise AssertionError(f"no process of {name}: {self.output}")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ends(self) -> int:
        """Its exit code."""
        code = self.process.wait(timeout=PATIENCE_SECONDS)
        self._reader.join(timeout=10)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()  # the kernel ends its children
        self.process.wait()

    def etlctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command with the same configuration."""
        return etlctl(self.environ, *arguments, "--config", str(self.config))


def etlctl(environ: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "etlctl", *arguments],
        cwd=PROJECT_ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def environment(path: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ETL")}
    return {**kept, "PATH": path}
