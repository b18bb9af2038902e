"""Exponential back-off with full jitter.

Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

# Doubling further would leave every bound far behind, and overflow a float in the end.
_MOST_DOUBLINGS = 32


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait after a failure: anything up to a bound that doubles with each in a row.

    ``shortest_seconds`` is for those who would otherwise repeat a costly request at once.
    """

    base_seconds: float
    max_seconds: float
    shortest_seconds: float = 0.0

    def bound_seconds(self, failures: int) -> float:
        """The longest wait after so many failures in a row (1 for the first)."""
        doublings = min(max(failures - 1, 0), _MOST_DOUBLINGS)
        return min(self.max_seconds, self.base_seconds * 2.0**doublings)

    def seconds(self, failures: int, rng: Random) -> float:
        """A wait drawn from the shortest to the bound, so that workers do not return together."""
        bound_seconds = self.bound_seconds(failures)
        return rng.uniform(min(self.shortest_seconds, bound_seconds), bound_seconds)
