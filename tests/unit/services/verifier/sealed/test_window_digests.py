"""The digests of windows are those that the writer of seals computes."""

from __future__ import annotations

import numpy as np
import pytest

from common.samples.seal import Digest
from common.samples.seal_columns import digest
from services.verifier.points import Column, SeriesKey
from services.verifier.sealed import window_digests as module
from services.verifier.sealed.window_digests import key_of, window_digests


@pytest.mark.parametrize("exact_points", [1 << 20, 7])
def test_they_are_those_of_the_seal(monkeypatch: pytest.MonkeyPatch, exact_points: int) -> None:
    monkeypatch.setattr(module, "_EXACT_POINTS", exact_points)
    random = np.random.default_rng(7)
    ends_ms = [10, 25, 26, 100]
    series = []
    for number in range(5):
        times = np.flatnonzero(random.random(100) < 0.4).astype(np.int64) + 1
        column = Column(times, random.standard_normal(len(times)))
        series.append((SeriesKey.of("m", {"host": f"h {number}"}), column))
    start_ms, expected = 0, []
    for end_ms in ends_ms:
        inside = [
            (
                key_of(key),
                column.take((column.timestamps_ms > start_ms) & (column.timestamps_ms <= end_ms)),
            )
            for key, column in series
        ]
        expected.append(
            digest(
                [key for key, _ in inside],
                np.array([len(column.values) for _, column in inside]),
                np.concatenate([column.timestamps_ms for _, column in inside]),
                np.concatenate([column.values for _, column in inside]),
            )
        )
        start_ms = end_ms
    assert window_digests(series, ends_ms) == expected


def test_nothing_read_is_nothing_found() -> None:
    assert window_digests([], [10, 20]) == [Digest(), Digest()]
