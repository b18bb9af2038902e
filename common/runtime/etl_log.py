"""The log of the simulated ETL process: the contract between who writes it and who follows it.

One JSON object a line, UTF-8, each line ended by ``\\n``. The file is rotated by renaming:
``etl.jsonl`` becomes ``etl.jsonl.1``, that becomes ``etl.jsonl.2``, and so on; a new ``etl.jsonl``
begins. A run is one life of the process: it begins with ``process_started``, and ends with
``process_stopped``, or without it if the process was killed. All totals begin at 0 with each run.

Every line carries the totals of its run, so whoever missed lines is right again with the next one;
a jump in ``sequence`` shows that some were missed. A heartbeat comes every ``heartbeat_seconds``
whatever else is written: lines that stop mean a process that is dead, heartbeats without a success
mean one that is stalled. The first line after a process that was killed while it wrote may follow
half a line: that half ends with a line break too, and is no JSON.
"""

from __future__ import annotations

from typing import Literal, TypedDict, get_args

# Raised when a field changes its meaning or goes; fields may be added without. A follower counts
# lines of a schema that it does not know as unreadable.
SCHEMA_VERSION = 1

SERVICE = "simulator"

Event = Literal[
    "process_started",  # first line of a run
    "file_processed",  # a success: the totals of records and files include this file
    "file_failed",  # a failed attempt; the file is tried again later
    "heartbeat",  # nothing happened but time
    "scenario_changed",  # the scenario in force is now `scenario`
    "process_stopped",  # last line of a run that was ended in order
]
EVENTS: tuple[Event, ...] = get_args(Event)

ErrorType = Literal[
    "connection_timeout",  # the source did not respond in time
    "malformed_file",  # the file cannot be parsed
    "validation_failed",  # it can, but its records break the rules
    "constraint_violation",  # the destination refuses the records
    "destination_unavailable",  # the destination does not respond
]
ERROR_TYPES: tuple[ErrorType, ...] = get_args(ErrorType)

Scenario = Literal["normal", "outage", "stall", "slow", "failure-burst", "low-throughput"]
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)
NORMAL: Scenario = "normal"

Level = Literal["debug", "info", "warning", "error"]


class EventFields(TypedDict, total=False):
    """What only the lines of some events have; EVENT_FIELDS says which."""

    file: str
    file_bytes: int
    records: int
    processing_seconds: float
    rate_records_per_second: float
    error_type: ErrorType
    error: str
    heartbeat_seconds: float
    pid: int
    seed: int
    previous_scenario: Scenario
    until: str | None


class EtlLine(EventFields):
    """One line: these fields are in every one; FIELDS says what each is."""

    timestamp: str
    level: Level
    service: str
    event: Event
    schema: int
    run_id: str
    sequence: int
    healthy: bool
    scenario: Scenario
    uptime_seconds: float
    records_total: int
    files_total: int
    failures_total: int
    errors_by_type: dict[ErrorType, int]
    processing_seconds_total: float
    seconds_since_last_success: float
    current_rate_records_per_second: float
    avg_processing_time_seconds: float


# What each field is; docs/simulator.md shows this table, in this order.
FIELDS: dict[str, str] = {
    "timestamp": "when it happened: RFC 3339, UTC, milliseconds, `Z` at the end",
    "level": "`debug` (heartbeat), `info`, `warning` (scenario, unhealthy heartbeat), `error`",
    "service": "`simulator`",
    "event": "which kind of line this is",
    "schema": "version of this table: 1",
    "run_id": "one life of the process: 12 hexadecimal digits, new with every start",
    "sequence": "number of the line in its run: 1, 2, 3, …",
    "healthy": "what the health check of the process says at this moment",
    "scenario": "what is in force after this line; `normal` if nothing is",
    "uptime_seconds": "seconds since the start of the run",
    "records_total": "records of all files processed in this run",
    "files_total": "files processed in this run",
    "failures_total": "failed attempts in this run; the sum of `errors_by_type`",
    "errors_by_type": "failed attempts in this run by `error_type`; all five are always there",
    "processing_seconds_total": "seconds spent on the files processed in this run",
    "seconds_since_last_success": (
        "seconds since a file was last processed in this run; before the first, since its start"
    ),
    "current_rate_records_per_second": (
        "records of the last minute divided by its seconds (since the start, if that is less)"
    ),
    "avg_processing_time_seconds": (
        "mean `processing_seconds` of the files of the last minute, or of the last minute that"
        " had any; 0 before the first"
    ),
    "file": "name of the file; a failed file is tried again under the same name",
    "file_bytes": "size of the file in bytes",
    "records": "records in the file; those of a failed attempt are in no total",
    "processing_seconds": "how long this attempt took, in seconds",
    "rate_records_per_second": "`records` / `processing_seconds`; 0 for a failed attempt",
    "error_type": "one of the five types of error",
    "error": "the error message",
    "heartbeat_seconds": "seconds between two heartbeats of this run",
    "pid": "process id",
    "seed": "seed of the run",
    "previous_scenario": "what was in force until now",
    "until": "when the scenario ends by itself, as `timestamp`; null if it does not",
}

# Which fields beside the common ones the lines of an event have.
EVENT_FIELDS: dict[Event, tuple[str, ...]] = {
    "process_started": ("heartbeat_seconds", "pid", "seed"),
    "file_processed": (
        "file",
        "file_bytes",
        "records",
        "processing_seconds",
        "rate_records_per_second",
    ),
    "file_failed": (
        "file",
        "file_bytes",
        "records",
        "processing_seconds",
        "rate_records_per_second",
        "error_type",
        "error",
    ),
    "heartbeat": ("heartbeat_seconds",),
    "scenario_changed": ("previous_scenario", "until"),
    "process_stopped": (),
}
COMMON_FIELDS: tuple[str, ...] = tuple(
    name for name in FIELDS if not any(name in own for own in EVENT_FIELDS.values())
)
