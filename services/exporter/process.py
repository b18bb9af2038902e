"""The ETL process as its log shows it: totals over all its runs, and how it does right now."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import add

from common.runtime.etl_log import ERROR_TYPES
from services.exporter.lines import ProcessLine, Totals
from services.exporter.series import Page

# A process whose heartbeats are this late is not heard of any more.
MISSED_HEARTBEATS = 3
# Runs that are kept apart; of older ones only the sum is kept.
MAX_RUNS = 1000


@dataclass(slots=True)
class _Run:
    """The largest that was seen of each total, so that no later line can lower one."""

    sequence: int = 0
    totals: Totals = field(default_factory=Totals)


class ProcessState:
    """Learns from lines, in the order of the log; not safe for several threads.

    ``clock`` gives seconds and never runs backwards, ``wall_clock`` seconds since the epoch; the
    latter counts only for lines that were in the log before we came. ``silent_seconds`` is how long
    the process may say nothing before it counts as down.
    """

    def __init__(
        self,
        silent_seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._silent_seconds = silent_seconds
        self._clock = clock
        self._wall_clock = wall_clock
        self._began = clock()
        self._heard: float | None = None
        self._runs: dict[str, _Run] = {}
        self._folded = Totals()
        self._runs_seen = 0
        self._missed = 0
        self._latest: ProcessLine | None = None
        self._first_timestamp = 0.0
        self._success: float | None = None
        self._heartbeat_seconds = 0.0

    def learn(self, line: ProcessLine, *, live: bool) -> bool:
        """Take a line in; False if it was known. ``live``: it was written just now."""
        run = self._runs.get(line.run_id)
        if run is None:
            run = self._begin(line)
        elif line.sequence <= run.sequence:
            return False
        else:
            self._missed += line.sequence - run.sequence - 1
        run.sequence = line.sequence
        run.totals.combine(line.totals, max)
        if line.heartbeat_seconds is not None:
            self._heartbeat_seconds = line.heartbeat_seconds
        if line.totals.files:
            self._success = line.timestamp - line.seconds_since_last_success
        self._latest = line
        if live:
            self._heard = self._clock()
        return True

    def silent(self) -> bool:
        """Whether nothing was heard for too long."""
        limit = max(self._silent_seconds, MISSED_HEARTBEATS * self._heartbeat_seconds)
        return self._age_seconds() > limit

    def publish(self, telemetry: Page) -> None:
        """Export the standard metrics; only the health before there was a line."""
        latest = self._latest
        up = latest is not None and latest.event != "process_stopped" and not self.silent()
        telemetry.inc("etl_process_runs_total", self._runs_seen)
        telemetry.inc("etl_log_lines_missed_total", self._missed)
        if latest is None:
            if self.silent():
                telemetry.set("etl_health_status", 0)
            return
        age_seconds = self._age_seconds()
        total = self._total()
        telemetry.inc("etl_records_total", total.records)
        telemetry.inc("etl_files_total", total.files)
        telemetry.inc("etl_failures_total", total.failures)
        errors = dict.fromkeys(ERROR_TYPES, 0) | total.errors
        for error_type, count in errors.items():
            telemetry.inc("etl_errors_by_type_total", count, error_type=error_type)
        telemetry.set("etl_health_status", float(up and latest.healthy))
        telemetry.set("etl_uptime_seconds", latest.uptime_seconds + age_seconds if up else 0)
        telemetry.set("etl_current_rate_records_per_second", latest.current_rate if up else 0)
        telemetry.set("etl_avg_processing_time_seconds", latest.average_seconds)
        # A process that dies and comes again and again must not seem to have succeeded lately.
        since = self._first_timestamp if self._success is None else self._success
        telemetry.set(
            "etl_seconds_since_last_success", max(0.0, latest.timestamp - since) + age_seconds
        )

    def _begin(self, line: ProcessLine) -> _Run:
        if self._latest is None:
            self._first_timestamp = line.timestamp - line.uptime_seconds
        else:
            # Lines of a run from before the log begins are not missed: the log never had them.
            self._missed += max(0, line.sequence - 1)
        self._runs_seen += 1
        if len(self._runs) >= MAX_RUNS:
            oldest = self._runs.pop(next(iter(self._runs)))
            self._folded.combine(oldest.totals, add)
        run = self._runs[line.run_id] = _Run()
        return run

    def _age_seconds(self) -> float:
        """How old the latest line is; without one, how long we have waited for it."""
        waited = self._clock() - self._began
        if self._latest is None:
            return waited
        if self._heard is not None:
            return max(0.0, self._clock() - self._heard)
        # Written before we came. A line from the future must not keep a dead process alive.
        return max(waited, self._wall_clock() - self._latest.timestamp)

    def _total(self) -> Totals:
        total = Totals()
        for one in (self._folded, *(run.totals for run in self._runs.values())):
            total.combine(one, add)
        return total
