"""From settings to a checker of seals."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from common.config import InForce, Settings, TierName
from services.verifier.sealed.check import PIECE_POINTS, Checker
from services.verifier.sealed.configurations import read_records
from services.verifier.sealed.owners import Owners
from services.verifier.sink.read import Sink
from services.verifier.wiring import HOT


def checker_of(
    settings: Settings,
    sink: Sink,
    now_ms: Callable[[], int],
    progress: Callable[[str, int, int], None] = lambda query, done, of: None,
    tier: TierName = HOT,
) -> Checker:
    """The checker of what ``settings`` configure of a tier; ``now_ms``: what retention goes by.

    Raises :class:`~common.errors.SinkError`.
    """
    pipeline = settings.pipeline.redis_namespace
    present = {
        query.name: InForce.of(query, settings, tier)
        for query in settings.extract.queries
        if query.is_in(tier)
    }
    records, notes = read_records(sink, pipeline, tier)
    kept_seconds = min(settings.load.tiers[tier].retention_seconds or inf, sink.kept_seconds())

    def forgotten_up_to_ms() -> int:
        return 0 if kept_seconds == inf else now_ms() - round(kept_seconds * 1_000)

    known = [one for of in records.values() for each in of for one in (each.before, each.after)]
    layouts = {one.layout for one in (*present.values(), *known) if one}
    places = sink.places(layouts, rolled=settings.load.tiers[tier].rollup is not None)
    return Checker(
        sink=sink,
        pipeline=pipeline,
        tier=tier,
        owners=Owners(present, records, places).of,
        notes=notes,
        forgotten_up_to_ms=forgotten_up_to_ms,
        progress=progress,
        piece_points=PIECE_POINTS,
    )
