"""Lines of an ETL process' log as :mod:`common.runtime.etl_log` describes them, for tests."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from common.runtime.etl_log import ERROR_TYPES

RUN = "0123456789ab"


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as the log writes them."""
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def fields(
    sequence: int,
    at: float = 1000.0,
    *,
    run_id: str = RUN,
    event: str = "heartbeat",
    records: int | None = None,
    failures: int = 0,
    **more: Any,
) -> dict[str, Any]:
    """A line as a dictionary; by default ten records and a file for each line of the run."""
    errors = dict.fromkeys(ERROR_TYPES, 0) | {ERROR_TYPES[0]: failures}
    return {
        "schema": 1,
        "timestamp": timestamp(at),
        "level": "info",
        "service": "simulator",
        "event": event,
        "run_id": run_id,
        "sequence": sequence,
        "healthy": True,
        "scenario": "normal",
        "uptime_seconds": float(sequence),
        "records_total": 10 * sequence if records is None else records,
        "files_total": sequence,
        "failures_total": failures,
        "errors_by_type": errors,
        "processing_seconds_total": 1.5 * sequence,
        "seconds_since_last_success": 2.0,
        "current_rate_records_per_second": 9.5,
        "avg_processing_time_seconds": 1.5,
        **({"heartbeat_seconds": 5.0} if event == "heartbeat" else {}),
        **more,
    }


def line(sequence: int, at: float = 1000.0, **more: Any) -> bytes:
    """The same as a line of the file, with its line break."""
    return json.dumps(fields(sequence, at, **more)).encode() + b"\n"
