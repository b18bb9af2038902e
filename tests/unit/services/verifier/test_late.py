"""What of a window's missing points a recount to come excuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest

from common.promql.reach import RAW
from common.state.windows import Recheck
from services.verifier.compare import compare
from services.verifier.explain import RECHECK_DUE, Allowance, Range
from services.verifier.late import Late, late_in
from services.verifier.points import Column, SeriesKey
from services.verifier.run import Subject
from services.verifier.source import Source, SourceSeries

WINDOW = Range(0, 10)
TIMES = np.array([1, 2, 3], np.int64)


class Found:
    """A source that has this."""

    def __init__(self, histograms: int) -> None:
        self.histograms = histograms

    def read_select(self, selector: str, start_ms: int, end_ms: int) -> Sequence[SourceSeries]:
        return [SourceSeries({}, TIMES, np.ones(3), self.histograms)]


def late(histograms: int, *, classic: str, before: int) -> Late:
    subject = Subject(
        name="raw",
        kind="select",
        text="x",
        step_ms=1,
        reach=RAW,
        identify=lambda labels: SeriesKey.of("x", labels),
        owns=lambda series: True,
        places=frozenset(),
        classic=classic,
    )
    missing = compare({SeriesKey.of("x", {}): Column(TIMES, np.ones(3))}, {}).differences
    recount = Recheck(*WINDOW, before)
    return late_in(cast(Source, Found(histograms)), subject, [recount], missing)


@pytest.mark.parametrize("classic", ["select", ""])
def test_as_many_points_as_samples_came_late_are_excused(classic: str) -> None:
    found = late(0, classic=classic, before=1)
    assert (found.allowances, found.ranges) == ([Allowance(RECHECK_DUE, WINDOW, 2)], [])
    assert late(0, classic=classic, before=3).allowances == [Allowance(RECHECK_DUE, WINDOW, 0)]


def test_of_a_histogram_that_came_late_any_number_of_points_is() -> None:
    found = late(1, classic="select", before=3)
    assert (found.allowances, found.ranges) == ([], [WINDOW])
    # Nothing came late, or some of it is gone: what is missing is a loss.
    for before in (4, 5):
        assert late(1, classic="select", before=before) == Late()
    assert late(1, classic="", before=3).allowances == [Allowance(RECHECK_DUE, WINDOW, 1)]
