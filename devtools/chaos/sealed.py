"""What the seals in the sink say after a run: every window that one speaks of must be intact.

Time without a seal is none of a loss: a Redis that lost everything also lost the seals that had not
been written, and when the services stop, some still wait.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, field

from common.config import Settings, TierName
from common.state.keys import feed_of
from services.verifier.connect import sink_of
from services.verifier.sealed.outcome import DAMAGE, Kind
from services.verifier.sealed.wiring import checker_of
from services.verifier.wiring import choose


@dataclass(slots=True)
class SealsFound:
    """Windows that are intact, the points in them, and what is wrong with others."""

    windows: int = 0
    points: int = 0
    problems: list[str] = field(default_factory=list)


def check_seals(
    settings: Settings,
    start_ms: int,
    end_ms: int,
    tier: TierName = "hot",
    queries: Collection[str] = (),
) -> SealsFound:
    """Check every window in ``(start_ms, end_ms]`` of a tier, of these queries or of all.

    Raises :class:`~common.errors.SinkError`.
    """
    result = SealsFound()
    with closing(sink_of(settings, tier)) as sink:
        checker = checker_of(settings, sink, lambda: time.time_ns() // 1_000_000, tier=tier)
        for query in choose(settings, queries):
            if not query.is_in(tier):
                continue
            name = query.name if tier == "hot" else feed_of(query.name, tier)
            outcome = checker.run(query.name, start_ms, end_ms)
            result.windows += outcome.windows[Kind.INTACT]
            result.points += outcome.points
            result.problems += [
                f"{name}: sealed windows of ({one.start_ms}, {one.end_ms}] are {one.kind}:"
                f" {one.sealed} points sealed, {one.found} found"
                for one in outcome.found
                if one.kind in (*DAMAGE, Kind.UNTOLD)
            ]
            if not outcome.windows[Kind.INTACT]:
                result.problems.append(f"{name}: no sealed window was found intact")
    return result
