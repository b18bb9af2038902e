"""The parts of the oracle that need no server: what it excuses, and what it does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from common.state.windows import FeedStatus
from devtools.chaos.comparing import Known, Point, summary
from devtools.chaos.epochs import committed
from services.verifier.explain import DEAD_LETTERED, Explained
from services.verifier.outcome import Outcome, QueryResult
from services.verifier.points import SeriesKey

ODD = SeriesKey.of("odd_000001", {"job": "load"})


def feed(
    origin_ms: int,
    head_ms: int,
    backlog: Sequence[tuple[int, int]] = (),
    open_: Sequence[tuple[int, int]] = (),
) -> FeedStatus:
    return FeedStatus(
        query="q",
        tier="hot",
        fingerprint="f",
        origin_ms=origin_ms,
        head_ms=head_ms,
        backlog=backlog,
        open=open_,
        unsettled=(),
        attempts=0,
        planned_ms=0,
        gaps=0,
    )


@pytest.mark.parametrize(
    ("backlog", "open_", "spans"),
    [
        ([], [], [(0, 100)]),
        ([(0, 100)], [], []),
        ([(20, 30)], [(50, 60)], [(0, 20), (30, 50), (60, 100)]),
        ([(90, 100)], [(0, 10), (10, 20)], [(20, 90)]),
    ],
)
def test_committed_time_is_what_is_neither_open_nor_in_the_backlog(
    backlog: list[tuple[int, int]], open_: list[tuple[int, int]], spans: list[tuple[int, int]]
) -> None:
    assert list(committed(feed(0, 100, backlog, open_))) == spans


def test_a_feed_without_time_has_committed_nothing() -> None:
    assert list(committed(feed(100, 100))) == []


def test_bad_points_are_known_by_series_and_all_their_times() -> None:
    known = Known([Point(ODD, 5), Point(ODD, 9)])

    assert known.facts("any").dead.keys() == {ODD}
    np.testing.assert_array_equal(known.facts("any").dead[ODD], [5, 9])


def test_nothing_is_excused_by_what_redis_says() -> None:
    known = Known([])

    assert known.pending("any") == {}
    assert known.facts("any").ranges == {}


def result(**fields: int) -> QueryResult:
    found = QueryResult("q", source=10, expected=10, found=10, equal=10)
    for name, value in fields.items():
        setattr(found, name, value)
    return found


def test_equal_points_are_no_problem() -> None:
    compared = summary(Outcome(0, 1, [result(), result()]), 1.0)

    assert compared.problem is None
    assert (compared.source, compared.equal, compared.refused) == (20, 20, 0)


def test_a_bad_point_that_is_missing_is_no_problem_but_counted() -> None:
    odd = result(missing=2)
    odd.explained = Explained(missing=Counter({DEAD_LETTERED: 2}))

    compared = summary(Outcome(0, 1, [odd]), 1.0)

    assert compared.problem is None
    assert (compared.refused, compared.missing) == (2, 0)


def test_a_comparison_of_nothing_is_a_problem() -> None:
    compared = summary(Outcome(3, 9, [QueryResult("q")]), 1.0)

    assert compared.problem is not None
    assert "nothing is proven" in compared.problem
    assert compared.not_compared == ("q",)


def test_a_query_without_points_is_named() -> None:
    compared = summary(Outcome(3, 9, [result(), QueryResult("other")]), 1.0)

    assert compared.problem is None
    assert compared.not_compared == ("other",)


@pytest.mark.parametrize("kind", ["extra", "different"])
def test_a_bad_point_excuses_no_other_kind_of_difference(kind: str) -> None:
    odd = result(**{kind: 1})
    getattr(odd.explained, kind)[DEAD_LETTERED] = 1

    assert summary(Outcome(0, 1, [odd]), 1.0).problem is not None


@pytest.mark.parametrize("kind", ["missing", "extra", "different"])
def test_any_difference_is_a_problem_that_names_it(kind: str) -> None:
    problem = summary(Outcome(3, 9, [result(**{kind: 4})]), 1.0).problem

    assert problem is not None
    assert "(3, 9]" in problem
    words = {"missing": "4 points missing", "extra": "4 too many", "different": "4 different"}
    assert words[kind] in problem


@pytest.mark.parametrize("reason", ["gap", "in_flight", "before_origin", "source_changed"])
def test_what_verify_would_explain_is_a_problem_here(reason: str) -> None:
    excused = result(missing=3)
    excused.explained = Explained(missing=Counter({reason: 3}))

    problem = summary(Outcome(0, 1, [excused]), 1.0).problem

    assert problem is not None
    assert reason in problem
