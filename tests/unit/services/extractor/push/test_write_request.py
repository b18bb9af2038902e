"""Remote write 1.0: what its messages say, in every order that Protocol Buffers allow."""

from __future__ import annotations

import math
import struct

import pytest

from services.extractor.push import write_request
from services.extractor.push.bad_request import BadRequest
from services.extractor.push.write_request import WriteRequest, labels_of
from tests.support.remote_write import (
    histogram,
    of_bytes,
    of_double,
    of_int,
    sample,
    series,
    varint,
)

NOW_MS = 1_764_468_000_000
UP = {"__name__": "up", "job": "a"}


def label(name: bytes, text: bytes) -> bytes:
    return of_bytes(1, of_bytes(1, name) + of_bytes(2, text))


def values(request: WriteRequest) -> list[float]:
    return [one for (one,) in struct.iter_unpack("<d", bytes(request.values))]


def test_series_and_samples_stay_in_order() -> None:
    body = series(UP, [sample(NOW_MS, 1.5), sample(NOW_MS + 15_000, -0.0)])
    body += series({"__name__": "down"}, [sample(NOW_MS, math.inf)])

    request = WriteRequest.parse(body)

    assert [labels_of(one) for one in request.label_sets] == [UP, {"__name__": "down"}]
    assert request.counts == [2, 1]
    assert request.timestamps_ms == [NOW_MS, NOW_MS + 15_000, NOW_MS]
    assert values(request) == [1.5, -0.0, math.inf]
    assert math.copysign(1, values(request)[1]) == -1


def test_what_is_left_out_is_zero() -> None:
    empty, only_time, only_value = of_bytes(2, b""), of_bytes(2, of_int(2, 5)), sample(0, 2.0)

    request = WriteRequest.parse(series(UP, [empty, only_time, only_value]))

    assert request.timestamps_ms == [0, 5, 0]
    assert values(request) == [0.0, 0.0, 2.0]


def test_times_before_the_epoch_are_negative() -> None:
    assert WriteRequest.parse(series(UP, [sample(-1, 1.0)])).timestamps_ms == [-1]


def test_values_stay_bit_for_bit() -> None:
    stale = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]

    request = WriteRequest.parse(series(UP, [sample(NOW_MS, stale)]))

    assert bytes(request.values) == struct.pack("<Q", 0x7FF0000000000002)


def test_the_order_of_fields_does_not_matter() -> None:
    swapped = of_bytes(2, of_int(2, NOW_MS) + of_double(1, 3.0))
    job = of_bytes(1, of_bytes(2, b"a") + of_bytes(1, b"job"))
    body = of_bytes(1, label(b"__name__", b"up") + swapped + job + sample(NOW_MS + 1, 4.0))

    request = WriteRequest.parse(body)

    assert labels_of(request.label_sets[0]) == UP
    assert request.timestamps_ms == [NOW_MS, NOW_MS + 1]
    assert values(request) == [3.0, 4.0]


def test_the_last_of_several_is_what_counts() -> None:
    twice = of_bytes(2, of_double(1, 1.0) + of_double(1, 2.0) + of_int(2, 1) + of_int(2, 7))

    request = WriteRequest.parse(series(UP, [twice]))

    assert (values(request), request.timestamps_ms) == ([2.0], [7])


def test_histograms_are_counted_and_the_rest_is_passed_over() -> None:
    metadata = of_bytes(3, of_int(1, 1) + of_bytes(2, b"up"))
    exemplar = of_bytes(3, label(b"trace", b"x") + of_double(2, 1.0))
    unknown = of_int(9, 1) + of_double(10, 1.0) + varint(11 << 3 | 5) + b"1234"
    parts = [sample(NOW_MS, 1.0), histogram(NOW_MS, 3), exemplar, unknown]

    request = WriteRequest.parse(metadata + series(UP, parts) + unknown)

    assert (request.counts, request.histograms) == ([1], [1])
    assert request.histogram_messages == [histogram(NOW_MS, 3)[2:]]


SAMPLE = sample(NOW_MS, 1.5)
LABELS = b"".join(label(name.encode(), text.encode()) for name, text in UP.items())


@pytest.mark.parametrize(
    "body",
    [
        series(UP, [SAMPLE]),
        series(UP, [SAMPLE, sample(NOW_MS + 1, -0.0)]),
        series(UP, [sample(5, 2.0)]),
        series(UP, [sample(-1, 2.0)]),
        series(UP, [histogram(NOW_MS, 3)]),
        series(UP, [SAMPLE, histogram(NOW_MS, 3)]),
        series(UP, [histogram(NOW_MS, 3), SAMPLE]),
        series(UP, []),
        # Of the length of a sample, and none: an exemplar, its fields in another order, two values.
        of_bytes(1, LABELS + of_bytes(3, SAMPLE[2:])),
        of_bytes(1, LABELS + of_bytes(2, SAMPLE[11:] + SAMPLE[2:11])),
        of_bytes(1, LABELS + of_bytes(2, of_double(1, 1.0) + b"\x10\x01" + b"\x10\x02" * 2)),
        # The sample in front, and labels that only begin or end like known ones.
        of_bytes(1, SAMPLE + LABELS),
        of_bytes(1, LABELS + label(b"z", b"z") + SAMPLE),
        of_bytes(1, label(b"a", b"a") + LABELS + SAMPLE),
        of_bytes(1, SAMPLE),
    ],
)
def test_known_labels_make_no_difference(body: bytes) -> None:
    # The time of the last sample came before.
    first = series({"__name__": "first"}, [SAMPLE])

    request = WriteRequest.parse(first + body + body, {LABELS})

    assert request == WriteRequest.parse(first + body + body)


def test_known_labels_are_not_read_again() -> None:
    labels = of_bytes(9, b"not read")
    body = series({"__name__": "first"}, [SAMPLE]) + of_bytes(1, labels + SAMPLE)

    assert WriteRequest.parse(body, {labels}).label_sets[1] == labels
    assert WriteRequest.parse(body).label_sets[1] == b""


def test_an_empty_body_has_no_series() -> None:
    assert WriteRequest.parse(b"").label_sets == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"\x0a", "it is cut off"),
        (b"\x0a\x05\x0a", "a field ends behind what it is in"),
        (b"\x0a\x02\x0a\x05", "a field ends behind what it is in"),
        (series(UP, [])[:-1], "a field ends behind what it is in"),
        (of_bytes(1, of_bytes(2, b"\x09\0\0")), "a field ends behind what it is in"),
        (of_bytes(1, of_bytes(2, b"\x10\xff")) + b"\x00", "a field ends behind what it is in"),
        (b"\xff" * 12, "a number has no end"),
        (of_bytes(1, b"\x3b"), "a field of kind 3"),
    ],
)
def test_what_is_no_request_says_why(body: bytes, why: str) -> None:
    with pytest.raises(BadRequest, match=f"no WriteRequest: {why}"):
        WriteRequest.parse(body)


@pytest.mark.parametrize(
    "parts",
    [
        # Taken for left out, these would be a value of 0, a time of 0, a label less, no sample.
        of_bytes(2, varint(1 << 3 | 5) + b"1234" + of_int(2, NOW_MS)),
        of_bytes(2, b"\x89\x00" + struct.pack("<d", 1.5) + of_int(2, NOW_MS)),
        of_bytes(2, of_double(1, 1.5) + of_double(2, 5.0)),
        b"\x8a\x00" + label(b"zone", b"1")[1:] + SAMPLE,
        of_int(1, 5) + SAMPLE,
        of_double(2, 1.5),
        b"\x92\x00" + SAMPLE[1:],
        of_int(4, 5),
    ],
)
def test_a_known_field_that_is_written_in_another_way_is_not_passed_over(parts: bytes) -> None:
    with pytest.raises(BadRequest, match=r"field \d is written in another way"):
        WriteRequest.parse(of_bytes(1, LABELS + parts), {LABELS})


def test_no_cut_of_a_request_is_another_error() -> None:
    body = series(UP, [sample(NOW_MS, 1.5), histogram(NOW_MS, 3)]) * 2
    for end in range(len(body)):
        try:
            WriteRequest.parse(body[:end])
        except BadRequest:
            continue
        assert end in (0, len(body) // 2)


def test_limits_hold_for_series_that_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_request, "MOST_SERIES", 3)
    body = series(UP, [SAMPLE])
    assert len(WriteRequest.parse(body * 3, {LABELS}).counts) == 3

    with pytest.raises(BadRequest, match="a request may have 3 series"):
        WriteRequest.parse(body * 4, {LABELS})


def test_limits_of_series_samples_and_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_request, "MOST_SERIES", 2)
    monkeypatch.setattr(write_request, "MOST_SAMPLES", 3)
    monkeypatch.setattr(write_request, "MOST_LABEL_SET_BYTES", 100)
    one = series(UP, [sample(NOW_MS, 1.0)])

    assert WriteRequest.parse(one * 2).counts == [1, 1]
    with pytest.raises(BadRequest, match="may have 2 series and 3 samples"):
        WriteRequest.parse(one * 3)
    with pytest.raises(BadRequest, match="may have 2 series and 3 samples"):
        WriteRequest.parse(series(UP, [sample(NOW_MS, 1.0)] * 4))
    with pytest.raises(BadRequest, match="may have 2 series and 3 samples"):
        WriteRequest.parse(series(UP, [sample(NOW_MS, 1.0), *[histogram(NOW_MS, 3)] * 3]))
    with pytest.raises(BadRequest, match="series 0 has more than 100 bytes of labels"):
        WriteRequest.parse(series({"__name__": "x" * 100}, []))


def test_labels_may_come_in_any_order_and_empty_ones_are_none() -> None:
    sent = label(b"zone", b"1") + label(b"__name__", b"up") + label(b"empty", b"")

    assert labels_of(sent) == {"zone": "1", "__name__": "up"}


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"", "has no name"),
        (label(b"job", b"a"), "has no name"),
        (label(b"__name__", b""), "has no name"),
        (label(b"__name__", b"up") + label(b"", b"a"), "a label has no name"),
        (label(b"__name__", b"up") + label(b"a", b"1") * 2, "the label 'a' twice"),
        (
            label(b"__name__", b"up") + of_bytes(1, of_bytes(1, b"a") + of_int(2, 5)),
            "field 2 is written in another way",
        ),
        (label(b"__name__", b"up") + label(b"a", b"") * 2, "the label 'a' twice"),
        (label(b"__name__", b"\xff"), "not UTF-8"),
        (label(b"__name__", b"up") + b"\x0a", "cut off"),
        (b"\x0a\x04\x0a\x09up", "ends behind"),
    ],
)
def test_labels_that_no_series_may_have(sent: bytes, why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        labels_of(sent)
