"""What the status page shows of the ETL process that is followed by its log."""

from __future__ import annotations

from typing import Any

from services.exporter.series import Page

_SHOWN = {
    "healthy": "etl_health_status",
    "records": "etl_records_total",
    "files": "etl_files_total",
    "failures": "etl_failures_total",
    "records_per_second": "etl_current_rate_records_per_second",
    "file_seconds": "etl_avg_processing_time_seconds",
    "seconds_since_last_success": "etl_seconds_since_last_success",
    "uptime_seconds": "etl_uptime_seconds",
}


def process_document(page: Page | None) -> dict[str, Any]:
    """As plain data. Before the log was read, or where it cannot be, that cannot be told."""
    found = {} if page is None else page.values
    if not found.get("etl_log_up", {}).get(()):
        return _untold("the log of the ETL process cannot be read", "log_unreadable")
    if not found.get("etl_health_status"):
        # Not silent for too long yet: etl-metrics or the process has just started.
        return _untold("the ETL process has written nothing yet", "process_unhealthy")
    values = {name: found.get(metric, {}).get(()) for name, metric in _SHOWN.items()}
    if not values["healthy"]:
        why = "The ETL process is not healthy, or has said nothing for too long."
        said = "Not all is well: the ETL process is not healthy."
        return _judged("needs_person", said, "process_unhealthy", why) | {"status": values}
    return {
        "verdict": "well",
        "first_line": "All is well: the ETL process is healthy.",
        "findings": [],
        "remarks": [],
        "status": values,
    }


def _untold(why: str, kind: str) -> dict[str, Any]:
    said = f"Whether all is well cannot be told: {why}."
    detail = f"{why[0].upper()}{why[1:]}."
    return _judged("cannot_tell", said, kind, detail) | {"status": None}


def _judged(verdict: str, first_line: str, kind: str, detail: str) -> dict[str, Any]:
    finding = {"kind": kind, "what": kind.replace("_", " "), "detail": detail}
    return {"verdict": verdict, "first_line": first_line, "findings": [finding], "remarks": []}
