"""A source and a sink with known content for the tests of ``etlctl verify``.

The sink is filled by an encoder of its own, which shares no code with the pipeline.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from devtools.servers.influx_server import InfluxServer
from devtools.servers.prometheus_server import PrometheusServer
from devtools.servers.redis_server import RedisServer
from devtools.servers.victoria_metrics_server import VictoriaMetricsServer
from etlctl.__main__ import main

# Six hours after an aligned instant, so that history may be backfilled at it.
STEP_MS = 15_000
SAMPLES = 240

SELECT = {"name": "raw", "select": '{job="app"}'}
EXPR = {"name": "by_host", "expr": 'sum by (host) (load{job="app"})', "step": "30s"}

Series = tuple[str, tuple[tuple[str, str], ...]]
Point = tuple[Series, int, float]


def history(start_ms: int) -> list[tuple[str, dict[str, str], list[tuple[int, float]]]]:
    """Three metrics of job ``app`` and one of another job; every odd float there is."""
    times = [start_ms + STEP_MS * n for n in range(1, SAMPLES + 1)]
    odd = [math.nan, math.inf, -math.inf, -0.0, 0.0, 5e-324, 1e21, 2.0**63, 0.1 + 0.2, -1e-300]
    seen = [odd[n % len(odd)] for n in range(SAMPLES)]
    return [
        ("load", {"job": "app", "host": "a"}, [(t, math.sqrt(t % 997)) for t in times]),
        ("load", {"job": "app", "host": "b c,d=e"}, [(t, -float(t)) for t in times]),
        ("odd", {"job": "app"}, list(zip(times, seen, strict=True))),
        ("late", {"job": "app", "host": "a"}, [(t + 7, 1.0) for t in times[SAMPLES // 2 :]]),
        ("load", {"job": "other", "host": "a"}, [(t, 3.0) for t in times]),
    ]


def open_metrics(start_ms: int) -> str:
    """The history as promtool takes it."""
    lines: list[str] = []
    by_name: dict[str, list[str]] = {}
    for name, labels, points in history(start_ms):
        inside = ",".join(f"{key}={json.dumps(value)}" for key, value in labels.items())
        by_name.setdefault(name, []).extend(
            f"{name}{{{inside}}} {_number(value)} {time_ms / 1_000:.3f}"
            for time_ms, value in points
        )
    for name, samples in by_name.items():
        lines += [f"# TYPE {name} gauge", *samples]
    return "\n".join([*lines, "# EOF", ""])


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return repr(value).replace("inf", "Inf")


def line(point: Point) -> str:
    """One line of line protocol, in milliseconds."""
    (measurement, tags), time_ms, value = point
    head = "".join([measurement, *(f",{_escape(k)}={_escape(v)}" for k, v in tags)])
    return f"{head} value={value!r} {time_ms}"


def _escape(text: str) -> str:
    return "".join(f"\\{char}" if char in ",= " else char for char in text)


@dataclass
class World:
    """Servers, a database, a configuration file; and the command."""

    prometheus: PrometheusServer | VictoriaMetricsServer
    influx: InfluxServer
    redis: RedisServer
    database: str
    namespace: str
    folder: Path
    start_ms: int
    queries: list[dict[str, Any]] = field(default_factory=lambda: [SELECT])
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def end_ms(self) -> int:
        return self.start_ms + STEP_MS * (SAMPLES + 1)

    def config(self) -> Path:
        """Write and name the configuration."""
        document: dict[str, Any] = {
            "extract": {"prometheus_url": self.prometheus.url, "queries": self.queries},
            "load": {
                "influxdb": {
                    "url": self.influx.url,
                    "token": "t",
                    "org": "o",
                    "bucket": self.database,
                }
            },
            "pipeline": {
                "redis_url": self.redis.plain_url,
                "redis_password": self.redis.password or "",
                "redis_namespace": self.namespace,
            },
        }
        for path, value in self.changes.items():
            place = document
            *parents, last = path.split(".")
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = value
        file = self.folder / "etl.yaml"
        file.write_text(yaml.safe_dump(document), encoding="utf-8")
        return file

    def expected(self) -> list[Point]:
        """What ``raw`` should have written."""
        return [
            ((name, tuple(sorted(labels.items()))), time_ms, value)
            for name, labels, points in history(self.start_ms)
            for time_ms, value in points
            if labels["job"] == "app" and math.isfinite(value)
        ]

    def expected_by_host(self) -> list[Point]:
        """What ``by_host`` should have written, as a range query of Prometheus returns."""
        step_ms = 30_000
        first_ms = (self.start_ms // step_ms + 1) * step_ms
        response = self.prometheus.api(
            "query_range",
            query=EXPR["expr"],
            start=str(first_ms / 1_000),
            end=str(self.end_ms // step_ms * step_ms / 1_000),
            step="30",
        )
        return [
            (("by_host", tuple(series["metric"].items())), round(seconds * 1_000), float(value))
            for series in response["result"]
            for seconds, value in series["values"]
        ]

    def write(self, points: Iterable[Point]) -> None:
        """Put points into the sink."""
        self.write_raw("\n".join(map(line, points)))

    def write_raw(self, lines: str) -> None:
        """Put line protocol into the sink."""
        response = requests.post(
            f"{self.influx.url}/api/v2/write",
            params={"org": "o", "bucket": self.database, "precision": "ms"},
            data=lines.encode(),
            headers=self.influx.headers,
            timeout=20,
        )
        assert response.status_code == 204, response.text

    def delete(self, measurement: str, tags: Mapping[str, str], time_ms: int) -> None:
        """Take one point out of the sink."""
        conditions = [f"\"{key}\" = '{value}'" for key, value in tags.items()]
        conditions.append(f"time = {time_ms * 1_000_000}")
        self.influx.query(
            f'DELETE FROM "{measurement}" WHERE {" AND ".join(conditions)}', database=self.database
        )

    def verify(self, capsys: pytest.CaptureFixture[str], *options: str) -> Result:
        """``etlctl verify`` over the whole history."""
        arguments = ["--from", str(self.start_ms / 1_000), "--to", str(self.end_ms / 1_000)]
        return self.run(capsys, "verify", *arguments, *options)

    def run(self, capsys: pytest.CaptureFixture[str], command: str, *options: str) -> Result:
        """Any command with this configuration."""
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([command, *options, "--config", str(self.config())])
        said = capsys.readouterr()
        code = caught.value.code
        return Result(code if isinstance(code, int) else 0, said.out, said.err)


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    def query(self, name: str = "raw") -> dict[str, Any]:
        """The part of the JSON about one query."""
        (found,) = [one for one in self.document["queries"] if one["query"] == name]
        assert isinstance(found, dict)
        return found


def bits(value: float) -> bytes:
    """The 64 bits of a value."""
    return struct.pack("<d", value)
