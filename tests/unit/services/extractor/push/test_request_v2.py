"""Remote write 2.0: the same columns as of 1.0, out of a table of symbols."""

from __future__ import annotations

import struct
import time

import pytest

from services.extractor.push import request_v2 as module
from services.extractor.push import write_request
from services.extractor.push.bad_request import BadRequest
from services.extractor.push.request_v2 import parse_v2
from services.extractor.push.write_request import WriteRequest, labels_of
from tests.support.remote_write import (
    histogram,
    of_bytes,
    of_double,
    of_int,
    request_v2,
    sample,
    series,
    varint,
)

NOW_MS = 1_764_468_000_000
UP = {"__name__": "up", "job": "a"}
DOWN = {"__name__": "down", "job": "a"}


def symbols(*texts: str) -> bytes:
    return b"".join(of_bytes(4, text.encode()) for text in texts)


def of_series(references: list[int], *parts: bytes) -> bytes:
    return of_bytes(5, of_bytes(1, b"".join(map(varint, references))) + b"".join(parts))


TABLE = symbols("", "__name__", "up", "job", "a")


def test_what_is_read_is_what_1_0_would_say() -> None:
    samples = [sample(NOW_MS, 1.5), sample(NOW_MS + 15_000, -0.0)]

    request = parse_v2(request_v2((UP, samples), (DOWN, [sample(NOW_MS, 2.0)])))

    of_1_0 = WriteRequest.parse(series(UP, samples) + series(DOWN, [sample(NOW_MS, 2.0)]))
    assert request == of_1_0
    assert [labels_of(one) for one in request.label_sets] == [UP, DOWN]
    assert [one for (one,) in struct.iter_unpack("<d", bytes(request.values))] == [1.5, -0.0, 2.0]


def test_references_above_a_byte() -> None:
    labels = {f"label_{number:03}": f"text {number}" for number in range(200)}

    request = parse_v2(request_v2((UP | labels, [sample(NOW_MS, 1.0)])))

    assert labels_of(request.label_sets[0]) == UP | labels


def test_the_order_of_fields_does_not_matter() -> None:
    # The table comes last, references come one by one, and behind the samples.
    one_by_one = b"".join(of_int(1, reference) for reference in (1, 2, 3, 4))
    body = of_bytes(5, sample(NOW_MS, 1.0) + one_by_one) + TABLE

    request = parse_v2(body)

    assert labels_of(request.label_sets[0]) == UP
    assert request.timestamps_ms == [NOW_MS]


def test_histograms_are_counted_and_the_rest_is_passed_over() -> None:
    exemplar = of_bytes(4, of_bytes(1, b"\x01\x02"))
    metadata = of_bytes(5, of_int(1, 1) + of_int(3, 2))
    created = of_int(6, NOW_MS)
    of_sample_start = of_bytes(2, sample(NOW_MS, 3.0)[2:] + of_int(3, NOW_MS - 1))
    parts = [of_sample_start, histogram(NOW_MS, 3, field=3), exemplar, metadata, created]

    request = parse_v2(request_v2((UP, parts)) + of_int(9, 1))

    assert (request.counts, request.histograms) == ([1], [1])
    assert request.histogram_messages == [histogram(NOW_MS, 3, field=3)[2:]]
    assert (request.timestamps_ms, bytes(request.values)) == ([NOW_MS], struct.pack("<d", 3.0))


def test_a_request_may_have_no_series() -> None:
    assert parse_v2(b"").label_sets == []
    assert parse_v2(symbols("")).label_sets == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (TABLE + of_series([1, 2, 3, 5]), "series 0 refers to symbol 5: there are 5"),
        (
            TABLE + of_series([1, 2]) + of_series([1, 1 << 32]),
            "series 1 refers to symbol 4294967296: there are 5",
        ),
        (TABLE + of_series([1, 2, 3]), "series 0 has references that are no pairs"),
        (symbols("__name__", "up") + of_series([0, 1]), "the first symbol is not empty"),
        (of_series([]), "the first symbol is not empty"),
        (series(UP, []), "no Request of 2.0: it is a WriteRequest of 1.0, which"),
        (TABLE[:-1], "no Request of 2.0: a field ends behind what it is in"),
        (TABLE + b"\x2a", "no Request of 2.0: it is cut off"),
        (TABLE + of_bytes(5, b"\x0a\x05\x01"), "a field ends behind what it is in"),
        (TABLE + of_bytes(5, b"\x0a\x02\x01\xff"), "series 0 has references that are no pairs"),
        (TABLE + of_series([]) + of_bytes(5, b"\x0a\x0e" + b"\xff" * 12 + b"\0\0"), "has no end"),
        (TABLE + of_series([1, 2], of_double(1, 1.0)), "field 1 is written in another way"),
        (TABLE + of_series([1, 2], of_int(2, 1)), "field 2 is written in another way"),
        (TABLE + of_series([1, 2], of_int(3, 1)), "field 3 is written in another way"),
        (of_int(4, 1), "field 4 is written in another way"),
        (b"\xff" * 12, "a number has no end"),
        (of_bytes(5, b"\x3b") + TABLE, "a field of kind 3"),
    ],
)
def test_what_is_no_request_says_why(body: bytes, why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        parse_v2(body)


def test_a_request_of_2_0_is_none_of_1_0() -> None:
    with pytest.raises(BadRequest, match=r"a Request of 2\.0, which its Content-Type must say"):
        WriteRequest.parse(request_v2((UP, [sample(NOW_MS, 1.0)])))


def test_no_cut_of_a_request_is_another_error() -> None:
    body = request_v2((UP, [sample(NOW_MS, 1.5), histogram(NOW_MS, 3, field=3)]), (DOWN, []))
    for end in range(len(body)):
        try:
            request = parse_v2(body[:end])
        except BadRequest:
            continue
        assert len(request.label_sets) < 2


def test_references_that_have_no_end_cost_no_more_than_others() -> None:
    # Taken back byte by byte from each of them, these took a thousand times as long.
    size_bytes = write_request.MOST_LABEL_SET_BYTES
    began = time.process_time()
    with pytest.raises(BadRequest, match="more than"):
        parse_v2(TABLE + of_series([3, 4] * (size_bytes // 2)))
    usual, began = time.process_time() - began, time.process_time()
    with pytest.raises(BadRequest, match="a number has no end"):
        parse_v2(TABLE + of_bytes(5, of_bytes(1, b"\x80" * size_bytes)))

    assert time.process_time() - began < 50 * usual


def test_labels_that_no_series_may_have_are_found_as_in_1_0() -> None:
    request = parse_v2(TABLE + of_series([1, 2, 3, 4, 3, 4]) + of_series([3, 4]) + of_series([]))

    for label_set, why in zip(
        request.label_sets, ("the label 'job' twice", "has no name", "has no name"), strict=True
    ):
        with pytest.raises(BadRequest, match=why):
            labels_of(label_set)


def test_limits_of_series_samples_symbols_and_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_request, "MOST_SERIES", 2)
    monkeypatch.setattr(write_request, "MOST_SAMPLES", 3)
    monkeypatch.setattr(write_request, "MOST_LABEL_SET_BYTES", 100)
    monkeypatch.setattr(module, "MOST_SYMBOLS", 6)
    monkeypatch.setattr(module, "MOST_LABELS_BYTES", 150)
    one = (UP, [sample(NOW_MS, 1.0)])

    assert parse_v2(request_v2(one, one)).counts == [1, 1]
    with pytest.raises(BadRequest, match="may have 2 series and 3 samples"):
        parse_v2(request_v2(one, one, one))
    # Before any of them is read, and before the table is missed.
    with pytest.raises(BadRequest, match="may have 2 series and 3 samples"):
        parse_v2(of_series([]) * 3)
    with pytest.raises(BadRequest, match="may have 2 series and 3 samples"):
        parse_v2(request_v2((UP, [sample(NOW_MS, 1.0)] * 4)))
    with pytest.raises(BadRequest, match="may have 6 symbols"):
        parse_v2(TABLE + symbols("b", "c"))
    with pytest.raises(BadRequest, match="series 0 has more than 100 bytes of labels"):
        parse_v2(request_v2(({"__name__": "x" * 100}, [])))
    with pytest.raises(BadRequest, match="series 0 has more than 100 bytes of labels"):
        parse_v2(TABLE + of_series([1, 2] * 51))
    large = {"__name__": "x" * 70}
    with pytest.raises(BadRequest, match="the labels of all series are above 150 bytes"):
        parse_v2(request_v2((large, []), (large, [])))
