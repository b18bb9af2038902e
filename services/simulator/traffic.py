"""The traffic of the test application: requests as a seeded function of time.

Pure: time is what the caller says, chance is the :class:`random.Random` it gives. The number of
requests follows the hour of the (simulated) day; now and then, for some minutes, the application is
slow or failing. When that happens depends on the seed and the time alone, so two runs with one seed
agree, wherever they begin.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from random import Random

# A day is cut into so many spells (10 minutes each in a real day); each may hold one phase.
_SPELLS_A_DAY = 144
_SLOW_SHARE = 0.15
_FAILING_SHARE = 0.10
_SLOW_FACTOR = 5.0
_FAILING_ERROR_SHARE = 0.30
_QUIETEST_SHARE = 0.3  # of the busiest hour's rate
_BUSIEST_HOUR = 15.0
_SPREAD = 0.45  # sigma of the log-normal durations
_LONGEST_SECONDS = 30.0  # the application's own time-out


class Phase(Enum):
    """How the application is doing."""

    NORMAL = "normal"
    SLOW = "slow"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class Route:
    """One handler: its share of the traffic, usual duration and outcomes."""

    method: str
    handler: str
    weight: float
    median_seconds: float
    success: str = "200"
    refused: str = "404"
    refused_share: float = 0.02
    error_share: float = 0.004

    @property
    def statuses(self) -> tuple[str, ...]:
        """Every status that it can answer with."""
        return (self.success, self.refused, "500", "503")


ROUTES = (
    Route("GET", "/", 30, 0.012),
    Route("GET", "/api/items", 25, 0.045),
    Route("GET", "/api/items/{id}", 20, 0.025, refused_share=0.05),
    Route("POST", "/api/items", 8, 0.080, success="201", refused="400"),
    Route("GET", "/api/search", 12, 0.150, refused="400"),
    Route("POST", "/api/login", 5, 0.220, refused="401", refused_share=0.15),
)


@dataclass(frozen=True, slots=True)
class Request:
    """One request: when it began (seconds since the epoch), how long it took, how it ended."""

    start_seconds: float
    duration_seconds: float
    method: str
    handler: str
    status: str

    @property
    def end_seconds(self) -> float:
        """When it was answered."""
        return self.start_seconds + self.duration_seconds


@dataclass(frozen=True, slots=True)
class Traffic:
    """The model. ``day_seconds`` shortens the day, so that a short demo sees its shape too."""

    seed: int
    busiest_rate_per_second: float = 20.0
    day_seconds: float = 86_400.0
    routes: tuple[Route, ...] = ROUTES

    def rate_per_second(self, now_seconds: float) -> float:
        """Expected requests per second at a time: lowest at night, highest in the afternoon."""
        hour = (now_seconds % self.day_seconds) / self.day_seconds * 24
        height = (1 + math.cos((hour - _BUSIEST_HOUR) / 24 * 2 * math.pi)) / 2
        return self.busiest_rate_per_second * (_QUIETEST_SHARE + (1 - _QUIETEST_SHARE) * height)

    def phase(self, now_seconds: float) -> Phase:
        """How the application does at a time."""
        spell_seconds = self.day_seconds / _SPELLS_A_DAY
        spell, into_seconds = divmod(now_seconds, spell_seconds)
        # Seeded with a text: its hash is the same in every process.
        chance = Random(f"{self.seed}:{int(spell)}")
        kind = chance.random()
        begin = chance.uniform(0, 0.5) * spell_seconds
        end = begin + chance.uniform(0.2, 0.5) * spell_seconds
        if not begin <= into_seconds < end:
            return Phase.NORMAL
        if kind < _SLOW_SHARE:
            return Phase.SLOW
        if kind < _SLOW_SHARE + _FAILING_SHARE:
            return Phase.FAILING
        return Phase.NORMAL

    def requests(self, start_seconds: float, random: Random) -> Iterator[Request]:
        """Endless requests from ``start_seconds`` on, in the order in which they begin.

        A Poisson process of changing rate, by thinning: candidates come at the busiest rate, and
        each is kept with the share that the rate of its moment has of it.
        """
        weights = [route.weight for route in self.routes]
        now_seconds = start_seconds
        while True:
            now_seconds += random.expovariate(self.busiest_rate_per_second)
            kept = random.random() < self.rate_per_second(now_seconds) / (
                self.busiest_rate_per_second
            )
            if kept:
                route = random.choices(self.routes, weights)[0]
                yield self._request(route, now_seconds, random)

    def _request(self, route: Route, now_seconds: float, random: Random) -> Request:
        phase = self.phase(now_seconds)
        duration_seconds = route.median_seconds * random.lognormvariate(0, _SPREAD)
        error_share = route.error_share
        if phase is Phase.SLOW:
            duration_seconds *= _SLOW_FACTOR
        elif phase is Phase.FAILING:
            error_share = _FAILING_ERROR_SHARE
        outcome = random.random()
        if outcome < error_share:
            # Overloaded or broken: a failing application is mostly the latter.
            status = random.choices(("500", "503"), (3, 1))[0]
        elif outcome < error_share + route.refused_share:
            status = route.refused
        else:
            status = route.success
        return Request(
            start_seconds=now_seconds,
            duration_seconds=min(duration_seconds, _LONGEST_SECONDS),
            method=route.method,
            handler=route.handler,
            status=status,
        )
