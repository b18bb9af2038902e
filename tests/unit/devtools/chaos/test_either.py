"""What the sink may hold of two replicas, and that anything else is noticed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pytest

from devtools.chaos.worlds.either import Judged, judge
from devtools.chaos.worlds.pair import AsRead
from services.verifier.points import Column, Points, SeriesKey
from services.verifier.source import SourceSeries

STEP_MS = 10
SPAN = (0, 40)
KEY, OTHER = (SeriesKey.of("m", {"series": name}) for name in ("1", "2"))

# Each scrapes twice a step, at times of its own.
FIRST = {at: float(at) for at in (1, 6, 11, 16, 21, 26, 31, 36)}
SECOND = {at: float(at) for at in (4, 9, 14, 19, 24, 29, 34, 39)}


def column(points: Mapping[int, float]) -> Column:
    times = sorted(points)
    return Column(np.array(times, np.int64), np.array([points[at] for at in times]))


def without(points: Mapping[int, float], steps: Iterable[int]) -> dict[int, float]:
    return {at: value for at, value in points.items() if (at - 1) // STEP_MS not in steps}


def judged(
    found: Mapping[int, float],
    first: Mapping[int, float] = FIRST,
    second: Mapping[int, float] = SECOND,
    *,
    span: tuple[int, int] = SPAN,
    whole: bool = True,
) -> Judged:
    held: list[Points] = [{KEY: column(first)}, {KEY: column(second)}]
    return judge("q", held, {KEY: column(found)} if found else {}, span, STEP_MS, whole=whole)


def wrong(found: Judged) -> tuple[int, int, int]:
    return found.missing, found.extra, found.different


def test_all_of_one_replica_is_right_whichever_it_is() -> None:
    for one in (FIRST, SECOND):
        found = judged(one)
        assert wrong(found) == (0, 0, 0)
        assert found.equal == found.wanted == len(one)


def test_each_step_may_be_of_another_replica() -> None:
    found = judged(without(FIRST, [1, 3]) | without(SECOND, [0, 2]))
    assert wrong(found) == (0, 0, 0)
    assert (found.equal, found.examples) == (8, [])


@pytest.mark.parametrize(
    ("found", "counts"),
    [
        (FIRST | {4: 4.0}, (0, 1, 0)),  # both in one step
        ({at: value for at, value in FIRST.items() if at != 6}, (1, 0, 0)),
        (FIRST | {6: 6.5}, (0, 0, 1)),
        (FIRST | {7: 7.0}, (0, 1, 0)),  # of neither
        (without(FIRST, [2]), (2, 0, 0)),
    ],
)
def test_what_is_of_neither_alone_is_noticed(
    found: dict[int, float], counts: tuple[int, int, int]
) -> None:
    result = judged(found)
    assert wrong(result) == counts
    assert len(result.examples) == 1


def test_two_series_of_a_step_are_of_one_replica() -> None:
    held: list[Points] = [{KEY: column(one), OTHER: column(one)} for one in (FIRST, SECOND)]
    mixed: Points = {KEY: column(FIRST), OTHER: column(SECOND)}
    found = judge("q", held, mixed, SPAN, STEP_MS, whole=True)
    assert wrong(found) == (8, 8, 0)


def test_a_step_that_only_one_holds_must_come_from_it() -> None:
    first, second = without(FIRST, [1]), without(SECOND, [3])
    whole = first | without(SECOND, [0, 2, 3])
    assert wrong(judged(whole, first, second)) == (0, 0, 0)
    lost = judged(first, first, second)
    assert wrong(lost) == (2, 0, 0)
    assert lost.examples == ["q (10, 20]: 0 of 2 points"]
    assert wrong(judged({}, {}, {})) == (0, 0, 0)


def test_less_than_half_of_raw_samples_is_too_little() -> None:
    thin = {1: 1.0} | without(FIRST, [0])
    more = SECOND | {2: 2.0, 3: 3.0}
    assert wrong(judged(thin, thin, more)) == (3, 0, 0)
    assert wrong(judged(thin, thin, more, whole=False)) == (0, 0, 0)
    assert wrong(judged(thin, thin, SECOND)) == (0, 0, 0)


def test_of_a_step_that_is_seen_in_part_nothing_is_asked() -> None:
    first = {at: value for at, value in FIRST.items() if at != 6}
    second = {4: 4.0, 9: 9.0}
    assert wrong(judged({}, first={}, second=second, span=(3, 9))) == (0, 0, 0)
    assert wrong(judged({}, first={}, second=second, span=(0, 10))) == (2, 0, 0)
    assert wrong(judged(first, first, second, span=(0, 40))) == (0, 0, 0)


class Held:
    """A source that says which time it was asked for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_closed = False

    def read_select(self, selector: str, start_ms: int, end_ms: int) -> list[SourceSeries]:
        bounds = np.array([start_ms, end_ms], np.int64)
        return [SourceSeries({"source": self.name}, bounds, bounds.astype(np.float64))]

    def read_expr(self, expr: str, step_ms: int, start_ms: int, end_ms: int) -> list[SourceSeries]:
        return self.read_select(expr, start_ms, end_ms)

    def close(self) -> None:
        self.is_closed = True


def test_each_stretch_is_asked_of_the_replica_that_it_was_read_from() -> None:
    first, second = Held("first"), Held("second")
    reader = AsRead([first, second], [(10, 20, second), (20, 30, first), (35, 99, second)])
    for found in (reader.read_select("q", 5, 50), reader.read_expr("q", 1, 5, 50)):
        asked = [(one.labels["source"], *one.timestamps_ms.tolist()) for one in found]
        assert sorted(asked) == [
            ("first", 5, 10),
            ("first", 20, 30),
            ("first", 30, 35),
            ("second", 10, 20),
            ("second", 35, 50),
        ]
    reader.close()
    assert first.is_closed
    assert second.is_closed
