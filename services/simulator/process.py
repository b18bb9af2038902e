"""The simulated ETL process: a model that is advanced to the present and reports what it did.

It reads no clock but the one it is given, writes nothing and waits for nothing: whoever drives it
writes the lines it makes. That keeps files, scrapes and requests out of each other's way.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from common.runtime.etl_log import (
    ERROR_TYPES,
    NORMAL,
    SCHEMA_VERSION,
    SERVICE,
    ErrorType,
    EtlLine,
    Event,
    EventFields,
    Level,
    Scenario,
)
from common.runtime.telemetry import ThroughputWindow
from services.simulator.scenarios import Behaviour, Pace, behaviours
from services.simulator.workload import Failure, File, mean_distance_seconds

# Who was not advanced for longer than this was frozen (suspended, stopped), and its files with it.
_LONGEST_STEP_SECONDS = 10.0
# What may be made up for by working without a rest; more than that is dropped.
_LONGEST_DEBT_SECONDS = 60.0
# No attempt is so short that it has no rate.
_SHORTEST_SECONDS = 1e-4


@dataclass(frozen=True, slots=True)
class Identity:
    """What identifies one run."""

    run_id: str
    pid: int
    seed: int


@dataclass(frozen=True, slots=True)
class InForce:
    """The scenario in force: since when and until when, in seconds since the epoch."""

    scenario: Scenario
    since_seconds: float
    until_seconds: float | None
    remaining_seconds: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of the process at one instant; totals are since its start."""

    records_total: int
    files_total: int
    failures_total: int
    errors_by_type: dict[ErrorType, int]
    current_rate_records_per_second: float
    avg_processing_time_seconds: float
    seconds_since_last_success: float
    healthy: bool
    uptime_seconds: float


@dataclass(slots=True)
class _Attempt:
    """A file in hand: what it takes at the usual speed, and what it has taken so far."""

    file: File
    failure: Failure | None
    left_seconds: float
    took_seconds: float = 0.0


class EtlProcess:
    """The process; safe to use from several threads.

    ``clock`` gives seconds and never runs backwards; only differences are used. ``wall`` gives
    seconds since the epoch, for timestamps. ``files`` and ``failures`` must not end.
    """

    def __init__(
        self,
        pace: Pace,
        files: Iterator[File],
        failures: Iterator[Failure],
        identity: Identity,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._pace = pace
        self._behaviours = behaviours(pace)
        self._files = files
        self._failures = failures
        self._identity = identity
        self._clock = clock
        self._wall = wall
        self._lock = threading.RLock()
        self._lines: list[EtlLine] = []
        self._sequence = 0
        self._throughput = ThroughputWindow(clock)
        self._records_total = 0
        self._files_total = 0
        self._errors_by_type: dict[ErrorType, int] = dict.fromkeys(ERROR_TYPES, 0)
        self._processing_seconds_total = 0.0
        self._scenario: Scenario = NORMAL
        self._since_wall = wall()
        self._until_wall: float | None = None
        self._until = math.inf  # on the clock, as everything below
        self._now = clock()
        self._attempt: _Attempt | None = None
        self._coming = next(files)
        self._next_file_at = self._now
        self._next_failure = next(failures)
        self._next_failure_at = self._now + self._failure_distance_seconds()
        self._next_heartbeat_at = self._now + pace.heartbeat_seconds
        self._note(
            "process_started",
            {
                "heartbeat_seconds": pace.heartbeat_seconds,
                "pid": identity.pid,
                "seed": identity.seed,
            },
        )

    def advance(self) -> float:
        """Do all that is due by now; seconds until more is due."""
        with self._lock:
            self._catch_up()
            return max(0.0, self._next_event_at() - self._clock())

    def switch(self, scenario: Scenario, for_seconds: float | None = None) -> InForce:
        """Put ``scenario`` in force, for that long or until the next switch."""
        with self._lock:
            self._catch_up()
            self._change(scenario, for_seconds)
            return self.in_force()

    def in_force(self) -> InForce:
        """The scenario in force."""
        with self._lock:
            forever = self._until == math.inf
            remaining_seconds = None if forever else max(0.0, self._until - self._clock())
            return InForce(self._scenario, self._since_wall, self._until_wall, remaining_seconds)

    def stop(self) -> None:
        """The last line; the process must not be advanced after it."""
        with self._lock:
            self._catch_up()
            self._note("process_stopped", {})

    def take_lines(self) -> list[EtlLine]:
        """The lines made since they were last taken, oldest first."""
        with self._lock:
            lines, self._lines = self._lines, []
            return lines

    def figures(self) -> Figures:
        """What the process has done; its ages and its rate are those of this instant."""
        with self._lock:
            return Figures(
                records_total=self._records_total,
                files_total=self._files_total,
                failures_total=sum(self._errors_by_type.values()),
                errors_by_type=dict(self._errors_by_type),
                current_rate_records_per_second=self._throughput.rate(),
                avg_processing_time_seconds=self._throughput.average_seconds(),
                seconds_since_last_success=self._throughput.seconds_since_success(),
                healthy=self.healthy,
                uptime_seconds=self._throughput.uptime_seconds(),
            )

    @property
    def healthy(self) -> bool:
        """What the scenario lets the health check of the process say."""
        return self._behaviour.healthy

    @property
    def _behaviour(self) -> Behaviour:
        return self._behaviours[self._scenario]

    def _catch_up(self) -> None:
        now = self._clock()
        frozen_seconds = now - self._now
        if frozen_seconds > _LONGEST_STEP_SECONDS:
            self._now = now
            self._next_file_at += frozen_seconds
            self._next_failure_at += frozen_seconds
            self._next_heartbeat_at = now
        while (at := self._next_event_at()) <= now:
            self._work_until(max(at, self._now))
            self._happen()
        self._work_until(max(now, self._now))

    def _next_event_at(self) -> float:
        at = min(self._until, self._next_heartbeat_at)
        if not self._behaviour.works:
            return at
        if self._attempt is None:
            return min(at, max(self._now, min(self._next_file_at, self._next_failure_at)))
        return min(at, self._now + self._attempt.left_seconds * self._behaviour.time_factor)

    def _work_until(self, at: float) -> None:
        if self._attempt is not None:
            self._attempt.left_seconds -= (at - self._now) / self._behaviour.time_factor
            self._attempt.took_seconds += at - self._now
        self._now = at

    def _happen(self) -> None:
        """The one event that is due at ``_now``."""
        if self._until <= self._now:
            self._change(NORMAL, None)
        elif self._next_heartbeat_at <= self._now:
            self._next_heartbeat_at += self._pace.heartbeat_seconds
            self._note("heartbeat", {"heartbeat_seconds": self._pace.heartbeat_seconds})
        elif self._attempt is not None:
            # Whatever rounding has left of it is nothing.
            attempt, self._attempt = self._attempt, None
            if attempt.failure is None:
                self._succeed(attempt)
            else:
                self._fail(attempt, attempt.failure)
        elif self._next_failure_at <= self._now:
            self._begin_failure()
        else:
            self._begin_file()

    def _begin_file(self) -> None:
        file = self._coming
        # Paced by the records that the file would have in every scenario: few records are few for
        # lack of records, not of files.
        pause_seconds = file.records / self._pace.records_per_second
        self._next_file_at = self._not_long_ago(self._next_file_at) + pause_seconds
        small = self._shrunk(file)
        self._attempt = _Attempt(small, None, self._usual_seconds(small))

    def _begin_failure(self) -> None:
        failure = self._next_failure
        self._next_failure = next(self._failures)
        self._next_failure_at = (
            self._not_long_ago(self._next_failure_at) + self._failure_distance_seconds()
        )
        file = self._shrunk(self._coming)
        self._attempt = _Attempt(file, failure, self._usual_seconds(file) * failure.at_share)

    def _succeed(self, attempt: _Attempt) -> None:
        # Not before: a file that fails, or is given up, is tried again.
        self._coming = next(self._files)
        records, seconds = attempt.file.records, attempt.took_seconds
        self._records_total += records
        self._files_total += 1
        self._processing_seconds_total += seconds
        self._throughput.success(records, seconds)
        self._note("file_processed", _file_fields(attempt, records / seconds))

    def _fail(self, attempt: _Attempt, failure: Failure) -> None:
        self._errors_by_type[failure.error_type] += 1
        own = _file_fields(attempt, 0.0)
        own["error_type"] = failure.error_type
        own["error"] = failure.message(attempt.file)
        self._note("file_failed", own)

    def _shrunk(self, file: File) -> File:
        factor = self._behaviour.records_factor
        if factor == 1.0:
            return file
        records = max(1, round(file.records * factor))
        return replace(file, records=records, size_bytes=file.size_bytes * records // file.records)

    def _usual_seconds(self, file: File) -> float:
        busy_seconds = file.records / self._pace.records_per_second * self._pace.busy_share
        return max(busy_seconds * file.time_factor, _SHORTEST_SECONDS)

    def _failure_distance_seconds(self) -> float:
        mean_seconds = mean_distance_seconds(self._behaviour.failures_per_minute)
        return self._next_failure.distance * mean_seconds

    def _not_long_ago(self, due: float) -> float:
        return max(due, self._now - _LONGEST_DEBT_SECONDS)

    def _change(self, scenario: Scenario, for_seconds: float | None) -> None:
        previous, self._scenario = self._scenario, scenario
        self._since_wall = self._wall()
        self._until_wall = None if for_seconds is None else self._since_wall + for_seconds
        self._until = math.inf if for_seconds is None else self._now + for_seconds
        if not self._behaviour.works:
            # What was in hand is begun again later. No line: nobody would be there to write it.
            self._attempt = None
        elif not self._behaviours[previous].works:
            # Nothing is made up for, but everybody sees at once that it works again.
            self._next_file_at = self._now
        self._next_failure_at = self._now + self._failure_distance_seconds()
        until = self._until_wall
        self._note(
            "scenario_changed",
            {
                "previous_scenario": previous,
                "until": None if until is None else rfc3339(until),
            },
        )

    def _note(self, event: Event, own: EventFields) -> None:
        figures = self.figures()
        self._sequence += 1
        line: EtlLine = {
            "timestamp": rfc3339(self._wall()),
            "level": _level(event, figures.healthy),
            "service": SERVICE,
            "event": event,
            **own,
            "schema": SCHEMA_VERSION,
            "run_id": self._identity.run_id,
            "sequence": self._sequence,
            "healthy": figures.healthy,
            "scenario": self._scenario,
            "uptime_seconds": _rounded(figures.uptime_seconds),
            "records_total": figures.records_total,
            "files_total": figures.files_total,
            "failures_total": figures.failures_total,
            "errors_by_type": figures.errors_by_type,
            "processing_seconds_total": _rounded(self._processing_seconds_total),
            "seconds_since_last_success": _rounded(figures.seconds_since_last_success),
            "current_rate_records_per_second": _rounded(figures.current_rate_records_per_second),
            "avg_processing_time_seconds": _rounded(figures.avg_processing_time_seconds),
        }
        self._lines.append(line)


def rfc3339(seconds: float) -> str:
    """Seconds since the epoch as in every line: UTC, milliseconds."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _file_fields(attempt: _Attempt, rate_records_per_second: float) -> EventFields:
    return {
        "file": attempt.file.name,
        "file_bytes": attempt.file.size_bytes,
        "records": attempt.file.records,
        "processing_seconds": _rounded(attempt.took_seconds),
        "rate_records_per_second": _rounded(rate_records_per_second),
    }


def _level(event: Event, healthy: bool) -> Level:
    if event == "file_failed":
        return "error"
    if event == "scenario_changed" or not healthy:
        return "warning"
    return "debug" if event == "heartbeat" else "info"


def _rounded(number: float) -> float:
    return round(number, 6)
