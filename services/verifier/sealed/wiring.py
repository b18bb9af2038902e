"""From settings to a checker of seals."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from common.config import Settings
from common.samples.series import SeriesEncoder
from services.verifier.expect import identify_of
from services.verifier.sealed.candidates import candidates
from services.verifier.sealed.check import PIECE_POINTS, Checker
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
    encoder = SeriesEncoder.from_settings(settings)
    queries = [(query, identify_of(query, encoder)) for query in settings.extract.queries]
    kept_seconds = min(settings.load.tiers[TIER].retention_seconds or inf, sink.kept_seconds())

    def forgotten_up_to_ms() -> int:
        return 0 if kept_seconds == inf else now_ms() - round(kept_seconds * 1_000)

    return Checker(
        sink=sink,
        pipeline=settings.pipeline.redis_namespace,
        tier=TIER,
        candidates=candidates(queries, sink.measurements(), settings.transform.relabel),
        forgotten_up_to_ms=forgotten_up_to_ms,
        progress=progress,
        piece_points=PIECE_POINTS,
    )
