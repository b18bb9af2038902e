"""Whether several servers answer at the source's address, as behind a balancer.

Two Prometheus that scrape the same hold different history: what one of them no longer has is no gap
while the other has it. A single server never starts earlier than it started last, nor does
its lowest timestamp go back and forth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

# A server that was not seen for so long is gone.
SEEN_SECONDS = 600.0


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

    def see(self, started: str | None, lowest_ms: int | None) -> None:
        """One has reported its start or its lowest timestamp, or both."""
        if started is not None:
            self._starts.see(started)
        if lowest_ms is not None:
            self._lowest.see(lowest_ms)

    @property
    def count(self) -> int:
        """How many there are, as far as they were told apart."""
        return max(1, len(self._starts.values), len(self._lowest.values))

    def all_hold_from_ms(self) -> int | None:
        """Where the last of several servers begins to hold samples; None if there is one only."""
        if self.count < 2:
            return None
        return max((int(value) for value in self._lowest.values), default=None)
