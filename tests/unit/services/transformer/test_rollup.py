"""Rollups of columns are those of the plain definition, bit for bit, however time is cut."""

from __future__ import annotations

import functools
import gzip
import itertools
import operator
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.samples.columns import Samples
from common.samples.rollup import AGGREGATES, Rollup, rollup_key
from services.loader.loaded import digest_of_lines
from services.transformer import rollup_lines
from services.transformer.rollup import RolledUp, roll_up
from services.transformer.rollup_lines import digest_of, encode_rollup
from services.verifier.points import Column
from services.verifier.rollup import rolled_up

END_MS = 2**60
EVERY = Rollup.of(60_000, AGGREGATES)

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.one_of(FLOATS, st.sampled_from([0.0, -0.0, 1.0, 2.0, 3.0, 1e308, 5e-324]))
TIMES_MS = st.integers(min_value=1, max_value=900_000)
SERIES = st.dictionaries(TIMES_MS, VALUES, min_size=1, max_size=40)


def samples_of(series: dict[bytes, dict[int, float]]) -> Samples:
    columns = {key: sorted(of_series.items()) for key, of_series in series.items()}
    return Samples(
        tuple(columns),
        np.array([len(rows) for rows in columns.values()], np.int64),
        np.array([time for rows in columns.values() for time, _ in rows], np.int64),
        np.array([value for rows in columns.values() for _, value in rows], np.float64),
        tuple(columns),
    )


def table_of(points: RolledUp) -> dict[tuple[bytes, str, int], bytes]:
    keys = np.repeat(np.array(points.keys, object), points.counts)
    return {
        (key, name, int(time)): np.float64(value).tobytes()
        for name, values in points.fields.items()
        for key, time, value in zip(keys, points.timestamps_ms, values, strict=True)
    }


def plain(
    series: dict[bytes, dict[int, float]], start_ms: int, rollup: Rollup
) -> dict[tuple[bytes, str, int], bytes]:
    found = {}
    for key, of_series in series.items():
        rows = sorted(of_series.items())
        column = Column(
            np.array([time for time, _ in rows], np.int64),
            np.array([value for _, value in rows], np.float64),
        )
        for name, points in rolled_up(column, start_ms, 2**60, rollup).items():
            for time, value in zip(points.timestamps_ms, points.values, strict=True):
                found[key, name, int(time)] = np.float64(value).tobytes()
    return found


@given(
    series=st.dictionaries(st.sampled_from([b"a", b"b", b"c,x=1"]), SERIES, max_size=3),
    resolution_ms=st.sampled_from([1_000, 60_000, 300_000, 600_000]),
    wanted=st.sets(st.sampled_from(AGGREGATES), min_size=1),
    skipped=st.integers(0, 3),
)
@settings(max_examples=300)
def test_columns_give_what_the_definition_says(
    series: dict[bytes, dict[int, float]], resolution_ms: int, wanted: set[str], skipped: int
) -> None:
    rollup, start_ms = Rollup.of(resolution_ms, wanted), skipped * resolution_ms
    points, drops = roll_up(samples_of(series), start_ms, END_MS, rollup)
    assert table_of(points) == plain(series, start_ms, rollup)
    assert len(points) + sum(drops.values()) == sum(map(len, series.values()))


def test_a_bucket_of_many_samples_is_added_in_the_order_of_time() -> None:
    values = np.random.default_rng(1).normal(size=20_000) * 10.0 ** np.arange(
        20_000 // 1_000
    ).repeat(1_000)
    series = {b"m": {1 + n: float(value) for n, value in enumerate(values)}}
    points, _ = roll_up(samples_of(series), 0, END_MS, EVERY)
    assert points.fields["sum"].tolist() == [functools.reduce(operator.add, values.tolist())]
    assert points.fields["sum"].tolist() != [float(values.sum())]
    assert table_of(points) == plain(series, 0, EVERY)


@given(
    series=st.dictionaries(st.sampled_from([b"a", b"b"]), SERIES, max_size=2),
    cuts_ms=st.sets(st.integers(1, 959_999), max_size=8),
)
def test_windows_that_are_cut_anywhere_give_the_same_points(
    series: dict[bytes, dict[int, float]], cuts_ms: set[int]
) -> None:
    whole, _ = roll_up(samples_of(series), 0, 960_000, EVERY)
    apart: dict[tuple[bytes, str, int], bytes] = {}
    for start_ms, end_ms in itertools.pairwise([0, *sorted(cuts_ms), 960_000]):
        from_ms = start_ms // EVERY.resolution_ms * EVERY.resolution_ms - EVERY.lead_in_ms
        of_window = {
            key: {time: value for time, value in of_series.items() if from_ms < time <= end_ms}
            for key, of_series in series.items()
        }
        points, _ = roll_up(samples_of(of_window), start_ms, end_ms, EVERY)
        assert not table_of(points).keys() & apart.keys()
        apart |= table_of(points)
    assert apart == table_of(whole)


def test_series_that_became_one_are_rolled_up_together() -> None:
    samples = Samples(
        (b"1", b"2"),
        np.array([2, 2], np.int64),
        np.array([10_000, 40_000, 20_000, 70_000], np.int64),
        np.array([1.0, 3.0, 2.0, 4.0]),
        (b"m", b"m"),
    )
    points, drops = roll_up(samples, 0, END_MS, EVERY)
    assert points.keys == (b"m",)
    assert points.timestamps_ms.tolist() == [60_000, 120_000]
    assert points.fields["count"].tolist() == [3.0, 1.0]
    assert points.fields["last"].tolist() == [3.0, 4.0]
    assert points.fields["increase"].tolist() == [2.0, 1.0]
    assert drops == {"rolled_up": 2}


def test_a_counter_that_began_again_increased_from_nothing() -> None:
    samples = samples_of({b"m": {50_000: 10.0, 70_000: 12.0, 90_000: 3.0, 110_000: 4.0}})
    points, _ = roll_up(samples, 60_000, END_MS, Rollup.of(60_000, ["increase"]))
    assert points.fields["increase"].tolist() == [2.0 + 3.0 + 1.0]


def test_a_sample_long_before_a_bucket_is_not_what_it_increased_from() -> None:
    rollup = Rollup.of(60_000, ["increase"])
    near, _ = roll_up(samples_of({b"m": {60_001: 1.0, 361_000: 5.0}}), 60_000, END_MS, rollup)
    far, _ = roll_up(samples_of({b"m": {60_000: 1.0, 361_000: 5.0}}), 60_000, END_MS, rollup)
    assert near.fields["increase"].tolist() == [0.0, 4.0]
    assert far.fields["increase"].tolist() == [0.0]


def test_what_no_float_can_hold_is_dropped() -> None:
    points, drops = roll_up(samples_of({b"m": {1: 1e308, 2: 1e308, 70_000: 1.0}}), 0, END_MS, EVERY)
    assert points.timestamps_ms.tolist() == [120_000]
    assert drops == {"inf": 1, "rolled_up": 1}


@pytest.mark.parametrize(
    ("key", "mapped"),
    [
        (b"m,a=1,b=2", b"m,a=1,b=2"),
        (b"m,a=1,count=2", b"m,a=1,label_count=2"),
        (b"m,label_min=1,min=2", b"m,label_label_min=1,label_min=2"),
        (b"m,account=1", b"m,account=1"),
        (b"m,a=x\\,count\\=1,b=2", b"m,a=x\\,count\\=1,b=2"),
        (b"m\\,avg=1,z=\\,max\\=1", b"m\\,avg=1,z=\\,max\\=1"),
        (b"m,avg=1,last=2,zone=3", b"m,label_avg=1,label_last=2,zone=3"),
    ],
)
def test_a_tag_has_no_name_of_a_field(key: bytes, mapped: bytes) -> None:
    assert rollup_key(key) == mapped


def test_long_keys_are_not_remembered() -> None:
    tracemalloc.start()
    try:
        before_bytes, _ = tracemalloc.get_traced_memory()
        for number in range(100):
            long = b"m,query=%d%s" % (number, b"x" * 10_000)
            assert rollup_key(long) == long
            assert rollup_key(long + b",sum=1") == b"m,label_sum=1," + long[2:]
        assert tracemalloc.get_traced_memory()[0] - before_bytes < 100_000
    finally:
        tracemalloc.stop()


@given(
    series=st.dictionaries(
        st.sampled_from([b"a", b"b,x=1", b"c,sum=2"]), SERIES, min_size=1, max_size=3
    )
)
def test_lines_read_back_to_the_same_points(series: dict[bytes, dict[int, float]]) -> None:
    points, _ = roll_up(samples_of(series), 0, END_MS, EVERY)
    lines = []
    for output in encode_rollup(points):
        text = gzip.decompress(output.payload).decode().splitlines()
        assert len(text) == output.samples
        assert output.digest == digest_of_lines(line.encode() for line in text)
        lines += text
    found = {}
    for line in lines:
        key, fields, time = line.split(" ")
        for name, value in (pair.split("=") for pair in fields.split(",")):
            found[key.encode(), name, int(time)] = np.float64(value).tobytes()
    assert found == table_of(points)


def test_a_digest_tells_fields_apart() -> None:
    points, _ = roll_up(
        samples_of({b"m": {1: 1.0, 2: 3.0}}), 0, END_MS, Rollup.of(1_000, ["min", "max"])
    )
    swapped = RolledUp(
        points.keys,
        points.counts,
        points.timestamps_ms,
        {"min": points.fields["max"], "max": points.fields["min"]},
    )
    assert digest_of(points) != digest_of(swapped)


@pytest.mark.parametrize("field", [b"", b" http_request_duration_seconds"])
def test_an_entry_is_no_larger_than_a_request_may_be(
    monkeypatch: pytest.MonkeyPatch, field: bytes
) -> None:
    monkeypatch.setattr(rollup_lines, "MAX_OUTPUT_BYTES", 20_000)
    third = {60_000 * n: n / 3 * 1e-300 for n in range(1, 4)}
    samples = samples_of({b"m,host=h%d%s" % (n, field): third for n in range(100)})
    points, _ = roll_up(samples, 0, END_MS, EVERY)
    outputs = list(encode_rollup(points))
    assert sum(output.samples for output in outputs) == 300
    assert max(len(gzip.decompress(output.payload)) for output in outputs) <= 20_000
