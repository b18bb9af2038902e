"""How much of a feed the service compares at once, by what was compared of it before."""

from __future__ import annotations

from dataclasses import dataclass, field

FIRST_PIECE_MS = 600_000
LONGEST_PIECE_MS = 86_400_000
# Time alone makes no piece shorter: what takes long whatever its length would never get done.
SHORTEST_BY_TIME_MS = 60_000
_FEWEST_POINTS = 1_000


@dataclass
class PieceLengths:
    """Lengths in ms of time to compare with the source, and points to compare with their seals.

    ``timeout_seconds``: how long the sink may take; a piece aims at a quarter of it.
    """

    timeout_seconds: float
    _lengths_ms: dict[str, int] = field(default_factory=dict, init=False)
    _points: dict[str, int] = field(default_factory=dict, init=False)

    def of(self, feed: str, first_ms: int = FIRST_PIECE_MS) -> int:
        """How long the next piece is; ``first_ms`` where nothing is known of the feed."""
        return self._lengths_ms.get(feed, first_ms)

    def points(self, feed: str, most: int) -> int:
        """How many sealed points are read at once."""
        return min(most, self._points.get(feed, most))

    def done(
        self,
        feed: str,
        length_ms: int,
        *,
        share: float,
        took_seconds: float,
        shortest_ms: int = SHORTEST_BY_TIME_MS,
    ) -> None:
        """A piece was compared, with this share of the samples that one should have.

        What counts is its own length: less than was to be is no reason to take all of an outage
        at once. Time makes no piece shorter than ``shortest_ms``.
        """
        by_samples = min(4.0, max(0.25, 1 / max(share, 0.001)))
        by_time = max(0.25, self.timeout_seconds / 4 / max(took_seconds, 0.001))
        in_time_ms = max(length_ms * by_time, min(length_ms, shortest_ms))
        next_ms = int(min(length_ms * by_samples, in_time_ms))
        self._lengths_ms[feed] = min(LONGEST_PIECE_MS, max(1, next_ms))
        if feed in self._points:
            self._points[feed] += 1 + self._points[feed] // 4

    def too_long(self, feed: str, length_ms: int) -> None:
        """The sink did not give that much time of the feed."""
        self._lengths_ms[feed] = max(1, length_ms // 4)

    def too_many(self, feed: str, points: int) -> None:
        """The sink did not give that many sealed points."""
        self._points[feed] = max(_FEWEST_POINTS, points // 4)
