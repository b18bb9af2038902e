"""Native histograms as classic series; the verifier's own way to them gives the same."""

from __future__ import annotations

import json
import math
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config import Query
from common.samples.columns import Samples
from common.samples.digest import Digest
from common.samples.rollup import Rollup
from common.samples.series import SeriesEncoder
from common.state.feeds import Feed, Window
from services.extractor.rollup_blocks import whole_series
from services.extractor.source.classic_series import classic_series
from services.extractor.source.decode import decode
from services.extractor.source.decode_plain import read_series
from services.extractor.source.fixed_labels import labelled
from services.extractor.window_reader import Taken
from services.extractor.windows import Plan
from services.verifier.classic import as_classic
from services.verifier.late import digests_of
from services.verifier.source import _matrix
from tests.support.native_histograms import points

LABELS = {"__name__": "x", "job": "a"}


def values(*histograms: object, labels: dict[str, str] = LABELS) -> dict[str, list[float]]:
    """The values by suffix and bound."""
    texts = [(n, json.dumps(one).encode()) for n, one in enumerate(histograms)]
    found = classic_series(labels, texts)
    rows = {}
    for series, start, end in zip(found.series, found.starts, found.ends, strict=True):
        of = json.loads(series)
        rows[of["__name__"] + of.get("le", "")] = found.values[start:end].tolist()
    return rows


def test_buckets_add_up_and_keep_their_bounds() -> None:
    buckets = [
        [1, "-2", "-1", "4"],
        [3, "-0.001", "0.001", "3"],
        [0, "0.001", "0.0010905077326652577", "2"],
        [0, "0.5", "1", "1"],
    ]
    assert values({"count": "11", "sum": "1.5", "buckets": buckets}) == {
        "x_count": [11.0],
        "x_sum": [1.5],
        "x_bucket-2": [0.0],
        "x_bucket-1": [4.0],
        "x_bucket-0.001": [4.0],
        "x_bucket0.001": [7.0],
        "x_bucket0.0010905077326652577": [9.0],
        "x_bucket0.5": [9.0],
        "x_bucket1": [10.0],
        "x_bucket+Inf": [11.0],
    }


def test_of_custom_bounds_the_outer_buckets_are_open() -> None:
    buckets = [[0, "-Inf", "0.1", "1"], [0, "0.1", "0.5", "2"], [0, "0.5", "+Inf", "3"]]
    assert values({"count": "6", "sum": "9", "buckets": buckets}) == {
        "x_count": [6.0],
        "x_sum": [9.0],
        "x_bucket0.1": [1.0],
        "x_bucket0.5": [3.0],
        "x_bucket+Inf": [6.0],
    }


def test_an_empty_range_of_zeros_has_one_bound() -> None:
    buckets = [[1, "-1", "-0", "1"], [3, "-0", "0", "5"], [0, "0", "1", "1"]]
    found = values({"count": "7", "sum": "0", "buckets": buckets})
    assert found["x_bucket0"] == [6.0]
    assert "x_bucket-0" not in found


def test_a_bound_has_points_only_where_its_buckets_are() -> None:
    full = {"count": "3", "sum": "1", "buckets": [[0, "1", "2", "2"], [0, "2", "4", "1"]]}
    found = values({"count": "0", "sum": "0"}, full, {"count": "0", "sum": "0", "buckets": []})
    assert found["x_count"] == found["x_bucket+Inf"] == [0.0, 3.0, 0.0]
    assert found["x_bucket4"] == [3.0]


def test_what_the_source_counts_as_one_is_known() -> None:
    text = json.dumps({"count": "3", "sum": "1", "buckets": [[0, "1", "2", "3"]]}).encode()
    found = classic_series(LABELS, [(5, text), (6, b"{}"), (7, text)])
    assert found.histograms_ms.tolist() == [6]
    assert len(found) - len(found.surplus_ms) == 2
    assert found.surplus_ms.tolist() == [5] * 4 + [7] * 4


@pytest.mark.parametrize(
    "histogram",
    [
        None,
        {},
        {"count": "1"},
        {"count": 1, "sum": "1"},
        {"count": "x", "sum": "1"},
        {"count": "1", "sum": "1", "buckets": None},
        {"count": "1", "sum": "1", "buckets": [[0, "1", "2"]]},
        {"count": "1", "sum": "1", "buckets": [[4, "1", "2", "1"]]},
        {"count": "1", "sum": "1", "buckets": [[0, "2", "1", "1"]]},
        {"count": "1", "sum": "1", "buckets": [[0, "NaN", "1", "1"]]},
        {"count": "1", "sum": "1", "buckets": [[0, "1", "2", "1"], [0, "1.5", "3", "1"]]},
    ],
    ids=str,
)
def test_what_is_no_histogram_is_counted_and_not_carried(histogram: object) -> None:
    text = json.dumps(histogram).encode()
    found = classic_series(LABELS, [(5, text)])
    assert (len(found), found.histograms_ms.tolist(), len(found.surplus_ms)) == (0, [5], 0)
    (left,) = as_classic(of_verifier(LABELS, [[0.005, histogram]]), "select")
    assert left.histograms == 1


def test_a_series_without_a_name_is_not_carried() -> None:
    text = b'{"count":"3","sum":"1"}'
    assert classic_series({"job": "a"}, [(5, text)]).histograms_ms.tolist() == [5]
    (left,) = as_classic(of_verifier({"job": "a"}, [[0.005, json.loads(text)]]), "select")
    assert left.histograms == 1


@pytest.mark.parametrize("labels", [{"__name__": "x"}, LABELS, {**LABELS, "z": "9"}])
@pytest.mark.parametrize("added", [{}, {"z": "1"}])
def test_series_that_are_scraped_as_well_do_not_pass_for_these(
    labels: dict[str, str], added: dict[str, str]
) -> None:
    """Next to each other, they would be one series that goes on, and nothing would collide."""
    native = {"metric": labels, "histograms": [[1, {"count": "3", "sum": "1", "buckets": []}]]}
    infinite = {**labels, "__name__": "x_bucket", "le": "+Inf"}
    before, after = (
        {"metric": dict(sorted(own.items())), "values": [[1, "3"]]}
        for own in ({**labels, "__name__": "x_count"}, infinite)
    )
    data = {"resultType": "matrix", "result": [before, native, after]}
    text = json.dumps({"status": "success", "data": data}, separators=(",", ":")).encode()
    blocks = list(whole_series(labelled(decode([text], classic="select"), added)))
    series = [one for each in blocks for one in each.series]
    assert len(series) == len(set(series)) == 5
    assert len({tuple(sorted(json.loads(one).items())) for one in series}) == 3


def of_verifier(labels: dict[str, str], histograms: list[Any]) -> Any:
    entry = {"metric": labels, "histograms": histograms}
    return _matrix({"resultType": "matrix", "result": [entry]}, 0, 10**9)


bounds = st.lists(
    st.one_of(st.floats(allow_nan=False), st.integers(-5, 5).map(float)), min_size=1, max_size=6
)
counts = st.one_of(st.integers(0, 2**62).map(str), st.floats().map(repr))


@st.composite
def histograms(draw: st.DrawFn) -> dict[str, Any]:
    edges = draw(bounds)
    if draw(st.booleans()):
        edges = sorted(edges)
    texts = [repr(edge).removesuffix(".0").replace("inf", "Inf") for edge in edges]
    pairs = list(zip(texts, texts[draw(st.sampled_from((0, 1))) :], strict=False))
    buckets = [[draw(st.integers(0, 4)), low, high, draw(counts)] for low, high in pairs]
    return {"count": draw(counts), "sum": draw(counts), "buckets": buckets}


@given(
    found=st.lists(histograms(), max_size=4),
    labels=st.sampled_from([LABELS, {"__name__": "x", "le": "9"}, {"a": "<é>"}]),
    added=st.sampled_from([{}, {"a": "1"}, {"b": "1"}]),
)
def test_the_verifier_expects_the_same(
    found: list[dict[str, Any]], labels: dict[str, str], added: dict[str, str]
) -> None:
    rows = [[n + 1, one] for n, one in enumerate(found)]
    entry = {"metric": labels, "values": [[1, "5"]], "histograms": rows}
    data = {"resultType": "matrix", "result": [entry]}
    body = {"status": "success", "data": data}
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    for kind in ("select", "expr"):
        (block,) = decode([text], classic=kind)
        expected = list(as_classic(_matrix(data, 0, 10**9), kind))
        assert points(block) == {
            tuple(sorted(one.labels.items())): [
                (ms, struct.pack("<d", value))
                for ms, value in zip(one.timestamps_ms.tolist(), one.values.tolist(), strict=True)
            ]
            for one in expected
        }
        assert sum(one.histograms for one in expected) == len(block.histograms_ms)
        assert len(block) - len(block.surplus_ms) + len(block.histograms_ms) == 1 + len(found)
    digest = Digest()
    for block in labelled(decode([text], classic="expr"), added):
        digest.add(block)
    assert digest in digests_of(expected, added)


def test_what_an_expression_gives_needs_no_name() -> None:
    text = b'{"count":"3","sum":"1"}'
    found = classic_series({"job": "a"}, [(5, text)], of_expr=True)
    assert found.series == (
        b'{"job":"a","__classic__":"_count"}',
        b'{"job":"a","__classic__":"_sum"}',
        b'{"job":"a","__classic__":"_bucket","le":"+Inf"}',
    )
    query = Query(name="rate", expr="x", step=1, native_histograms="classic")
    encoder = SeriesEncoder(expr_names=query.names)
    keys = [b"rate_count,job=a", b"rate_sum,job=a", b"rate_bucket,job=a,le=+Inf"]
    assert encoder.keys("expr", "rate", found.series) == keys


def test_histograms_that_are_dropped_are_not_copied() -> None:
    buckets = [[0, str(n), str(n + 1), "1"] for n in range(1_000)]
    one = {"count": "1000", "sum": "1", "buckets": buckets}
    entry = {"metric": LABELS, "histograms": [[n, one] for n in range(50)]}
    text = json.dumps(entry).encode()
    tracemalloc.start()
    try:
        found = read_series(text)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.histograms_ms) == 50
    assert peak_bytes < len(text) / 10


def test_not_a_number_is_in_no_bucket() -> None:
    found = values({"count": "3", "sum": "NaN", "buckets": [[0, "1", "2", "2"]]})
    assert (found["x_bucket2"], found["x_bucket+Inf"]) == ([2.0], [3.0])
    assert math.isnan(found["x_sum"][0])


QUERY = Query(name="raw", select="x", native_histograms="classic")
ROLLUP = Rollup.of(10, ("increase",))


def block() -> Samples:
    """Six points of two histograms at each of five times, and a float beside them."""
    times_ms = np.array([5, 15, 20, 25, 35], np.int64)
    return Samples(
        (b"a", b"b", b"c", b"float"),
        np.array([5, 5, 5, 5]),
        np.tile(times_ms, 4),
        np.arange(20, dtype=np.float64),
        histograms_ms=np.array([15, 25], np.int64),
        surplus_ms=np.repeat(times_ms, 2),
    )


@pytest.mark.parametrize("rollup", [None, ROLLUP], ids=["samples", "rollup"])
def test_the_source_counts_a_histogram_as_one_sample(rollup: Rollup | None) -> None:
    plan = Plan(Feed("raw", "hot", "select", "f"), QUERY, 10, 0, 0, 0, 0, rollup=rollup)
    taken = Taken(plan, Window("w", 10, 30, "t", 0, "live"), 0)
    blocks = [block()] if rollup is None else list(whole_series([block()]))
    for one in blocks:
        part = taken.part(one)
        taken.saw(part)
        taken.read.samples += len(part)
    # Three times in the window: a histogram that became three samples, a float; and two dropped.
    assert taken.read.in_source == 3 + 3 + 2
    assert taken.read.histograms == 2
    assert taken.read.lead_ins == (0 if rollup is None else 4)
