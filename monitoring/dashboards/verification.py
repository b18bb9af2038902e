"""Panels of ``etl-pipeline`` about the proof that the sink holds what the source holds."""

from __future__ import annotations

from monitoring.dashboards.spec import (
    CORES,
    COUNT,
    PER_SECOND,
    RATE,
    SECONDS,
    PanelSpec,
    Query,
    counted,
)
from monitoring.thresholds import VERIFIER

_JOB = f'job="{VERIFIER}"'
_FEED = "{{query}} {{tier}}"


def verification_panels() -> tuple[PanelSpec, ...]:
    """How far the sink is proven, what differs, and what it costs."""
    return (
        PanelSpec(
            "Age of the proof",
            "lines",
            "Age of the time up to which everything was compared with the source: that of the last"
            " recount, and a little.",
            (
                Query(
                    f"time() - max by (query, tier) (etl_verified_timestamp_seconds{{{_JOB}}})",
                    _FEED,
                ),
            ),
            SECONDS,
        ),
        PanelSpec(
            "Points that differ",
            "lines",
            "Points whose difference from the source nothing explains, or which are not what was"
            " loaded by the seals, in the ranges that still differ.",
            (Query(f"max by (query, tier) (etl_verify_differing_points{{{_JOB}}})", _FEED),),
            COUNT,
            limit_of="EtlVerifyDiffers",
        ),
        PanelSpec(
            "Ranges repaired",
            "lines",
            "Ranges that differed and were put back to be extracted again.",
            (
                Query(
                    f"sum by (query, tier) (increase(etl_verify_repairs_total{{{_JOB}}}{RATE}))",
                    _FEED,
                ),
            ),
            COUNT,
        ),
        PanelSpec(
            "Not compared yet",
            "lines",
            "Time that is loaded, had its last recount and is not compared yet; what backfills have"
            " loaded, and what is compared again after a start of InfluxDB, comes after the rest.",
            (
                Query(f"max by (query, tier) (etl_verify_waiting_seconds{{{_JOB}}})", _FEED),
                Query(
                    f"max by (query, tier) (etl_verify_history_waiting_seconds{{{_JOB}}})",
                    f"{_FEED} backfilled, or again",
                ),
            ),
            SECONDS,
            limit_of="EtlVerifyBehind",
        ),
        PanelSpec(
            "Unproven time",
            "stat",
            "Time that the source had deleted before it could be compared, and that no seal proves,"
            " in the chosen time.",
            (Query(counted("etl_verify_unproven_seconds_total", _JOB, "query", "tier"), _FEED),),
            SECONDS,
        ),
        PanelSpec(
            "Time proven by seals",
            "stat",
            "Time that the source had deleted before it could be compared, and whose seals show it"
            " intact, in the chosen time.",
            (
                Query(
                    counted("etl_verify_proven_by_seal_seconds_total", _JOB, "query", "tier"), _FEED
                ),
            ),
            SECONDS,
        ),
        PanelSpec(
            "Comparing",
            "lines",
            "Cores that comparing takes; verify.cpu_share is the bound.",
            (Query(f"sum(rate(etl_verify_cpu_seconds_total{{{_JOB}}}{RATE}))", "cores"),),
            CORES,
        ),
        PanelSpec(
            "Pieces compared",
            "lines",
            "Pieces of loaded time that were compared, by result.",
            (
                Query(
                    f"sum by (result) (rate(etl_verify_pieces_total{{{_JOB}}}{RATE}))",
                    "{{result}}",
                ),
            ),
            PER_SECOND,
        ),
    )
