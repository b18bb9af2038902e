"""How far a backfill is, and what holds it up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from common.durations import format_duration
from common.state.backfills import Backfill
from common.state.status.findings import FAILED_ATTEMPTS
from common.state.workers import WorkerReport
from etlctl.output import thousands

RUNS = "running"


def state_of(backfill: Backfill, workers: Sequence[WorkerReport]) -> str:
    """Its state, and what holds it up."""
    if backfill.state != RUNS:
        return backfill.state
    extractors = [one for one in workers if one.service == "extractor"]
    if not extractors:
        return "waits: no extractor runs"
    if all(one.failing for one in extractors):
        return f"waits: extractor not ready: {next(iter(extractors[0].failing.values()))}"
    attempts = max((part.attempts for part in backfill.parts), default=0)
    if attempts >= FAILED_ATTEMPTS:
        return f"fails: {attempts} attempts in a row"
    return RUNS


def line(backfill: Backfill, workers: Sequence[WorkerReport]) -> str:
    """A sentence about one that is not over."""
    total = format_duration(backfill.total_ms)
    return (
        f"Backfill {backfill.id}: {share_percent(backfill)} % of {total},"
        f" {thousands(backfill.samples)} samples, {state_of(backfill, workers)}."
    )


def share_percent(backfill: Backfill) -> int:
    """How much of it needs no more extracting; 100 only where that is all."""
    total_ms = max(1, backfill.total_ms)
    return max(0, 100 * (total_ms - backfill.coming_ms) // total_ms)


def document(backfill: Backfill) -> dict[str, Any]:
    """As plain data: samples, milliseconds, milliseconds since the epoch."""
    return asdict(backfill) | {
        "coming_ms": backfill.coming_ms,
        "extracted_ms": backfill.extracted_ms,
    }
