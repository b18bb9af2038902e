"""The one back-off of the project."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.runtime.backoff import Backoff

BACKOFF = Backoff(base_seconds=0.5, max_seconds=30.0)


@pytest.mark.parametrize(
    ("failures", "bound_seconds"),
    [(0, 0.5), (1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (10**9, 30.0)],
)
def test_the_bound_doubles_up_to_its_maximum(failures: int, bound_seconds: float) -> None:
    assert BACKOFF.bound_seconds(failures) == bound_seconds


@given(st.integers(0, 100), st.integers())
def test_a_wait_lies_within_its_bound(failures: int, seed: int) -> None:
    assert 0 <= BACKOFF.seconds(failures, Random(seed)) <= BACKOFF.bound_seconds(failures)


@given(st.integers(0, 100), st.integers())
def test_no_wait_is_shorter_than_the_shortest(failures: int, seed: int) -> None:
    backoff = Backoff(base_seconds=1.0, max_seconds=30.0, shortest_seconds=0.5)
    assert 0.5 <= backoff.seconds(failures, Random(seed)) <= backoff.bound_seconds(failures)


def test_the_longest_wait_is_never_exceeded_by_the_shortest() -> None:
    backoff = Backoff(base_seconds=1.0, max_seconds=0.2, shortest_seconds=0.5)
    assert backoff.seconds(1, Random(1)) == 0.2


def test_waits_differ() -> None:
    rng = Random(1)
    assert len({BACKOFF.seconds(5, rng) for _ in range(20)}) == 20
