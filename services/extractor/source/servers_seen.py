"""Whether several servers answer at the source's address, as behind a balancer.

Two Prometheus that scrape the same hold different history: what one of them no longer has is no gap
while the other has it. A single server never starts earlier than it started last, nor does
its lowest timestamp go back and forth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from common.source.cut_off import STEP_MS

# A server that was not seen for so long is gone.
SEEN_SECONDS = 600.0
# Limits of fronts that lie so near to each other are one: each is found to within some seconds.
SAME_LIMIT_MS = 3 * STEP_MS


@dataclass
class BackAndForth:
    """Values that come back after another was seen, ``returns`` times within the time kept."""

    clock: Callable[[], float]
    returns: int
    # Value → when it was seen last, the latest last.
    _seen: dict[str | int, float] = field(default_factory=dict, init=False)
    _returned_at: list[float] = field(default_factory=list, init=False)

    def see(self, value: str | int) -> None:
        """It was seen just now."""
        since = self.clock() - SEEN_SECONDS
        self._seen = {one: at for one, at in self._seen.items() if at >= since}
        self._returned_at = [at for at in self._returned_at if at >= since]
        if value in self._seen and value != next(reversed(self._seen)):
            self._returned_at.append(self.clock())
        self._seen.pop(value, None)
        self._seen[value] = self.clock()

    @property
    def known(self) -> list[str | int]:
        """All that were seen of late."""
        return list(self._seen)

    @property
    def values(self) -> list[str | int]:
        """All that were seen of late, if they alternate; else the latest alone."""
        values = list(self._seen)
        return values if len(self._returned_at) >= self.returns else values[-1:]


class ServersSeen:
    """What the servers at one address reported of themselves of late."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._starts = BackAndForth(clock, returns=1)
        # A server that reads its own log after a restart may report a value in between.
        self._lowest = BackAndForth(clock, returns=2)
        # How far behind now fronts begin to answer: the time itself moves on.
        self._limits = BackAndForth(clock, returns=2)
        self._now_ms = 0

    def see(self, started: str | None, lowest_ms: int | None) -> None:
        """One has reported its start or its lowest timestamp, or both."""
        if started is not None:
            self._starts.see(started)
        if lowest_ms is not None:
            self._lowest.see(lowest_ms)

    def see_limit(self, limit_ms: int, behind_ms: int) -> None:
        """One begins to answer at a time, which lies so far behind its clock."""
        self._now_ms = limit_ms + behind_ms
        near = (
            int(one) for one in self._limits.known if abs(int(one) - behind_ms) <= SAME_LIMIT_MS
        )
        self._limits.see(next(near, behind_ms))

    @property
    def count(self) -> int:
        """How many there are, as far as they were told apart."""
        each = self._starts, self._lowest, self._limits
        return max(1, *(len(one.values) for one in each))

    def all_hold_from_ms(self) -> int | None:
        """Where the last of several servers begins to hold samples; None if there is one only."""
        if self.count < 2:
            return None
        begin_ms = [int(value) for value in self._lowest.values]
        begin_ms += [self._now_ms - int(value) for value in self._limits.values]
        return max(begin_ms, default=None)
