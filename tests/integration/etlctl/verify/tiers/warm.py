"""A warm tier whose content the test writes itself, with its seals."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np

from common.samples.columns import Samples
from common.samples.rollup import Rollup
from common.samples.seal import series_key
from services.transformer.rollup import RolledUp, roll_up
from services.transformer.rollup_lines import digest_of
from tests.integration.etlctl.verify.world import World

ROLLUP = Rollup.of(60_000, ["avg", "min", "max", "count", "last", "increase"])
WINDOW_MS = 600_000
Line = tuple[bytes, int, dict[str, float]]


@dataclass
class Warm:
    """The world with a warm tier, and what that should hold, as the transformer computes it."""

    world: World
    database: str
    lines: list[Line] = field(init=False)

    def __post_init__(self) -> None:
        self.world.changes["load.tiers"] = {
            "warm": {
                "bucket": self.database,
                "resolution": "1m",
                "aggregates": list(ROLLUP.aggregates),
            }
        }
        self.lines = []
        points = self.points(self.world.start_ms, self.world.end_ms)
        at = 0
        for key, count in zip(points.keys, points.counts.tolist(), strict=True):
            for row in range(at, at + count):
                values = {name: float(column[row]) for name, column in points.fields.items()}
                self.lines.append((key, int(points.timestamps_ms[row]), values))
            at += count

    def points(self, start_ms: int, end_ms: int) -> RolledUp:
        """What a window should hold: its samples begin with those before it."""
        of_series = groupby(sorted(self.world.expected()), key=lambda point: point[0])
        columns = [
            (series_key(*key), [one for one in found if one[1] <= end_ms // 60_000 * 60_000])
            for key, found in of_series
        ]
        flat = [one for _, found in columns for one in found]
        keys = tuple(key for key, _ in columns)
        samples = Samples(
            keys,
            np.array([len(found) for _, found in columns], np.int64),
            np.array([time_ms for _, time_ms, _ in flat], np.int64),
            np.array([value for _, _, value in flat], np.float64),
            keys,
        )
        return roll_up(samples, start_ms, end_ms, ROLLUP)[0]

    def fill(self) -> None:
        """Everything, with a seal of each window."""
        self.write(self.lines)
        world, lines = self.world, []
        for start_ms in range(world.start_ms, world.end_ms, WINDOW_MS):
            end_ms = min(start_ms + WINDOW_MS, world.end_ms)
            found = digest_of(self.points(start_ms, end_ms))
            lines.append(
                f"etl_seal,pipeline={world.namespace},query=raw,tier=warm"
                f' start_ms={start_ms}i,points={found.points}i,digest="{found.text}",'
                f"sealed_ms=1700000000000i {end_ms}"
            )
        self.write_raw("\n".join(lines))

    def write(self, lines: list[Line]) -> None:
        texts = []
        for key, time_ms, values in lines:
            fields = ",".join(f"{name}={value!r}" for name, value in values.items())
            texts.append(f"{key.decode()} {fields} {time_ms}")
        self.write_raw("\n".join(texts))

    def write_raw(self, text: str) -> None:
        replace(self.world, database=self.database).write_raw(text)

    def delete(self, condition: str) -> None:
        self.world.influx.query(f'DELETE FROM "load" WHERE {condition}', database=self.database)

    def line(self, index: int) -> Line:
        """Of host a."""
        return [one for one in self.lines if one[0] == b"load,host=a,job=app"][index]
