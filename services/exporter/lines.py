"""A line of the ETL process' log: what of it is exported, or why it cannot be used."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from common.runtime.etl_log import ERROR_TYPES, EVENTS, SCHEMA_VERSION

# Why a line is left out; `too_long`, `half_written` and `repeated` are found by others.
NOT_UTF8, NOT_JSON, NOT_OURS, UNKNOWN_SCHEMA = "not_utf8", "not_json", "not_ours", "unknown_schema"
TOO_LONG, HALF_WRITTEN, REPEATED = "too_long", "half_written", "repeated"
REASONS = (NOT_UTF8, NOT_JSON, NOT_OURS, UNKNOWN_SCHEMA, TOO_LONG, HALF_WRITTEN, REPEATED)

# Errors of a type that the contract does not have are still errors.
OTHER_ERROR = "other"
_MAX_COUNT = 1 << 53
_MAX_RUN_ID_CHARS = 64


class LineError(Exception):
    """The line cannot be used; the text is one of REASONS."""


@dataclass(slots=True)
class Totals:
    """What a run, or several, have done so far; ``errors`` by type."""

    records: int = 0
    files: int = 0
    failures: int = 0
    errors: dict[str, int] = field(default_factory=dict)

    def combine(self, other: Totals, how: Callable[[int, int], int]) -> None:
        """Make each number what ``how`` makes of it and the other's."""
        self.records = how(self.records, other.records)
        self.files = how(self.files, other.files)
        self.failures = how(self.failures, other.failures)
        for name, count in other.errors.items():
            self.errors[name] = how(self.errors.get(name, 0), count)


@dataclass(frozen=True, slots=True)
class ProcessLine:
    """One line, read; ``timestamp`` in seconds since the epoch by the process' own clock."""

    timestamp: float
    event: str
    run_id: str
    sequence: int
    healthy: bool
    uptime_seconds: float
    seconds_since_last_success: float
    current_rate: float
    average_seconds: float
    totals: Totals
    heartbeat_seconds: float | None


def parse(raw: bytes) -> ProcessLine:
    """A line without its line break. Raises :class:`LineError`."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise LineError(NOT_UTF8) from None
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise LineError(NOT_JSON) from None
    if not isinstance(fields, dict) or "schema" not in fields:
        raise LineError(NOT_OURS)
    if fields["schema"] != SCHEMA_VERSION:
        raise LineError(UNKNOWN_SCHEMA)
    try:
        return _line(fields)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise LineError(NOT_OURS) from None


def _line(fields: Mapping[str, Any]) -> ProcessLine:
    if fields["event"] not in EVENTS or not isinstance(fields["healthy"], bool):
        raise ValueError
    run_id = fields["run_id"]
    if not isinstance(run_id, str) or not 0 < len(run_id) <= _MAX_RUN_ID_CHARS:
        raise ValueError
    heartbeat = fields.get("heartbeat_seconds")
    return ProcessLine(
        timestamp=_time(fields["timestamp"]),
        event=fields["event"],
        run_id=run_id,
        sequence=_count(fields["sequence"]),
        healthy=fields["healthy"],
        uptime_seconds=_number(fields["uptime_seconds"]),
        seconds_since_last_success=_number(fields["seconds_since_last_success"]),
        current_rate=_number(fields["current_rate_records_per_second"]),
        average_seconds=_number(fields["avg_processing_time_seconds"]),
        totals=Totals(
            records=_count(fields["records_total"]),
            files=_count(fields["files_total"]),
            failures=_count(fields["failures_total"]),
            errors=_errors(fields["errors_by_type"]),
        ),
        heartbeat_seconds=None if heartbeat is None else _number(heartbeat),
    )


def _errors(by_type: Any) -> dict[str, int]:
    if not isinstance(by_type, dict):
        raise TypeError
    errors: dict[str, int] = {}
    for name, value in by_type.items():
        known = name if name in ERROR_TYPES else OTHER_ERROR
        errors[known] = errors.get(known, 0) + _count(value)
    return errors


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MAX_COUNT:
        raise ValueError
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    number = float(value)
    if not math.isfinite(number) or number < 0:
        raise ValueError
    return number


def _time(text: Any) -> float:
    if not isinstance(text, str):
        raise TypeError
    when = datetime.fromisoformat(text)
    # The contract says UTC; without a zone it can only be that.
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
