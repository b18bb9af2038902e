"""A run's result as build/chaos.json and as a table."""

from __future__ import annotations

import math
from typing import Any

from rich import box
from rich.table import Table

from devtools.chaos.suite import REQUIRED_EVENTS, Result
from services.verifier.wiring import HOT


def as_json(result: Result) -> dict[str, Any]:
    """The document that is written; recoveries in seconds, null if there was none."""
    return {
        "seed": result.seed,
        "faults": [
            {
                "kind": found.kind.name,
                "count": found.count,
                "max_recovery_seconds": (
                    round(found.max_recovery_seconds, 1)
                    if math.isfinite(found.max_recovery_seconds)
                    else None
                ),
            }
            for found in sorted(result.kinds.values(), key=lambda found: found.kind.name)
        ],
        "samples_extracted": result.extracted,
        "sealed_windows_intact": result.seals.windows,
        "sealed_points_intact": result.seals.points,
        "points_equal": {
            what: sum(part.equal for part in result.whole if part.what == what)
            for what in sorted({part.what for part in result.whole})
        },
        "backfill": {
            "begun": result.past.begun,
            "lost_with_redis": result.past.lost,
            "cancelled": result.past.cancelled,
            "samples": result.past.samples,
            "seconds_beside_the_faults": round(result.past.seconds),
        },
        "verifier_differing_points": sum(result.verifier.differing.values()),
        "verifier_alarms": result.verifier_alarms,
        "samples_lost": result.lost,
        "samples_duplicated": result.duplicated,
        "ledger_max_imbalance": result.worst_imbalance_samples,
        "redeliveries": result.events.get("entry_claimed", 0),
        "double_settlements_refused": result.events.get("settlement_refused", 0),
    }


def fault_table(result: Result) -> Table:
    """A row for each kind."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("kind", no_wrap=True)
    table.add_column("faults", justify="right")
    table.add_column("longest recovery", justify="right")
    table.add_column("what")
    for found in sorted(result.kinds.values(), key=lambda found: found.kind.name):
        remark = f" ({found.kind.slow})" if found.kind.slow else ""
        table.add_row(
            found.kind.name,
            str(found.count),
            f"{found.max_recovery_seconds:.1f} s",
            f"{found.kind.what}{remark}",
        )
    return table


def figures(result: Result) -> list[str]:
    """Sentences with the numbers that are no kind's."""
    faults = sum(found.count for found in result.kinds.values())
    # The samples of the run once, as hot has them.
    source = sum(part.source for part in result.whole if part.what == HOT)
    rate = source / result.load_seconds if result.load_seconds else 0.0
    compared = sum(part.equal for part in result.whole if part.what == HOT)
    refused = sum(part.refused for part in result.whole)
    return [
        f"{faults} faults of {len(result.kinds)} kinds in {result.faults_seconds:.0f} s,"
        f" {result.proofs} proofs; seed {result.seed}",
        f"{result.extracted:,} samples extracted, {compared:,} points equal ({rate:,.0f} a second),"
        f" {refused} refused by the sink on purpose",
        *_tiers_and_past(result),
        f"{result.seals.windows:,} sealed windows with {result.seals.points:,} points intact by the"
        " seals alone",
        f"by the verifier {sum(result.verifier.differing.values()):,} points differ;"
        f" under way it said so {result.verifier_alarms} times",
        f"{result.lost:,} lost, {result.duplicated:,} duplicated; ledger out of balance by at most"
        f" {result.worst_imbalance_samples} in {result.audits:,} audits",
        "; ".join(
            f"{result.events.get(event, 0):,} {what}" for event, what in REQUIRED_EVENTS.items()
        ),
    ]


def _tiers_and_past(result: Result) -> list[str]:
    """What was compared beside the samples of the run, and what became of the backfill."""
    found = as_json(result)["points_equal"]
    others = [f"{points:,} of {what}" for what, points in found.items() if what != HOT]
    past = result.past
    ended = "ended by itself" if past.over else "was finished without a rate"
    return [
        f"points equal beside them: {', '.join(others)}",
        f"the backfill of the past lasted {past.seconds:.0f} s beside the faults and {ended};"
        f" begun {past.begun} times, cancelled {past.cancelled} times,"
        f" lost with Redis {past.lost} times",
    ]
