"""The share of the processor that comparing takes."""

from __future__ import annotations

import pytest

from services.verifier.proving.budget import CpuBudget


class Times:
    """Two clocks that tests move."""

    def __init__(self) -> None:
        self.cpu_seconds, self.seconds = 7.0, 100.0

    def budget(self, share: float) -> CpuBudget:
        return CpuBudget(share, lambda: self.cpu_seconds, lambda: self.seconds)

    def work(self, cpu_seconds: float, seconds: float) -> None:
        self.cpu_seconds += cpu_seconds
        self.seconds += seconds


def test_what_was_taken_is_owed_at_the_share() -> None:
    times = Times()
    budget = times.budget(0.05)
    times.work(1.0, 2.0)
    assert budget.taken_seconds() == pytest.approx(1.0)
    assert budget.owed_seconds() == pytest.approx(18.0)
    times.work(0.0, 18.0)
    assert budget.owed_seconds() == pytest.approx(0.0)


def test_waiting_for_a_server_counts_as_rest() -> None:
    times = Times()
    budget = times.budget(0.5)
    times.work(0.1, 30.0)
    assert budget.owed_seconds() == 0.0


def test_rest_is_not_saved_for_later() -> None:
    times = Times()
    budget = times.budget(0.1)
    times.work(0.0, 1000.0)
    budget.begin()
    times.work(2.0, 2.0)
    assert budget.owed_seconds() == pytest.approx(18.0)


def test_a_whole_core_owes_nothing() -> None:
    times = Times()
    budget = times.budget(1.0)
    times.work(5.0, 5.0)
    assert budget.owed_seconds() == 0.0
