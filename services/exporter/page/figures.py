"""The figures of the plots, made of one reading of Redis and the one before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from common.state.feeds import FeedStatus
from common.state.workers import WorkerReport
from services.exporter.reading import Reading

COLUMNS = (
    "extracted_per_second",
    "loaded_per_second",
    "lag_seconds",
    "sink_seconds",
    "in_flight_samples",
)
_HOT = "hot"
# What lies further apart than this is not told as a rate: it would hide when it happened.
_MOST_SECONDS = 120.0
_SUM, _COUNT = ("etl_sink_post_duration_seconds_sum", "etl_sink_post_duration_seconds_count")

Values = list[float | None]


class Figures:
    """Makes the values of :data:`COLUMNS`; what cannot be known is None."""

    def __init__(self) -> None:
        self._before: tuple[float, Reading] | None = None

    def of(self, reading: Reading, at_seconds: float) -> Values:
        """The values at a moment of a clock that never runs backwards."""
        before, self._before = self._before, (at_seconds, reading)
        values: Values = [None, None, None, None, None]
        if (audit := reading.audit) is not None:
            values[2] = lag_seconds(reading.feeds or {}, audit.now_ms)
            values[4] = float(audit.total.in_flight)
        if before is None or not 0 < at_seconds - before[0] <= _MOST_SECONDS:
            return values
        passed, earlier = at_seconds - before[0], before[1]
        if audit is not None and earlier.audit is not None:
            now, then = audit.total, earlier.audit.total
            # Less than before: the ledger was reset, or dead letters were replayed.
            values[0] = max(0, now.extracted - then.extracted) / passed
            values[1] = max(0, now.loaded - then.loaded) / passed
        if reading.workers is not None and earlier.workers is not None:
            values[3] = _sink_seconds(reading.workers, earlier.workers)
        return values


def lag_seconds(feeds: Mapping[str, FeedStatus], now_ms: int) -> float | None:
    """Age of what is loaded, of the hot feed that is furthest behind; None if none is known."""
    known = [one for one in feeds.values() if one.reconciled]
    hot = [one for one in known if one.tier == _HOT] or known
    ages = [now_ms - one.loaded_watermark_ms for one in hot]
    return max(0, *ages) / 1000 if ages else None


def _sink_seconds(now: Iterable[WorkerReport], then: Iterable[WorkerReport]) -> float | None:
    """Mean duration of the posts between two readings; None where there was none."""
    known = {one.worker: one.figures for one in then}
    seconds = posts = 0.0
    for one in now:
        before = known.get(one.worker, {})
        seconds += one.figures.get(_SUM, 0.0) - before.get(_SUM, 0.0)
        posts += one.figures.get(_COUNT, 0.0) - before.get(_COUNT, 0.0)
    return seconds / posts if posts > 0 else None
