"""A running pipeline of real processes, and what its tests check of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import requests
import yaml
from redis import Redis
from redis.exceptions import RedisError

from common.state.connection.redis_client import connect
from common.state.keys import Keys
from common.state.ledger import Audit, Ledger
from common.state.windows import FeedStatus, WindowSet
from devtools import PROJECT_ROOT
from devtools.servers.stack import LocalStack
from devtools.servers.waiting import wait_until

KEYS = Keys("etl")


class Pipeline:
    """A started stack with its services, seen from outside: Redis, the ledger, ``etlctl``."""

    patience_seconds = 45.0

    def __init__(
        self,
        stack: LocalStack,
        redis: Redis | None = None,
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.stack = stack
        # Of etlctl, beside the stack's etl.yaml.
        self.environ = environ
        self.redis: Redis = redis or connect(stack.redis.url)
        self.ledger = Ledger(self.redis, KEYS)
        self.windows = WindowSet(self.redis, KEYS)

    def audit(self) -> Audit:
        return self.ledger.audit()

    def feeds(self) -> dict[str, FeedStatus]:
        return self.windows.status()

    def loaded(self) -> int:
        return self.audit().total.loaded

    def until(
        self,
        condition: Callable[[], object],
        what: str,
        patience_seconds: float | None = None,
    ) -> None:
        """Wait for a condition; a Redis that is away meanwhile does not fulfil it."""
        patience_seconds = patience_seconds or self.patience_seconds

        def holds_now() -> object:
            try:
                return condition()
            except RedisError:
                return None

        wait_until(holds_now, deadline_seconds=patience_seconds, what=what, poll_seconds=0.1)

    def until_flowing(self, more_samples: int = 200) -> None:
        """Wait until that many more samples are loaded."""
        before = self.loaded()
        self.until(lambda: self.loaded() >= before + more_samples, "samples are loaded")

    def until_loaded_up_to(self, time_ms: int) -> None:
        """Wait until every feed is loaded up to an instant of Prometheus' time."""

        def reached() -> bool:
            feeds = self.feeds().values()
            return bool(feeds) and all(
                feed.reconciled and feed.loaded_watermark_ms >= time_ms for feed in feeds
            )

        self.until(reached, f"every feed is loaded up to {time_ms}")

    def until_sealed(self) -> None:
        """Wait until the sink has the seals of all windows that were loaded by now."""
        due = set(self.redis.hkeys(KEYS.seals_due)) | set(self.redis.hkeys(KEYS.seals))

        def sealed() -> bool:
            left = set(self.redis.hkeys(KEYS.seals_due)) | set(self.redis.hkeys(KEYS.seals))
            return not due & left

        self.until(sealed, "seals are written")

    def now_ms(self) -> int:
        found: Any = self.stack.prometheus.query("time()")  # a scalar: [time, value]
        return int(float(found[0]) * 1000)

    def prove(self, since_ms: int | None = None) -> dict[str, Any]:
        """Everything up to now is loaded, source and sink are equal, the ledger balances.

        From ``since_ms``, or from where the feeds began.
        """
        now_ms = self.now_ms()
        self.until_loaded_up_to(now_ms)
        audit = self.audit()
        assert audit.imbalance_samples == 0
        assert audit.lost_samples == 0
        assert [gap for feed in self.feeds() for gap in self.windows.gaps(feed)] == []
        origin_ms = since_ms or min(feed.origin_ms for feed in self.feeds().values())
        done = self.etlctl(
            "verify", "--from", str(origin_ms / 1000), "--to", str(now_ms / 1000), "--json"
        )
        assert done.returncode == 0, done.stdout + done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def etlctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("ETL")}
        return subprocess.run(
            [sys.executable, "-m", "etlctl", *arguments, "--config", str(self.stack.config_path)],
            cwd=PROJECT_ROOT,
            env={**environ, **self.environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def events(self, service: str) -> list[dict[str, Any]]:
        """The log lines of a service's processes."""
        return [
            json.loads(line)
            for process in self.stack.services[service]
            for line in Path(process.log_path).read_text().splitlines()
            if line.startswith("{")
        ]

    def bucket(self) -> str:
        """What holds the samples as they are."""
        found: str = self.config()["load"]["influxdb"]["bucket"]
        return found

    def write(self, line: str) -> None:
        """Write a point into the sink, past the pipeline; its time is in ms."""
        influx = self.stack.influx
        response = requests.post(
            f"{influx.url}/api/v2/write",
            params={"org": "o", "bucket": self.bucket(), "precision": "ms"},
            data=line,
            headers=influx.headers,
            timeout=20,
        )
        assert response.status_code == 204, response.text

    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load(self.stack.config_path.read_text())
        return found
