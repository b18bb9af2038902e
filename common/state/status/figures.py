"""Rates, lag and latency, made of one reading of Redis and some before."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from common.state.feeds import FeedStatus
from common.state.ledger import Audit
from common.state.workers import WorkerReport

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
# Workers do not report more often than that.
_POST_SECONDS = 30.0
_SUM, _COUNT = ("etl_sink_post_duration_seconds_sum", "etl_sink_post_duration_seconds_count")

Values = list[float | None]


@dataclass(frozen=True, slots=True)
class _Counts:
    """What rates are made of, at a moment; ``posts``: worker → seconds and number."""

    at_seconds: float
    extracted: int
    loaded: int
    posts: Mapping[str, tuple[float, float]]


class Figures:
    """Makes the values of :data:`COLUMNS`; what cannot be known is None.

    Where readings are closer together, rates are means of ``mean_seconds``, and durations of half a
    minute.
    """

    def __init__(self, mean_seconds: float) -> None:
        self._mean_seconds = mean_seconds
        self._earlier: deque[_Counts] = deque()

    def of(
        self,
        audit: Audit | None,
        feeds: Mapping[str, FeedStatus],
        workers: Sequence[WorkerReport],
        at_seconds: float,
    ) -> Values:
        """The values at a moment of a clock that never runs backwards; without an audit, none."""
        earlier = self._earlier
        if audit is None:
            earlier.clear()
            return [None] * len(COLUMNS)
        total = audit.total
        now = _Counts(at_seconds, total.extracted, total.loaded, _posts(workers))
        while len(earlier) > 1 and earlier[1].at_seconds <= at_seconds - _POST_SECONDS:
            earlier.popleft()
        if earlier and at_seconds - earlier[-1].at_seconds > _MOST_SECONDS:
            earlier.clear()
        rates: Values = [None, None]
        sink_seconds = None
        then = next(
            (one for one in reversed(earlier) if one.at_seconds <= at_seconds - self._mean_seconds),
            earlier[0] if earlier else None,
        )
        if then is not None and (passed := at_seconds - then.at_seconds) > 0:
            # Less than before: the ledger was reset.
            rates = [
                max(0, now.extracted - then.extracted) / passed,
                max(0, now.loaded - then.loaded) / passed,
            ]
            sink_seconds = _sink_seconds(now.posts, earlier[0].posts)
        earlier.append(now)
        lag = lag_seconds(feeds, audit.now_ms)
        return [*rates, lag, sink_seconds, float(total.in_flight)]


def lag_seconds(feeds: Mapping[str, FeedStatus], now_ms: int) -> float | None:
    """Age of what is loaded, of the hot feed that is furthest behind; None if none is known."""
    known = [one for one in feeds.values() if one.reconciled]
    hot = [one for one in known if one.tier == _HOT] or known
    ages = [now_ms - one.loaded_watermark_ms for one in hot]
    return max(0, *ages) / 1000 if ages else None


def _posts(workers: Iterable[WorkerReport]) -> dict[str, tuple[float, float]]:
    return {
        one.worker: (one.figures[_SUM], one.figures[_COUNT])
        for one in workers
        if _SUM in one.figures and _COUNT in one.figures
    }


def _sink_seconds(
    now: Mapping[str, tuple[float, float]], then: Mapping[str, tuple[float, float]]
) -> float | None:
    """Mean duration of the posts between two moments; None where there was none."""
    seconds = posts = 0.0
    for worker, (total_seconds, total) in now.items():
        before_seconds, before = then.get(worker, (0.0, 0.0))
        seconds += total_seconds - before_seconds
        posts += total - before
    return seconds / posts if posts > 0 else None
