"""A simulated ETL process on a clock that the test turns, and what each of its lines must hold."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from common.runtime.etl_log import (
    COMMON_FIELDS,
    ERROR_TYPES,
    EVENT_FIELDS,
    SCENARIOS,
    SCHEMA_VERSION,
    EtlLine,
    Level,
)
from services.simulator.process import EtlProcess, Identity
from services.simulator.scenarios import Pace
from services.simulator.workload import failures, files

WALL_AT_START = 1_800_000_000.0  # 2027-01-15T08:00:00Z
PACE = Pace(
    records_per_second=10.0,
    busy_share=0.1,
    failures_per_minute=1.0,
    slow_factor=6.0,
    burst_failures_per_minute=20.0,
    low_throughput_share=0.1,
    heartbeat_seconds=5.0,
)
STEP_SECONDS = 0.5


@dataclass
class World:
    """The process, its clock, and every line that it has written."""

    pace: Pace = PACE
    seed: int = 1
    now: float = 1_000.0
    lines: list[EtlLine] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.process = EtlProcess(
            self.pace,
            files(self.seed, 50, 500),
            failures(self.seed),
            Identity(run_id="0123456789ab", pid=7, seed=self.seed),
            clock=lambda: self.now,
            wall=lambda: WALL_AT_START + self.now - 1_000.0,
        )
        self.collect()

    def run(self, seconds: float, step_seconds: float = STEP_SECONDS) -> list[EtlLine]:
        """Let that much time pass; the lines written meanwhile."""
        before = len(self.lines)
        for _ in range(round(seconds / step_seconds)):
            self.now += step_seconds
            self.process.advance()
            self.collect()
        return self.lines[before:]

    def collect(self) -> None:
        """Take the lines, each held to the contract."""
        for line in self.process.take_lines():
            check_line(json.loads(json.dumps(line)))
            self.lines.append(line)


def pace(**changes: float) -> Pace:
    """The usual pace with some changes."""
    return replace(PACE, **changes)


def only(lines: list[EtlLine], event: str) -> list[EtlLine]:
    """The lines of one event."""
    return [line for line in lines if line["event"] == event]


def check_line(line: dict[str, Any]) -> None:
    """Pause a decoded line to common/runtime/etl_log.py."""
    expected = {*COMMON_FIELDS, *EVENT_FIELDS[line["event"]]}
    assert line.keys() == expected
    assert list(line)[:4] == ["timestamp", "level", "service", "event"]
    assert line["schema"] == SCHEMA_VERSION
    assert line["level"] in get_args(Level)
    assert line["scenario"] in SCENARIOS
    assert type(line["healthy"]) is bool
    assert list(line["errors_by_type"]) == list(ERROR_TYPES)
    assert sum(line["errors_by_type"].values()) == line["failures_total"]
    assert line["timestamp"].endswith("Z")
    for name, value in line.items():
        if name.endswith(("_seconds", "_per_second", "_seconds_total")):
            assert type(value) in {int, float}, name
            assert value >= 0, name
        elif name in {"records", "file_bytes", "pid", "seed", "sequence"} | {
            name for name in line if name.endswith("_total")
        }:
            assert type(value) is int, name
    if line["event"] == "file_failed":
        assert line["error_type"] in ERROR_TYPES
        assert line["error"]
        assert line["level"] == "error"
