"""The hours that the status page keeps in memory."""

from __future__ import annotations

import math

import pytest

from services.exporter.page.history import KEPT_SECONDS, STEP_SECONDS, History

START = 1_800_000_000


def test_the_last_value_of_a_step_is_kept() -> None:
    history = History(["a", "b"])
    assert history.rows() == []
    history.add(START, [1.0, None])
    history.add(START + STEP_SECONDS - 1, [2.0, 0.123456789])
    history.add(START + STEP_SECONDS, [3.0, 4.0])
    assert history.rows() == [[START, 2.0, 0.123457], [START + STEP_SECONDS, 3.0, 4.0]]


def test_it_keeps_so_many_hours_and_no_more() -> None:
    history = History(["a"])
    steps = KEPT_SECONDS // STEP_SECONDS
    for step in range(3 * steps):
        history.add(START + step * STEP_SECONDS, [float(step)])
    rows = history.rows()
    assert [row[1] for row in rows] == [float(step) for step in range(2 * steps, 3 * steps)]


def test_what_was_not_read_is_a_hole_not_an_old_value() -> None:
    history = History(["a"])
    for at in (START, START + KEPT_SECONDS + 5 * STEP_SECONDS):
        history.add(at, [1.0])
    assert history.rows() == [[START + KEPT_SECONDS + 5 * STEP_SECONDS, 1.0]]


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_json_does_not_have_is_null(value: float | None) -> None:
    history = History(["a"])
    history.add(START, [value])
    assert history.rows() == [[START, None]]


def test_after_a_time_its_step_comes_again() -> None:
    """It may not have been over."""
    history = History(["a"])
    for step in range(4):
        history.add(START + step * STEP_SECONDS, [float(step)])
    assert [row[1] for row in history.rows(START + 2 * STEP_SECONDS)] == [2.0, 3.0]
    assert history.rows(START + 60 * STEP_SECONDS) == []


def test_a_clock_that_goes_back_shows_nothing_twice() -> None:
    history = History(["a"])
    for at in (START + 60, START):
        history.add(at, [float(at)])
    assert [row[0] for row in history.rows()] == [START]
