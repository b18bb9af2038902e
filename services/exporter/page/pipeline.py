"""What the status page shows of the pipeline, from the latest reading of Redis."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from common.state.backfills import Backfill
from common.state.keys import split_feed
from common.state.status.coverage import Facts, FeedCoverage
from common.state.status.figures import COLUMNS, Figures, lag_seconds
from common.state.status.findings import Finding, first_line
from common.state.status.reading import PipelineStatus, proven_up_to_ms
from common.state.status.stages import RATE, Stage, stages
from services.exporter.page.history import KEPT_SECONDS, STEP_SECONDS, History
from services.exporter.page.strips import lengths_seconds, strip
from services.exporter.reading import Reading

# Of each list, so that a page stays one that a telephone can show.
MOST_FEEDS = 100
MOST_WORKERS = 20
MOST_GAPS = 50

NEEDS_PERSON, WELL, CANNOT_TELL = "needs_person", "well", "cannot_tell"


class PipelineBoard:
    """Keeps the latest reading, and the figures of the last hours; safe for several threads.

    ``clock`` gives seconds and never runs backwards, ``wall_clock`` seconds since the epoch.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._history = History(COLUMNS)
        self._figures = Figures(STEP_SECONDS)
        self._reading: Reading | None = None
        self._read = self._until = clock()

    def show(self, reading: Reading, valid_seconds: float) -> None:
        """Show this reading from now on, for so long at most."""
        with self._lock:
            now = self._clock()
            self._reading, self._read, self._until = reading, now, now + valid_seconds
            figures = self._figures.of(
                reading.audit, reading.feeds or {}, reading.workers or (), now
            )
            self._history.add(self._wall_clock(), figures)

    def document(self, after_seconds: float = 0.0) -> dict[str, Any]:
        """As plain data; of the history what lies after that time (seconds since the epoch)."""
        with self._lock:
            reading, age_seconds = self._reading, self._clock() - self._read
            is_old = self._clock() > self._until
            rows = self._history.rows(after_seconds)
        history = {"columns": COLUMNS, "step_seconds": STEP_SECONDS, "kept_seconds": KEPT_SECONDS}
        return _judged(reading, age_seconds, is_old=is_old) | {
            "reading_age_seconds": round(age_seconds, 1),
            "history": history | {"rows": rows},
        }


def _judged(reading: Reading | None, age_seconds: float, *, is_old: bool) -> dict[str, Any]:
    if reading is None:
        return _unknown("redis_unreadable", "Redis was not read yet")
    status = reading.status()
    if is_old:
        return _unknown("incomplete", f"Redis was read {age_seconds:.0f} s ago for the last time")
    why = "; ".join(f"{part} cannot be read: {said}" for part, said in reading.missing.items())
    if status is None:
        return _unknown("incomplete", why) if why else _unknown("redis_unreadable", reading.remark)
    found = status.findings()
    needs = [asdict(one) for one in found]
    verdict, said = NEEDS_PERSON if found else WELL, first_line(found)
    if why:
        needs.append(asdict(Finding("incomplete", "not all could be read", f"{why}.")))
        if not found:
            verdict, said = (
                CANNOT_TELL,
                "Whether all is well cannot be told: not all could be read.",
            )
    remarks = [reading.remark] if reading.remark else []
    return {"verdict": verdict, "first_line": said, "findings": needs, "remarks": remarks} | {
        "status": _status(reading, status)
    }


def _unknown(kind: str, why: str) -> dict[str, Any]:
    return {
        "verdict": CANNOT_TELL,
        "first_line": f"Whether all is well cannot be told: {why}.",
        "findings": [asdict(Finding(kind, "cannot be told", f"{why}."))],
        "remarks": [],
        "status": None,
    }


def _status(reading: Reading, status: PipelineStatus) -> dict[str, Any]:
    audit, total = status.audit, status.audit.total
    letters = reading.page.values.get("etl_dead_letter_entries", {})
    samples = reading.page.values.get("etl_dead_letter_samples", {})
    return {
        "now_ms": audit.now_ms,
        "lag_seconds": lag_seconds(status.feeds, audit.now_ms),
        "stages": [_stage(one) for one in stages(status.workers)],
        "ledger": {
            "extracted": total.extracted,
            "loaded": total.loaded,
            "dropped": dict(total.dropped),
            "dead_lettered": total.dead_lettered,
            "in_flight": total.in_flight,
            "imbalance": audit.imbalance_samples,
        },
        "back_pressure": audit.back_pressure,
        "streams": {
            name: {
                "entries": depth.entries,
                "samples": depth.samples,
                "bytes": depth.bytes,
                "oldest_seconds": max(0, audit.now_ms - depth.oldest_ms) / 1000
                if depth.entries
                else 0,
            }
            for name, depth in audit.streams.items()
        },
        "dead_letters": {
            "kept": audit.dead_letter_entries,
            "max": status.dead_letters_max,
            "reasons": [
                {"stage": of[0], "reason": of[1], "entries": n, "samples": samples.get(of, 0)}
                for of, n in sorted(letters.items())
                if n
            ],
        },
        "feeds": list(_feeds(reading, status)),
        "feeds_left_out": max(0, len(status.feeds) - MOST_FEEDS),
        "gaps": [
            {"feed": name, **asdict(gap)}
            for name, gaps in status.gaps.items()
            for gap in gaps[-MOST_GAPS:]
        ][:MOST_GAPS],
        "backfills": [_backfill(one) for one in status.backfills],
    }


def _stage(stage: Stage) -> dict[str, Any]:
    return {
        "stage": stage.service,
        "replicas": len(stage.workers),
        "ready": stage.ready,
        "samples_per_second": stage.samples_per_second,
        "batch_seconds": stage.batch_seconds,
        "workers": [
            {
                "worker": one.worker,
                "ready": one.ready,
                "failing": dict(one.failing),
                "samples_per_second": one.figures.get(RATE),
                "uptime_seconds": one.figures.get("etl_uptime_seconds"),
            }
            for one in stage.workers[:MOST_WORKERS]
        ],
    }


def _feeds(reading: Reading, status: PipelineStatus) -> Iterator[dict[str, Any]]:
    facts = {
        name: Facts(gaps=status.gaps.get(name, ())).with_windows(
            feed, reading.parts.get(name, ()), status.proofs.get(name)
        )
        for name, feed in sorted(status.feeds.items())[:MOST_FEEDS]
    }
    planned = [range_ for one in facts.values() for range_ in one.planned]
    start_ms = min((start for start, _ in planned), default=0)
    end_ms = max((end for _, end in planned), default=0)
    for name, known in facts.items():
        feed = status.feeds[name]
        query, tier = split_feed(name)
        row: dict[str, Any] = {
            "query": query,
            "tier": tier,
            "loaded_up_to_ms": feed.loaded_watermark_ms if feed.reconciled else None,
            "lag_seconds": max(0, status.audit.now_ms - feed.loaded_watermark_ms) / 1000,
            "backlog_seconds": sum(end - start for start, end in feed.backlog) / 1000,
            "open": len(feed.open),
            "unsettled": len(feed.unsettled),
            "gaps": feed.gaps,
            "failures": feed.attempts,
            "proven_up_to_ms": proven_up_to_ms(status.proofs.get(name)),
        }
        if start_ms < end_ms:
            row["coverage"] = _coverage(query, tier, known, start_ms, end_ms)
        yield row


def _coverage(query: str, tier: str, facts: Facts, start_ms: int, end_ms: int) -> dict[str, Any]:
    feed = FeedCoverage.of(
        query, tier, facts, None, start_ms=start_ms, end_ms=end_ms, kept_from_ms=0
    )
    return {
        "from_ms": start_ms,
        "to_ms": end_ms,
        "strip": strip(feed),
        "seconds": lengths_seconds(feed),
    }


def _backfill(one: Backfill) -> Mapping[str, Any]:
    return {
        "id": one.id,
        "state": one.state,
        "from_ms": one.from_ms,
        "to_ms": one.to_ms,
        "total_seconds": one.total_ms // 1000,
        "coming_seconds": one.coming_ms // 1000,
        "samples": one.samples,
    }
