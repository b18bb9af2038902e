"""Seals for the tests of ``etlctl verify``, written as the loader writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from common.samples.seal import Digest, series_key
from common.samples.seal_columns import digest
from tests.integration.etlctl.verify.world import Point, World

WINDOW_MS = 600_000


def digest_of(points: Iterable[Point]) -> Digest:
    """Of points in any order."""
    by_key: dict[bytes, dict[int, float]] = {}
    for (measurement, tags), time_ms, value in points:
        by_key.setdefault(series_key(measurement, tags), {})[time_ms] = value
    columns = [sorted(one.items()) for one in by_key.values()]
    flat = [point for column in columns for point in column]
    return digest(
        list(by_key),
        np.array([len(column) for column in columns], np.int64),
        np.array([time_ms for time_ms, _ in flat], np.int64),
        np.array([value for _, value in flat], np.float64),
    )


@dataclass
class Sealer:
    """Seals windows of one query; the later ones are newer."""

    world: World
    query: str = "raw"
    sealed_ms: int = 1_700_000_000_000
    bounds: list[tuple[int, int]] = field(init=False)

    def __post_init__(self) -> None:
        starts = range(self.world.start_ms, self.world.end_ms, WINDOW_MS)
        self.bounds = [(start, min(start + WINDOW_MS, self.world.end_ms)) for start in starts]

    def seal_all(self, points: Sequence[Point]) -> None:
        """Every window of the history."""
        for bounds in self.bounds:
            self.seal(bounds, points)

    def seal(self, bounds: tuple[int, int], points: Iterable[Point], part: str = "") -> None:
        """One window, with what ``points`` has in it."""
        start_ms, end_ms = bounds
        found = digest_of(point for point in points if start_ms < point[1] <= end_ms)
        self.sealed_ms += 1
        self.world.write_raw(
            f"etl_seal,pipeline={self.world.namespace},query={self.query},tier=hot{part}"
            f' start_ms={start_ms}i,points={found.points}i,digest="{found.text}",'
            f"sealed_ms={self.sealed_ms}i {end_ms}"
        )
