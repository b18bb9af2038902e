"""Which configuration was in force at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from common.config import InForce, Query, RelabelRule
from common.samples.rollup import Rollup
from common.state.history import Change
from services.verifier.phases import RESTART_MS, Phases

HEAD_MS = 10 * RESTART_MS


def in_force(select: str, *rules: RelabelRule) -> InForce:
    return InForce(Query(name="q", select=select), rules, (), ())


OLD, NEW, NEWEST = map(in_force, ("a", "b", "c"))
DROPS = in_force("a", RelabelRule(action="labeldrop", regex="x"))

FINE, COARSE = (replace(OLD, rollup=Rollup.of(minutes * 60_000, ["avg"])) for minutes in (5, 10))


def phases(*changes: tuple[Change, InForce]) -> Phases:
    subject_of: Any = None
    return Phases([(Change("", 0), OLD), *changes], subject_of)


@pytest.mark.parametrize(
    ("time_ms", "expected"),
    [
        (HEAD_MS, [OLD]),
        (HEAD_MS + 1, [NEW]),
        (1_000, [OLD]),
        (1_001, [NEW]),  # was extracted after the change
        (2_000, [NEW]),
        (2_001, [OLD]),
        (3_001, [OLD, NEW]),  # had not settled
        (4_001, [OLD]),
    ],
)
def test_another_query_is_in_force_for_what_was_extracted_by_it(
    time_ms: int, expected: list[InForce]
) -> None:
    change = Change("", HEAD_MS, [(1_000, 2_000)], [(3_000, 4_000)])
    assert phases((change, NEW)).at(time_ms) == expected


@pytest.mark.parametrize(("time_ms", "expected"), [(HEAD_MS, [FINE]), (HEAD_MS + 1, [COARSE])])
def test_another_resolution_counts_from_the_instant_that_it_is_extracted_for(
    time_ms: int, expected: list[InForce]
) -> None:
    subject_of: Any = None
    changes = (Change("", 0), FINE), (Change("", HEAD_MS), COARSE)
    assert Phases(changes, subject_of).at(time_ms) == expected


@pytest.mark.parametrize(
    ("time_ms", "expected"),
    [
        (HEAD_MS - RESTART_MS, [OLD]),
        (HEAD_MS - RESTART_MS + 1, [OLD, DROPS]),
        (HEAD_MS + RESTART_MS, [OLD, DROPS]),
        (HEAD_MS + RESTART_MS + 1, [DROPS]),
        (1_500, [OLD, DROPS]),
    ],
)
def test_another_transform_may_have_come_some_minutes_later_or_earlier(
    time_ms: int, expected: list[InForce]
) -> None:
    change = Change("", HEAD_MS, [(1_000, 2_000)])
    assert phases((change, DROPS)).at(time_ms) == expected


def test_of_several_changes_the_last_one_counts_that_applies() -> None:
    both = phases((Change("", 5_000), NEW), (Change("", 7_000, [(1_000, 2_000)]), NEWEST))
    found = [both.at(time_ms) for time_ms in (1_000, 1_500, 5_001, 7_001)]
    assert found == [[OLD], [NEWEST], [NEW], [NEWEST]]
    assert {1_000, 2_000, 5_000, 7_000} <= both.bounds_ms()
