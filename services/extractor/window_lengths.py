"""How long a window of backlog is: long windows cost less a sample, but must not hold too many.

Prometheus packs a sample of 480 a series for half of what one of 240 costs, because fewer windows
cut its chunks. What a window holds is staged in Redis until its commit, and its JSON is built in
Prometheus' memory where it is not read by remote read; so the length follows what the query's last
window held.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from common.state.windows import Window, WindowClass
from services.extractor.windows import Plan

# Some 30 MB of payloads, before any back-pressure is seen.
MOST_SAMPLES = 5_000_000
# Points of each series: before anything is known of a query, and where it has very many series.
FIRST_POINTS = 240
LEAST_POINTS = 60
# After so many windows that were read at once, twice the length that was too long is tried again: a
# source may have been slow for a while.
ENOUGH_WINDOWS = 32


@dataclass
class WindowLengths:
    """Remembers how many samples a query has in a time; another process learns that by itself."""

    _samples_per_ms: dict[str, float] = field(default_factory=dict, init=False)
    # By query, how long a window may be, and how many of that length were read since.
    _at_most: dict[str, tuple[int, int]] = field(default_factory=dict, init=False)

    def too_long(self, plan: Plan, window: Window) -> None:
        """Note that a window could not be read at once: the next ones are half as long at most."""
        half_ms = (window.end_ms - window.start_ms) // 2
        self._at_most[plan.query.name] = max(half_ms, LEAST_POINTS * plan.step_ms), 0

    def held(self, plan: Plan, window: Window, samples: int) -> None:
        """Note what a window held."""
        query, length_ms = plan.query.name, window.end_ms - window.start_ms
        self._samples_per_ms[query] = samples / length_ms
        at_most_ms, windows = self._at_most.get(query, (0, 0))
        # Shorter ones, such as live ones, say nothing.
        if 0 < at_most_ms < 2 * length_ms:
            again = windows + 1 == ENOUGH_WINDOWS
            self._at_most[query] = (2 * at_most_ms, 0) if again else (at_most_ms, windows + 1)

    def longest_ms(self, plan: Plan, window_class: WindowClass) -> int:
        """The longest window of ``plan`` that may be leased now.

        That of backlog is halved while it would hold more than :data:`MOST_SAMPLES`, so that its
        bounds stay multiples of the shorter ones'. Windows of a rollup are of one length: their
        buckets must be whole.
        """
        longest_ms = plan.longest_ms(window_class)
        if window_class == "live" or plan.rollup is not None:
            return longest_ms
        points = longest_ms // plan.step_ms
        at_most_ms, _ = self._at_most.get(plan.query.name, (longest_ms, 0))
        while points >= 2 * LEAST_POINTS and points * plan.step_ms > at_most_ms:
            points //= 2
        samples_per_ms = self._samples_per_ms.get(plan.query.name)
        if samples_per_ms is None:
            return min(points, FIRST_POINTS) * plan.step_ms
        while points >= 2 * LEAST_POINTS and samples_per_ms * points * plan.step_ms > MOST_SAMPLES:
            points //= 2
        return points * plan.step_ms
