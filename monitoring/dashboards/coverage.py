"""Panels of ``etl-pipeline`` about time: what of it is loaded and proven, and what is missing.

As ``etlctl coverage`` shows it, as far as metrics know.
"""

from __future__ import annotations

from monitoring.dashboards.spec import NONE, RATE, PanelSpec, Query
from monitoring.thresholds import REDIS, VERIFIER

_FEED = "{{query}} {{tier}}"
_ORIGIN = f"etl_origin_timestamp_seconds{{{REDIS}}}"
_PLANNED = f"etl_planned_watermark_timestamp_seconds{{{REDIS}}}"
_EXTRACTED = f"etl_watermark_timestamp_seconds{{{REDIS}}}"
_LOADED = f"etl_loaded_watermark_timestamp_seconds{{{REDIS}}}"
_PROVEN = f'etl_verified_timestamp_seconds{{job="{VERIFIER}"}}'
_DIFFERING = f'etl_verify_differing_points{{job="{VERIFIER}"}}'
_GAPS = f"etl_gaps_declared{{{REDIS}}}"
_GAPS_BEFORE = f"min_over_time({_GAPS}{RATE})"
_DEAD = f'etl_ledger_samples{{{REDIS}, account="dead_lettered"}}'
_DEFERRED = f"etl_deferred_seconds{{{REDIS}}}"


def coverage_panels() -> tuple[PanelSpec, ...]:
    """How far each moment has come, and when something went wrong."""
    reached = " + ".join(_reached(mark) for mark in (_PLANNED, _EXTRACTED, _LOADED, _PROVEN))
    return (
        PanelSpec(
            "Coverage",
            "timeline",
            "How far the data of each moment has come by the end of the chosen time. What lies"
            " after the oldest time that waits is shown as waiting, too; etlctl coverage has exact"
            " ranges, gaps and seals.",
            (Query(f"({reached}) * ({_feeds(f'{_ORIGIN} @ end()')} < bool time())", _FEED),),
            NONE,
            width=12,
            values={
                0: ("not planned", "text"),
                1: ("backlog", "orange"),
                2: ("in flight", "yellow"),
                3: ("loaded", "blue"),
                4: ("proven", "green"),
            },
        ),
        PanelSpec(
            "What is missing",
            "timeline",
            "At each moment, the worst that was known of a feed: points that differ from the"
            " source, a gap that was declared, samples in dead letters, time that cannot be"
            " extracted and waits.",
            (
                Query(
                    " or ".join(
                        (
                            f"0 * ({_feeds(_DIFFERING)} > 0) + 4",
                            f"0 * ({_feeds(_GAPS)} > {_feeds(_GAPS_BEFORE)}) + 3",
                            f"0 * ({_feeds(_DEAD)} > 0) + 2",
                            f"0 * ({_feeds(_DEFERRED)} > 0) + 1",
                            f"0 * {_feeds(_PLANNED)}",
                        )
                    ),
                    _FEED,
                ),
            ),
            NONE,
            width=12,
            values={
                0: ("nothing", "green"),
                1: ("waits", "yellow"),
                2: ("dead letters", "orange"),
                3: ("gap declared", "purple"),
                4: ("points differ", "red"),
            },
        ),
    )


def _feeds(vector: str) -> str:
    return f"max by (query, tier) ({vector})"


def _reached(mark: str) -> str:
    """1 where the mark, as of the end of the chosen time, is not before the moment."""
    return f"({_feeds(f'{mark} @ end()')} >= bool time() or 0 * {_feeds(f'{_PLANNED} @ end()')})"
