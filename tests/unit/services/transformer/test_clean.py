"""What is taken out of a batch, and under which reason it is counted."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.samples.columns import Samples
from common.samples.series import SeriesDrop
from services.transformer.clean import LATEST_MS, clean
from tests.support.samples import NOW_MS, batch_of

NAN, INF = math.nan, math.inf
FUTURE_MS = 600_000


def points(kept: Samples) -> list[tuple[bytes, int, float]]:
    """Kept samples in order, each with the key of its series."""
    keys = [key for key, count in zip(kept.keys, kept.counts, strict=True) for _ in range(count)]
    return list(zip(keys, kept.timestamps_ms.tolist(), kept.values.tolist(), strict=True))


def cleaned(
    *series: tuple[bytes | SeriesDrop, list[tuple[int, float]]], labels: str = ""
) -> tuple[list[tuple[bytes, int, float]], dict[str, int]]:
    """Clean a batch whose series have these keys; ``labels``: a letter for each label set."""
    names = labels or "".join(chr(97 + index) for index in range(len(series)))
    batch = batch_of(
        [({"n": name}, samples) for name, (_, samples) in zip(names, series, strict=True)]
    )
    kept, drops = clean(batch.samples, [key for key, _ in series], NOW_MS, FUTURE_MS)
    assert len(points(kept)) + sum(drops.values()) == len(batch)
    assert all(kept.counts > 0)
    return points(kept), drops


def test_nothing_to_do() -> None:
    kept, drops = cleaned((b"a", [(1, 1.0), (2, 2.0)]), (b"b", [(1, 3.0)]))
    assert kept == [(b"a", 1, 1.0), (b"a", 2, 2.0), (b"b", 1, 3.0)]
    assert drops == {}


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        ((5, NAN), "nan"),
        ((5, -NAN), "nan"),
        ((5, INF), "inf"),
        ((5, -INF), "inf"),
        ((0, 1.0), "timestamp_not_positive"),
        ((-1, 1.0), "timestamp_not_positive"),
        ((-(2**63), 1.0), "timestamp_not_positive"),
        ((NOW_MS + FUTURE_MS + 1, 1.0), "timestamp_in_future"),
        ((2**63 - 1, 1.0), "timestamp_in_future"),
        # The first reason that applies.
        ((0, NAN), "nan"),
        ((2**63 - 1, INF), "inf"),
    ],
)
def test_samples_that_cannot_be_written(sample: tuple[int, float], reason: str) -> None:
    kept, drops = cleaned((b"a", [(1, 1.0), sample, (NOW_MS, 2.0)]), (b"b", [sample]))
    assert kept == [(b"a", 1, 1.0), (b"a", NOW_MS, 2.0)]
    assert drops == {reason: 2}


def test_the_edges_are_kept() -> None:
    edges = [(1, -0.0), (NOW_MS + FUTURE_MS, 1.7976931348623157e308)]
    kept, drops = cleaned((b"a", edges))
    assert kept == [(b"a", *edge) for edge in edges]
    assert drops == {}


def test_influxdbs_last_time_is_a_limit_whatever_the_settings_say() -> None:
    batch = batch_of([({"n": "a"}, [(LATEST_MS, 1.0), (LATEST_MS + 1, 2.0)])])
    kept, drops = clean(batch.samples, [b"a"], NOW_MS, 2**62)
    assert points(kept) == [(b"a", LATEST_MS, 1.0)]
    assert drops == {"timestamp_in_future": 1}


def test_series_without_a_key_count_under_their_own_reason() -> None:
    kept, drops = cleaned(
        (SeriesDrop.RELABEL_DROPPED, [(1, 1.0), (2, NAN)]),
        (b"b", [(1, 1.0), (2, NAN)]),
        (SeriesDrop.NOT_WHITELISTED, [(1, 1.0)]),
        (SeriesDrop.RELABEL_DROPPED, [(0, 1.0)]),
    )
    assert kept == [(b"b", 1, 1.0)]
    assert drops == {"relabel_dropped": 3, "not_whitelisted": 1, "nan": 1}


def test_series_without_samples_leave_no_trace() -> None:
    kept, drops = cleaned((b"a", []), (b"b", [(1, 1.0)]), (SeriesDrop.NAME_MISSING, []))
    assert kept == [(b"b", 1, 1.0)]
    assert drops == {}
    assert cleaned((b"a", [])) == ([], {})
    assert cleaned() == ([], {})


def test_everything_dropped() -> None:
    assert cleaned((b"a", [(1, NAN)]), (SeriesDrop.NAME_MISSING, [(1, 1.0)])) == (
        [],
        {"nan": 1, "name_missing": 1},
    )


def test_the_last_of_one_series_wins() -> None:
    kept, drops = cleaned((b"a", [(1, 1.0), (2, 2.0), (1, 3.0), (1, 4.0)]), (b"b", [(1, 5.0)]))
    assert kept == [(b"a", 2, 2.0), (b"a", 1, 4.0), (b"b", 1, 5.0)]
    assert drops == {"duplicate": 2}


def test_the_last_of_the_series_that_became_one_wins() -> None:
    kept, drops = cleaned(
        (b"x", [(1, 1.0), (2, 2.0)]), (b"y", [(1, 9.0)]), (b"x", [(2, 3.0), (3, 4.0)])
    )
    assert kept == [(b"x", 1, 1.0), (b"y", 1, 9.0), (b"x", 2, 3.0), (b"x", 3, 4.0)]
    assert drops == {"collision": 1}


def test_a_series_given_twice_is_a_duplicate_not_a_collision() -> None:
    kept, drops = cleaned((b"x", [(1, 1.0)]), (b"x", [(1, 2.0)]), labels="aa")
    assert kept == [(b"x", 1, 2.0)]
    assert drops == {"duplicate": 1}


def test_duplicates_and_collisions_at_one_time() -> None:
    kept, drops = cleaned(
        (b"x", [(1, 1.0), (1, 2.0)]), (b"x", [(1, 3.0), (1, 4.0)]), (b"x", [(2, 5.0)]), labels="aba"
    )
    assert kept == [(b"x", 1, 4.0), (b"x", 2, 5.0)]
    assert drops == {"duplicate": 1, "collision": 2}


def test_a_sample_that_cannot_be_written_overwrites_nothing() -> None:
    kept, drops = cleaned((b"a", [(1, 1.0), (1, NAN)]))
    assert kept == [(b"a", 1, 1.0)]
    assert drops == {"nan": 1}


def test_samples_out_of_order_are_kept_as_they_come() -> None:
    kept, drops = cleaned((b"a", [(3, 1.0), (1, 2.0), (2, 3.0)]))
    assert kept == [(b"a", 3, 1.0), (b"a", 1, 2.0), (b"a", 2, 3.0)]
    assert drops == {}


def test_the_same_time_at_a_border_is_no_duplicate() -> None:
    kept, drops = cleaned((b"a", [(1, 1.0), (2, 2.0)]), (b"b", [(2, 3.0), (3, 4.0)]))
    assert len(kept) == 4
    assert drops == {}


def test_the_batch_itself_is_not_changed() -> None:
    batch = batch_of([({"n": "a"}, [(1, NAN), (2, 1.0), (2, 2.0)])])
    before = batch.encode()
    clean(batch.samples, [b"a"], NOW_MS, FUTURE_MS)
    assert batch.encode() == before


SAMPLES = st.lists(
    st.tuples(
        st.sampled_from((-1, 0, 1, 2, 3, NOW_MS, NOW_MS + FUTURE_MS + 1)),
        st.sampled_from((1.0, 2.0, 3.0, NAN, INF, -INF, -0.0)),
    ),
    max_size=8,
)
KEYS = st.sampled_from((b"x", b"y", b"z", SeriesDrop.RELABEL_DROPPED, SeriesDrop.NAME_MISSING))


@given(st.lists(st.tuples(KEYS, st.sampled_from("ab"), SAMPLES), max_size=6))
def test_as_a_plain_loop_would(
    series: list[tuple[bytes | SeriesDrop, str, list[tuple[int, float]]]],
) -> None:
    kept, drops = cleaned(
        *((key, samples) for key, _, samples in series),
        labels="".join(label for _, label, _ in series),
    )
    expected: dict[tuple[bytes, int], tuple[str, float]] = {}
    losers: list[tuple[tuple[bytes, int], str]] = []
    expected_drops: Counter[str] = Counter()
    for key, label, samples in series:
        for milliseconds, value in samples:
            if isinstance(key, SeriesDrop):
                expected_drops[key.value] += 1
            elif math.isnan(value):
                expected_drops["nan"] += 1
            elif math.isinf(value):
                expected_drops["inf"] += 1
            elif milliseconds <= 0:
                expected_drops["timestamp_not_positive"] += 1
            elif milliseconds > NOW_MS + FUTURE_MS:
                expected_drops["timestamp_in_future"] += 1
            else:
                if previous := expected.get((key, milliseconds)):
                    losers.append(((key, milliseconds), previous[0]))
                expected[key, milliseconds] = (label, value)
    for at, label in losers:
        expected_drops["duplicate" if expected[at][0] == label else "collision"] += 1
    assert drops == expected_drops
    assert {(key, milliseconds): value for key, milliseconds, value in kept} == {
        at: value for at, (_, value) in expected.items()
    }
    assert len(kept) == len(expected)
