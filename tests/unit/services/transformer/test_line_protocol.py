"""Samples become lines that an independent parser reads back, bit for bit."""

from __future__ import annotations

import gzip
import math
import random
import string
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.samples.columns import Samples
from common.samples.series import IntegerKey
from common.state.verdict import Output
from services.transformer import line_protocol
from services.transformer.clean import LATEST_MS
from services.transformer.line_protocol import encode
from tests.support.line_protocol_parser import Refused, parse_line, parse_lines
from tests.support.samples import HARD_FLOATS, NOW_MS

Series = tuple[bytes, list[tuple[int, float]]]


def kept_of(*series: Series) -> Samples:
    samples = [sample for _, samples in series for sample in samples]
    keys = tuple(key for key, _ in series)
    return Samples(
        keys,
        np.array([len(samples) for _, samples in series], np.int64),
        np.array([milliseconds for milliseconds, _ in samples], np.int64),
        np.array([value for _, value in samples], np.float64),
        keys,
    )


def text_of(output: Output) -> bytes:
    """The lines of an output, which must be one gzip member and hold as many as it says."""
    inflater = zlib.decompressobj(31)
    text = inflater.decompress(output.payload)
    assert inflater.eof
    assert not inflater.unused_data
    assert text.count(b"\n") == output.samples
    return text


def bits(value: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


@pytest.fixture(autouse=True, scope="module", params=["short", "long"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """Both ways of writing lines, whatever is written."""
    samples = {"short": 1_000_000, "long": 0}[request.param]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(line_protocol, "SHORT_SERIES_SAMPLES", samples)
        yield request.param


def test_lines_as_they_are_sent(way: str) -> None:
    outputs = list(
        encode(
            kept_of(
                (b"up,job=a", [(NOW_MS, 0.5), (NOW_MS + 15_000, 1.0)]),
                (b"up,job=b", [(NOW_MS, 1.0), (NOW_MS + 15_000, 0.0)]),
                (b"up,job=c count", [(1, -0.0)]),
                (IntegerKey(b"up,job=d count"), [(1, 2.0**53), (2, -1.0)]),
            )
        )
    )
    whole = b"up,job=b value=1 1700000000000\nup,job=b value=0 1700000015000\n"
    integers = b"up,job=d count=9007199254740992i 1\nup,job=d count=-1i 2\n"
    first, second = b"up,job=a value=0.5 1700000000000\n", b"up,job=a value=%s 1700000015000\n"
    negative_zero = b"up,job=c count=-0.0 1\n"
    assert [text_of(output) for output in outputs] == [
        whole + integers + first + second % b"1.0" + negative_zero
        if way == "long"
        else first + second % b"1" + whole + negative_zero + integers
    ]


def test_lines_of_more_series_than_are_written_at_a_time() -> None:
    keys = [b"up,job=%d" % number for number in range(3000)]
    kept = kept_of(*((key, [(number, 0.5)]) for number, key in enumerate(keys)))
    (output,) = encode(kept)
    assert text_of(output).splitlines() == [
        b"%s value=0.5 %d" % pair for pair in zip(keys, range(3000), strict=True)
    ]


def test_nothing_to_encode() -> None:
    assert list(encode(kept_of())) == []


def test_the_same_samples_give_the_same_bytes() -> None:
    kept = kept_of((b"a", [(1, 0.1), (2, 2.0)]), (b"b", [(1, 3.0)]))
    assert list(encode(kept)) == list(encode(kept))


@pytest.mark.parametrize("value", HARD_FLOATS)
def test_hard_floats(value: float) -> None:
    for others in ([], [(2, 0.5)], [(2, 7.0)]):
        (output,) = encode(kept_of((b"m,a=b", [(1, value), *others]), (b"n", [(1, 1.0)])))
        points = {(p.measurement, p.timestamp_ms): p for p in parse_lines(text_of(output))}
        assert points["m", 1].value_bits == bits(value)


FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(HARD_FLOATS),
    st.integers(-(2**54), 2**54).map(float),
    st.integers(0, 2**64 - 1)
    .map(lambda word: float(struct.unpack("<d", struct.pack("<Q", word))[0]))
    .filter(math.isfinite),
)
SERIES = st.lists(
    st.lists(st.tuples(st.integers(1, LATEST_MS), FLOATS), min_size=1, max_size=20), max_size=8
)


@settings(max_examples=60)
@given(SERIES)
def test_what_is_parsed_is_what_was_encoded(series: list[list[tuple[int, float]]]) -> None:
    named = [(f"m,s={index}".encode(), samples) for index, samples in enumerate(series)]
    expected = sorted(
        (str(index), milliseconds, bits(value))
        for index, samples in enumerate(series)
        for milliseconds, value in samples
    )
    parsed = [point for output in encode(kept_of(*named)) for point in parse_lines(text_of(output))]
    assert expected == sorted(
        (point.tags[0][1], point.timestamp_ms, point.value_bits) for point in parsed
    )


def test_random_bit_patterns() -> None:
    words = np.random.default_rng(7).integers(0, 2**64, 200_000, dtype=np.uint64)
    values = words.view(np.float64)
    values = values[np.isfinite(values)]
    count = len(values)
    times = np.arange(1, count + 1, dtype=np.int64)
    kept = Samples((b"m",), np.array([count]), times, values, (b"m",))
    lines = b"".join(text_of(output) for output in encode(kept)).split()
    parsed = np.array([float(field.removeprefix(b"value=")) for field in lines[1::3]])
    assert np.array_equal(parsed.view(np.int64), values.view(np.int64))
    assert np.array_equal(np.array(lines[2::3]).astype(np.int64), times)


def test_an_entry_holds_so_many_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_protocol, "MAX_OUTPUT_LINES", 3)
    series = [(f"m,s={index}".encode(), [(1, 1.0), (2, 2.0)]) for index in range(5)]
    outputs = list(encode(kept_of(*series)))
    assert [output.samples for output in outputs] == [3, 3, 3, 1]
    text = b"".join(map(text_of, outputs))
    assert [(p.tags[0][1], p.timestamp_ms) for p in parse_lines(text)] == [
        (str(index), milliseconds) for index in range(5) for milliseconds in (1, 2)
    ]


def test_an_entry_holds_so_many_bytes() -> None:
    key = b"m,s=" + b"x" * 60_000
    outputs = list(encode(kept_of((key, [(index, 1.0) for index in range(1, 1001)]))))
    assert len(outputs) == 3
    assert all(len(text_of(output)) <= line_protocol.MAX_OUTPUT_BYTES for output in outputs)
    assert sum(output.samples for output in outputs) == 1000
    # The window reaches one line back, so a long key costs next to nothing after its first time.
    assert sum(len(output.payload) for output in outputs) < 2_000_000


@pytest.mark.parametrize("key_bytes", [1, 300, 500, 1_000, 2_000])
def test_keys_of_any_length_inflate_to_themselves(key_bytes: int) -> None:
    letters = random.Random(3).choices(string.ascii_letters.encode(), k=key_bytes)
    key = b"m,s=" + bytes(letters)
    samples = [(index, index / 7) for index in range(1, 301)]
    (output,) = encode(kept_of((key, samples)))
    assert gzip.decompress(output.payload) == text_of(output)
    points = parse_lines(text_of(output))
    assert [(point.timestamp_ms, point.value) for point in points] == samples
    # A repeated key costs a reference for each 258 bytes of it.
    assert len(output.payload) < key_bytes + 300 * (40 + key_bytes // 100) + 200


@pytest.mark.parametrize(
    "line",
    [
        b"m value=1",
        b"m value=1 1 ",
        b"m  value=1 1",
        b"m value=1.5e 1",
        b"m value=NaN 1",
        b"m value=1e999 1",
        b"m value=1i 1",
        b"m value=.5 1",
        b"m value=1 1.5",
        b"m value=1 9223372036855",
        b"m,a= value=1 1",
        b"m,=b value=1 1",
        b"m,a=b=c value=1 1",
        b"m,a=b\\ value=1 1",
        b"m,a=b\\\\c value=1 1",
        b"m,a\\b=c value=1 1",
        b"m,b=1,a=1 value=1 1",
        b"m,a=1,a=1 value=1 1",
        b"m,time=1 value=1 1",
        b"m,_field=1 value=1 1",
        b"#m value=1 1",
        b"_m value=1 1",
        b",a=b value=1 1",
        b"m,a=\tb value=1 1",
        "m,a=\ufffd value=1 1".encode(),
        b"m,a=" + b"x" * 65_525 + b" value=1 1",
    ],
)
def test_the_parser_is_strict(line: bytes) -> None:
    with pytest.raises(Refused):
        parse_line(line)


def test_the_parser_cuts_lines_as_influxdb_does() -> None:
    broken = b'm,k\\\\ =v=" value=1 1\nm value=2 2\nm,k=" value=3 3\n'
    with pytest.raises(Refused, match="cut these lines elsewhere"):
        parse_lines(broken)
