"""Pushed native histograms: what is made of them is what the pull makes of the same ones."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.extractor.push import native_histogram as module
from services.extractor.push.bad_request import BadRequest
from services.extractor.push.native_histogram import STALE_BITS, Carrying, read
from services.extractor.source.decode_plain import read_series
from tests.support.native_histograms import CUSTOM_SCHEMA, Native, points
from tests.support.remote_write import of_bytes, of_double, of_int, varint, zigzag

LABELS = {"__name__": "x", "job": "a"}
SERIES = json.dumps(LABELS).encode()
WHOLE = Native(
    count=21,
    total=18.5,
    schema=1,
    threshold=0.001,
    zeros=3,
    negative={0: 2},
    positive={-1: 4, 0: 5, 3: 7},
)

numbers = st.floats(allow_nan=False)


@st.composite
def buckets(draw: st.DrawFn, first: int, last: int, is_float: bool) -> dict[int, float]:
    counts = numbers if is_float else st.integers(0, 1 << 58)
    return draw(st.dictionaries(st.integers(first, last), counts, max_size=8))


@st.composite
def histograms(draw: st.DrawFn) -> Native:
    is_float, is_custom = draw(st.booleans()), draw(st.booleans())
    counts = numbers if is_float else st.integers(0, (1 << 64) - 1)
    own: dict[str, Any] = {}
    if is_custom:
        own["custom"] = sorted(draw(st.sets(st.floats(-1e25, 1e25), max_size=8)))
        own["positive"] = draw(buckets(0, len(own["custom"]), is_float))
    else:
        own["schema"] = draw(st.integers(-4, 0))
        own["negative"], own["positive"] = (draw(buckets(-60, 66, is_float)) for _ in range(2))
        own["threshold"] = draw(st.sampled_from((0.0, 2.0**-128, 1e-7, 0.25, 3.0)))
        own["zeros"] = draw(counts)
    return Native(
        **{"schema": CUSTOM_SCHEMA, **own},
        count=draw(counts),
        total=draw(numbers),
        is_float=is_float,
        most_empty=draw(st.integers(0, 3)),
        is_packed=draw(st.booleans()),
    )


@given(found=st.lists(histograms(), max_size=4))
def test_the_pull_makes_the_same_bit_for_bit(found: list[Native]) -> None:
    rows = [[(n + 1) / 1000, one.shown()] for n, one in enumerate(found)]
    by_pull = read_series(json.dumps({"metric": LABELS, "histograms": rows}).encode(), "select")

    by_push = Carrying().of_series(SERIES, [one.message(n + 1) for n, one in enumerate(found)])

    assert points(by_push) == points(by_pull)
    assert by_push.series == by_pull.series
    assert by_push.histograms_ms.tolist() == by_pull.histograms_ms.tolist()


def carried(*messages: bytes) -> dict[str, list[float]]:
    """Values by suffix and bound."""
    found = Carrying().of_series(SERIES, messages)
    return {
        of["__name__"] + of.get("le", ""): found.values[start:end].tolist()
        for of, start, end in zip(
            map(json.loads, found.series), found.starts, found.ends, strict=True
        )
    }


def test_bounds_are_those_of_prometheus() -> None:
    assert carried(WHOLE.message(5)) == {
        "x_count": [21.0],
        "x_sum": [18.5],
        "x_bucket-1": [0.0],
        "x_bucket-0.7071067811865475": [2.0],
        "x_bucket-0.001": [2.0],
        "x_bucket0.001": [5.0],
        "x_bucket0.5": [5.0],
        "x_bucket0.7071067811865475": [9.0],
        "x_bucket1": [14.0],
        "x_bucket2": [14.0],
        "x_bucket2.82842712474619": [21.0],
        "x_bucket+Inf": [21.0],
    }
    # Some of the tables that it has, which are rounded step by step.
    eighths = {**dict.fromkeys(range(-7, 0), 1)}
    bounds = list(carried(Native(schema=3, positive=eighths).message(5)))[2:-1]
    assert [float(bound.removeprefix("x_bucket")) for bound in bounds] == [
        *(0.5, 0.5452538663326288, 0.5946035575013605, 0.6484197773255048),
        *(0.7071067811865475, 0.7711054127039704, 0.8408964152537144, 0.9170040432046711),
    ]
    finest = dict.fromkeys((-255, -130, -1), 1)
    assert set(carried(Native(schema=8, positive=finest).message(5))) > {
        *("x_bucket0.5013556375251013", "x_bucket0.7032879969095076", "x_bucket0.9972960560854698")
    }


def test_infinity_has_a_bucket_behind_the_largest_number() -> None:
    for schema in range(-4, 9):
        last = 1024 << schema if schema >= 0 else 1024 >> -schema
        found = carried(Native(count=3, schema=schema, positive={last: 1, last + 1: 2}).message(5))
        assert found["x_bucket1.7976931348623157e+308"] == [1.0]
        assert found["x_bucket+Inf"] == [3.0]


def test_times_before_the_epoch_are_negative() -> None:
    assert read(WHOLE.message(-5))[0] == -5


def test_what_is_left_out_is_zero() -> None:
    assert carried(b"") == {"x_count": [0.0], "x_sum": [0.0], "x_bucket+Inf": [0.0]}


def test_fields_of_later_versions_are_passed_over() -> None:
    later = of_int(17, 9) + of_double(18, 1.0) + of_bytes(19, b"x") + varint(20 << 3 | 5) + b"1234"
    assert carried(later + WHOLE.message(5) + later) == carried(WHOLE.message(5))


@pytest.mark.parametrize(
    "part",
    [
        of_double(1, 9.0),
        of_int(3, 9),
        of_double(9, 1.0),
        of_int(11, 1),
        of_bytes(6, b"1"),
        of_bytes(11, of_double(1, 1.0)),
    ],
)
def test_a_known_field_that_is_written_in_another_way_is_not_passed_over(part: bytes) -> None:
    with pytest.raises(BadRequest, match=r"field \d+ is written in another way"):
        carried(WHOLE.message(5) + part)


def test_a_series_that_ends_is_marked_as_one_of_floats() -> None:
    marker = of_int(1, 0) + varint(3 << 3 | 1) + struct.pack("<Q", STALE_BITS) + of_int(15, 7)

    found = Carrying().of_series(SERIES, [WHOLE.message(5), marker])

    others = points(found)
    assert others.pop(tuple(LABELS.items())) == [(7, struct.pack("<Q", STALE_BITS))]
    assert {ms for times in others.values() for ms, _ in times} == {5}


def span(offset: int, length: int) -> bytes:
    return of_bytes(11, varint(1 << 3) + zigzag(offset) + of_int(2, length))


ONES = of_bytes(12, zigzag(1) + zigzag(0))


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(span(0, 3) + ONES, id="too few counts"),
        pytest.param(span(0, 1) + ONES, id="too many counts"),
        pytest.param(ONES, id="no spans"),
        pytest.param(span(0, 0xFFFFFFFF) + ONES, id="a span without end"),
        pytest.param(span(5, 1) + span(-2, 1) + ONES, id="spans that go back"),
        pytest.param(varint(4 << 3) + zigzag(9), id="too fine"),
        pytest.param(varint(4 << 3) + zigzag(-5), id="too coarse"),
        pytest.param(varint(4 << 3) + zigzag(-(1 << 31)), id="no schema at all"),
        pytest.param(
            Native(schema=CUSTOM_SCHEMA, custom=(1.0,), positive={2: 1}).message(0),
            id="too few custom bounds",
        ),
        pytest.param(
            Native(schema=CUSTOM_SCHEMA, custom=(1.0,), positive={-1: 1}).message(0),
            id="below the first custom bound",
        ),
        pytest.param(
            Native(schema=CUSTOM_SCHEMA, custom=(1.0,), negative={0: 1}).message(0),
            id="negative ones of custom bounds",
        ),
        pytest.param(
            Native(schema=CUSTOM_SCHEMA, custom=(1.0,), positive={0: 1, 2: 0}).message(0),
            id="an empty one behind the custom bounds",
        ),
        pytest.param(
            Native(schema=CUSTOM_SCHEMA, custom=(1.0,), positive={-1: 0, 0: 1}).message(0),
            id="an empty one below the custom bounds",
        ),
        pytest.param(
            Native(schema=CUSTOM_SCHEMA, custom=(1.0,), negative={0: 0}).message(0),
            id="empty negative ones of custom bounds",
        ),
        pytest.param(
            Native(schema=CUSTOM_SCHEMA, custom=(2.0, 1.0), positive={1: 1}).message(0),
            id="custom bounds out of order",
        ),
        pytest.param(
            Native(threshold=9.0, zeros=1, positive={1: 1}).message(0), id="within the zeros"
        ),
    ],
)
def test_what_prometheus_would_refuse_is_counted_and_not_carried(message: bytes) -> None:
    found = Carrying().of_series(SERIES, [message + of_int(15, 5), WHOLE.message(6)])

    assert found.histograms_ms.tolist() == [5]
    assert set(found.timestamps_ms.tolist()) == {6}


def test_no_cut_of_a_message_is_another_error() -> None:
    message = WHOLE.message(5) + Native(is_float=True, custom=(0.5,), positive={0: 1.5}).message(6)
    refused = []
    for end in range(len(message)):
        try:
            read(message[:end])
        except BadRequest as error:
            refused.append(str(error))
    assert len(refused) > len(message) / 2
    assert all("no message of native histograms" in why for why in refused)


def test_spans_within_spans_are_no_depth() -> None:
    message = b""
    while len(message) < 20_000:
        message = of_bytes(8, message)
    assert read(message)[1] is not None


def test_what_a_request_becomes_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadRequest, match=r"a native histogram has more than 65536 bytes"):
        read(bytes(module.MOST_HISTOGRAM_BYTES + 1))
    monkeypatch.setattr(module, "MOST_CARRIED_BYTES", 20_000)
    carrying = Carrying()
    carrying.of_series(SERIES, [WHOLE.message(5)])
    with pytest.raises(BadRequest, match="more than 20000 bytes: lower max_samples_per_send"):
        carrying.of_series(SERIES, (WHOLE.message(5) for _ in range(1_000_000)))


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(Native(), id="no buckets"),
        pytest.param(
            Native(positive=dict.fromkeys(range(200), 1)), id="each behind the one before"
        ),
        pytest.param(Native(positive=dict.fromkeys(range(0, 200, 2), 1)), id="a gap before each"),
        pytest.param(replace(WHOLE, threshold=0.0), id="zeros that have no width"),
        pytest.param(Native(custom=(0.5, 1), positive={1: 2, 2: 3}), id="up to infinity"),
    ],
)
def test_exactly_the_points_that_it_becomes_are_counted(
    one: Native, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = one.message(5)
    found = Carrying().of_series(SERIES, [message])
    assert len(found) > 2 and not len(found.histograms_ms)
    of_points = len(found) * (len(SERIES) + module.POINT_BYTES)
    most = of_points + len(message) * module.SENT_TIMES
    monkeypatch.setattr(module, "MOST_CARRIED_BYTES", most)
    assert len(Carrying().of_series(SERIES, [message])) == len(found)
    monkeypatch.setattr(module, "MOST_CARRIED_BYTES", most - 1)
    with pytest.raises(BadRequest, match="become more than"):
        Carrying().of_series(SERIES, [message])


def test_one_that_is_not_carried_becomes_no_points(monkeypatch: pytest.MonkeyPatch) -> None:
    overlapping = Native(threshold=9.0, zeros=1, positive={1: 1}).message(5)
    monkeypatch.setattr(module, "MOST_CARRIED_BYTES", len(overlapping) * module.SENT_TIMES)
    found = Carrying().of_series(SERIES, [overlapping])
    assert (len(found), found.histograms_ms.tolist()) == (0, [5])


def test_empty_buckets_count_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = span(0, 10_000) + of_bytes(12, bytes(10_000))
    monkeypatch.setattr(module, "MOST_CARRIED_BYTES", 3 * len(empty) * module.SENT_TIMES)
    sent = iter([empty] * 10)
    with pytest.raises(BadRequest, match="become more than"):
        Carrying().of_series(SERIES, sent)
    assert len(list(sent)) == 7

    with monkeypatch.context() as patched:
        patched.setattr(module, "MOST_CARRIED_BYTES", len(empty))
        with pytest.raises(BadRequest, match="become more than"):
            Carrying().of_series(SERIES, [empty[:-1]])  # which cannot be read


def test_empty_buckets_need_no_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    at = module._Bounds.at

    def noted(bounds: module._Bounds, index: int) -> float:
        asked.append(index)
        return at(bounds, index)

    monkeypatch.setattr(module._Bounds, "at", noted)
    one = Native(count=2, positive={0: 1, 5001: 1}, negative={0: 0, 10: 0}, most_empty=9999)
    found = carried(one.message(5))
    assert set(found) == {"x_count", "x_sum", "x_bucket0.5", "x_bucket1", "x_bucket+Inf"}
    assert sorted(asked) == [-1, 0, 5000, 5001]


def test_late_ones_are_counted_and_not_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    marker = varint(3 << 3 | 1) + struct.pack("<Q", STALE_BITS) + of_int(15, 5)
    bad = span(0, 3) + ONES + of_int(15, 4)
    twice = of_int(15, 9) + WHOLE.message(-6)  # the last one holds
    late = [WHOLE.message(5), marker, bad, twice]
    expanded: list[int] = []
    histogram = module._Fields.histogram

    def noted(fields: module._Fields) -> Any:
        expanded.append(fields.whole[15])
        return histogram(fields)

    monkeypatch.setattr(module._Fields, "histogram", noted)
    found = Carrying().of_series(SERIES, [*late, WHOLE.message(6)], 5)

    assert found.histograms_ms.tolist() == [5, 5, 4, -6]
    assert set(found.timestamps_ms.tolist()) == {6}
    assert expanded == [6]
