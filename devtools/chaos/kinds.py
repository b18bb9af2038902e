"""The kinds of faults: their names, how often each is wanted, how one is known to have bitten."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from devtools.chaos.epochs import Epochs
from devtools.chaos.journal import Key
from devtools.chaos.oracle import Oracle
from devtools.chaos.rig import Rig

QUICK_TIMES = 20
SLOW_TIMES = 3


@dataclass(slots=True)
class FaultContext:
    """What a fault has to work with; ``rng`` is its own, so that a seed repeats it."""

    rig: Rig
    rng: random.Random
    oracle: Oracle
    epochs: Epochs

    def apart(self, shortest_seconds: float = 0.0, longest_seconds: float = 0.8) -> None:
        """Let a random time pass before the next fault."""
        self.rig.pause(self.rng.uniform(shortest_seconds, longest_seconds))


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault.

    ``fire`` does up to so many and repairs them; it returns how many there were. ``batch`` is how
    many come before one proof. ``expected_events`` are events of the services; at least one must
    have been seen by the end of a full run. ``slow`` says why a kind is done three times only.
    """

    name: str
    what: str
    fire: Callable[[FaultContext, int], int]
    batch: int
    expected_events: tuple[Key, ...] = ()
    slow: str = ""

    @property
    def times(self) -> int:
        """How often a full run does it."""
        return SLOW_TIMES if self.slow else QUICK_TIMES
