"""What has to be extracted: how far each feed may be planned, and in which pieces.

Pure arithmetic on milliseconds; :mod:`common.state.windows` keeps the result.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.config import InForce, Query, Settings
from common.promql.reach import RAW, Reach, reach_of
from common.state.windows import Feed, Window

HOT = "hot"


@dataclass(frozen=True, slots=True)
class Plan:
    """How one feed is planned.

    ``step_ms``: every bound is a multiple of it. ``live_ms``: how far back from its head a feed is
    live. ``longest_ms``: the longest window of a class. ``configuration``: what its points depend
    on, as text.
    """

    feed: Feed
    query: Query
    step_ms: int
    settle_ms: int
    lookback_ms: int
    live_ms: int
    catchup_ms: int
    configuration: str = ""

    def head_ms(self, now_ms: int) -> int:
        """The last aligned instant whose samples have settled at Prometheus' time ``now_ms``."""
        return floor_to(now_ms - self.settle_ms, self.step_ms)

    def origin_ms(self, now_ms: int, lowest_ms: int | None) -> int:
        """Where a feed that was never planned begins.

        Not before Prometheus' lowest timestamp: there is nothing to miss there.
        """
        origin = floor_to(now_ms - self.lookback_ms, self.step_ms)
        if lowest_ms is not None:
            origin = max(origin, floor_to(min(lowest_ms, now_ms) - 1, self.step_ms))
        return min(origin, self.head_ms(now_ms))

    def longest_ms(self, window_class: str) -> int:
        """The longest window of ``window_class``."""
        return self.live_ms if window_class == "live" else self.catchup_ms

    def middle_ms(self, window: Window) -> int | None:
        """Where to split a window that is too large; ``None`` when it is one step already."""
        steps = (window.end_ms - window.start_ms) // self.step_ms
        return window.start_ms + steps // 2 * self.step_ms if steps > 1 else None

    def reach(self, window: Window) -> Reach:
        """What must still be there for this window to be whole.

        A rule needs the samples of its whole range: what is evaluated where a part of them has
        been deleted is not what it was. A live one is taken as it is, because Prometheus itself
        evaluates it so.
        """
        as_it_is = self.query.kind == "select" or window.window_class == "live"
        return RAW if as_it_is else reach_of(self.query.text)

    def expired_until_ms(self, window: Window, origin_ms: int, lowest_ms: int | None) -> int | None:
        """Up to where the source no longer holds this window, given its lowest timestamp.

        Before the feed's origin nothing was promised.
        """
        if lowest_ms is None or lowest_ms <= origin_ms + self.step_ms:
            return None
        # Samples at the lowest timestamp itself are there: the bound is exclusive for them.
        bound = floor_to(self.reach(window).whole_from_ms(lowest_ms) - 1, self.step_ms)
        return min(bound, window.end_ms) if bound > window.start_ms else None


def floor_to(time_ms: int, step_ms: int) -> int:
    """The last multiple of ``step_ms`` at or before ``time_ms``."""
    return time_ms // step_ms * step_ms


def plans_of(settings: Settings) -> list[Plan]:
    """One plan for each query, in the order of the configuration."""
    extract = settings.extract
    return [
        Plan(
            feed=Feed(query.name, HOT, query.kind, query.fingerprint(HOT)),
            query=query,
            step_ms=query.step_ms,
            settle_ms=query.settle_ms(extract.settle_seconds),
            lookback_ms=round(extract.initial_lookback_seconds * 1000),
            live_ms=max(
                query.step_ms,
                floor_to(round(extract.live_window_max_seconds * 1000), query.step_ms),
            ),
            catchup_ms=extract.catchup_window_samples * query.step_ms,
            configuration=InForce.of(query, settings).to_json(),
        )
        for query in extract.queries
    ]
