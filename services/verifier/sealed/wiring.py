"""From settings to a checker of seals."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from common.config import InForce, Settings
from services.verifier.sealed.check import PIECE_POINTS, Checker
from services.verifier.sealed.configurations import read_records
from services.verifier.sealed.owners import Owners
from services.verifier.sink import Sink
from services.verifier.wiring import TIER


def checker_of(
    settings: Settings,
    sink: Sink,
    now_ms: Callable[[], int],
    progress: Callable[[str, int, int], None] = lambda query, done, of: None,
) -> Checker:
    """The checker of what ``settings`` configure; ``now_ms``: the time that retention goes by.

    Raises :class:`~common.errors.SinkError`.
    """
    pipeline = settings.pipeline.redis_namespace
    present = {query.name: InForce.of(query, settings) for query in settings.extract.queries}
    records, notes = read_records(sink, pipeline, TIER)
    kept_seconds = min(settings.load.tiers[TIER].retention_seconds or inf, sink.kept_seconds())

    def forgotten_up_to_ms() -> int:
        return 0 if kept_seconds == inf else now_ms() - round(kept_seconds * 1_000)

    return Checker(
        sink=sink,
        pipeline=pipeline,
        tier=TIER,
        owners=Owners(present, records, sink.measurements()).of,
        notes=notes,
        forgotten_up_to_ms=forgotten_up_to_ms,
        progress=progress,
        piece_points=PIECE_POINTS,
    )
