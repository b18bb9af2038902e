"""Decoding against a plain JSON decoder: float bits, timestamps and label bytes must be equal."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import SourceError, SourceUnavailable
from common.samples.columns import Samples
from services.extractor.source import decode as decode_module
from services.extractor.source.decode import decode

HEAD = b'{"status":"success","data":{"resultType":"matrix","result":['
TAIL = b"]}}"

NASTY_TEXTS = (
    '","values":[[',
    '"]]},{"metric":{',
    '"]]}]}}',
    "]]}",
    '"],["',
    "\\",
    '\\"',
    '\\","values":[[1,"1"]]},{"metric":{"x":"',
    "\n\r\t\x00\x1f",
    "{}[],:",
    "é漢字🙂\u2028",
    "\ufeff",
    "",
)


@dataclass(frozen=True)
class Series:
    """A series as it is written: the JSON text of its labels, its timestamps and its values."""

    labels: bytes
    samples: tuple[tuple[str, str], ...]

    def text(self) -> bytes:
        samples = ",".join(f'[{seconds},"{value}"]' for seconds, value in self.samples)
        return b'{"metric":' + self.labels + b',"values":[' + samples.encode() + b"]}"


def document(series: Sequence[Series]) -> bytes:
    return HEAD + b",".join(one.text() for one in series) + TAIL


def chunked(body: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """The body in chunks of the given sizes, then in one."""
    for size in sizes:
        yield body[:size]
        body = body[size:]
    yield body


def columns(blocks: Sequence[Samples]) -> list[tuple[bytes, list[int], list[bytes]]]:
    """Each series with its timestamps and the bits of its values; parts of one are joined."""
    found: list[tuple[bytes, list[int], list[bytes]]] = []
    for block in blocks:
        assert (block.counts > 0).all()
        assert int(block.counts.sum()) == len(block) == len(block.values)
        for dtype, column in (
            (np.int64, block.counts),
            (np.int64, block.timestamps_ms),
            (np.float64, block.values),
        ):
            assert column.dtype == dtype
        begin = 0
        for labels, count in zip(block.series, block.counts.tolist(), strict=True):
            times = block.timestamps_ms[begin : begin + count].tolist()
            bits = [struct.pack("<d", value) for value in block.values[begin : begin + count]]
            if found and found[-1][0] == labels:
                found[-1][1].extend(times)
                found[-1][2].extend(bits)
            else:
                found.append((labels, times, bits))
            begin += count
    return found


def expected(series: Sequence[Series]) -> list[tuple[bytes, list[int], list[bytes]]]:
    """The same from the texts, by nothing but ``float`` and ``json``."""
    for one in series:
        json.loads(one.text())
    return [
        (
            one.labels,
            [round(float(seconds) * 1000) for seconds, _ in one.samples],
            [struct.pack("<d", float(value)) for _, value in one.samples],
        )
        for one in series
    ]


label_texts = st.one_of(st.sampled_from(NASTY_TEXTS), st.text(max_size=12), st.just("test-app"))
label_sets = st.dictionaries(
    st.one_of(st.sampled_from(["__name__", "values", "metric", "histograms", "le"]), label_texts),
    label_texts,
    max_size=4,
)


@st.composite
def value_texts(draw: st.DrawFn) -> str:
    """What Prometheus and its kin write for a float, and some that nobody has written yet."""
    number = draw(st.floats(allow_nan=False, allow_infinity=False))
    form = draw(st.integers(0, 6))
    if form == 0:
        return draw(
            st.sampled_from(
                ["NaN", "+Inf", "-Inf", "Inf", "-0", "0", "1e+21", "1e-7", "5e-324", "1e400"]
            )
        )
    if form == 1:
        return str(draw(st.integers(-(2**63), 2**64)))
    if form == 2:
        return f"{number:.17g}"
    if form == 3:
        return f"{number:.60e}"
    if form == 4:
        return f"{draw(st.integers(0, 10**40))}.{draw(st.integers(0, 10**40))}"
    if form == 5:
        # Half-way between two floats: only a parser that looks at every digit rounds it well.
        low = abs(number) % 1e15
        return f"{(low + math.nextafter(low, math.inf)) / 2:.800g}" if low else "0.5"
    return repr(number)


@st.composite
def sample_lists(draw: st.DrawFn) -> tuple[tuple[str, str], ...]:
    values = draw(st.lists(value_texts(), min_size=1, max_size=12))
    start_ms = draw(st.integers(0, 2**42))
    step_ms = draw(st.sampled_from([1, 999, 1000, 15_000, 15_001]))
    texts = []
    for index, value in enumerate(values):
        seconds, ms = divmod(start_ms + index * step_ms, 1000)
        texts.append((f"{seconds}.{ms:03d}" if ms else str(seconds), value))
    return tuple(texts)


series_lists = st.lists(
    st.builds(
        lambda labels, samples, ascii_only: Series(
            json.dumps(labels, ensure_ascii=ascii_only, separators=(",", ":")).encode(), samples
        ),
        label_sets,
        sample_lists(),
        st.booleans(),
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(
    series=series_lists,
    sizes=st.lists(st.integers(0, 400), max_size=12),
    block_bytes=st.sampled_from([1, 64, 700, 1 << 18]),
    long_series_bytes=st.sampled_from([1, 150, 1 << 20]),
)
def test_any_answer_in_any_chunks_decodes_bit_for_bit(
    series: list[Series], sizes: list[int], block_bytes: int, long_series_bytes: int
) -> None:
    chunks = chunked(document(series), sizes)
    blocks = list(decode(chunks, block_bytes=block_bytes, long_series_bytes=long_series_bytes))
    # Neighbours with equal labels, which no server sends, would be joined by the helper.
    if len({one.labels for one in series}) == len(series):
        assert columns(blocks) == expected(series)
    assert sum(map(len, blocks)) == sum(len(one.samples) for one in series)


@settings(max_examples=60, deadline=None)
@given(series=series_lists, spaces=st.sampled_from([" ", "\n", "\t ", "\r\n  "]), data=st.data())
def test_white_space_and_other_keys_make_no_difference(
    series: list[Series], spaces: str, data: st.DataObject
) -> None:
    distinct = list({one.labels: one for one in series}.values())
    gap = spaces.encode()
    result = [
        gap
        + (b"," + gap)
        .join(data.draw(st.permutations([b'"metric": ' + one.labels, _spaced(one, gap)])))
        .join((b"{", b"}"))
        for one in distinct
    ]
    members = [b'"resultType" : "matrix"', b'"result":' + gap + b"[" + b",".join(result) + b"]"]
    members.append(b'"stats" :{"seriesFetched": "3"}')
    inner = b"{" + b",".join(data.draw(st.permutations(members))) + gap + b"}"
    top = [b'"status": "success"', b'"data":' + gap + inner, b'"isPartial":false', b'"infos":["x"]']
    body = gap + b"{" + b",".join(data.draw(st.permutations(top))) + b"}" + gap
    json.loads(body)
    assert columns(list(decode([body], block_bytes=64))) == expected(distinct)


def _spaced(one: Series, gap: bytes) -> bytes:
    samples = (b"," + gap).join(
        b"[" + gap + seconds.encode() + b", " + b'"' + value.encode() + b'"]'
        for seconds, value in one.samples
    )
    return b'"values" :[' + samples + gap + b"]"


@settings(max_examples=60, deadline=None)
@given(series=series_lists, data=st.data())
def test_a_body_that_stops_early_never_looks_complete(
    series: list[Series], data: st.DataObject
) -> None:
    body = document(series)
    end = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(SourceError):
        list(decode([body[:end]], block_bytes=64))


def test_a_body_that_stops_at_any_byte_never_looks_complete() -> None:
    samples = (("1.5", "1"), ("2.5", "NaN"))
    body = document([Series(b'{"a":"b"}', samples), Series(b'{"c":"\\"]]}]}}"}', samples)])
    assert len(list(decode([body]))) == 1
    for end in range(len(body)):
        with pytest.raises(SourceUnavailable):
            list(decode([body[:end]]))


@settings(max_examples=60, deadline=None)
@given(series=series_lists, data=st.data())
def test_a_damaged_body_raises_or_is_read_as_json_reads_it(
    series: list[Series], data: st.DataObject
) -> None:
    body = document(series)
    at = data.draw(st.integers(0, len(body) - 1))
    inserted = data.draw(st.sampled_from([b"", *(bytes([byte]) for byte in b'"[]{},:1\n\xff')]))
    removed = data.draw(st.integers(0, 3))
    damaged = body[:at] + inserted + body[at + removed :]
    try:
        found = columns(list(decode([damaged], block_bytes=64)))
    except SourceError:
        return
    try:
        result = json.loads(damaged)["data"]["result"]
    except ValueError:
        # Quotes and brackets in disorder around whole numbers may pass for samples.
        return
    wanted = [struct.pack("<d", float(value)) for one in result for _, value in one["values"]]
    assert [bits for _, _, all_bits in found for bits in all_bits] == wanted


def test_labels_that_hold_the_separators_are_kept_apart() -> None:
    series = [
        Series(json.dumps({"a": text, text: "b"}).encode(), ((f"{n}.25", str(n)),))
        for n, text in enumerate(NASTY_TEXTS)
    ]
    assert columns(list(decode([document(series)]))) == expected(series)


def test_label_values_of_64_kib_and_label_names_in_utf8() -> None:
    labels = {"__name__": "größe.in.µs", "путь": "x" * 65_536, "b": "🙂" * 16_384}
    raw = json.dumps(labels, ensure_ascii=False, separators=(",", ":")).encode()
    series = [
        Series(raw.replace(b'"b"', f'"b{n}"'.encode()), (("1.001", "1"), ("2.002", "2")))
        for n in range(9)
    ]
    blocks = list(decode(chunked(document(series), [100_000] * 8)))
    assert columns(blocks) == expected(series)


def test_a_series_longer_than_the_memory_it_may_use_comes_in_parts() -> None:
    long = Series(b'{"a":"long"}', tuple((f"{n}.5", f"{n / 7}") for n in range(20_000)))
    short = Series(b'{"a":"short"}', (("1", "1"),))
    body = document([short, long, short.__class__(b'{"a":"last"}', short.samples)])
    blocks = list(decode(chunked(body, [10_000] * 30), block_bytes=5_000, long_series_bytes=50_000))
    assert max(map(len, blocks)) < 5_000
    assert [labels for labels, _, _ in columns(blocks)] == [
        b'{"a":"short"}',
        b'{"a":"long"}',
        b'{"a":"last"}',
    ]
    assert columns(blocks)[1] == expected([long])[0]


def test_nothing_is_held_back_and_nothing_is_read_ahead_by_much() -> None:
    series = [Series(b'{"n":"%d"}' % n, (("1.5", "1"),) * 20) for n in range(3_000)]
    body = document(series)
    given_bytes = 0

    def counting() -> Iterator[bytes]:
        nonlocal given_bytes
        for begin in range(0, len(body), 4096):
            given_bytes += 4096
            yield body[begin : begin + 4096]

    taken = 0
    for block in decode(counting(), block_bytes=32_768):
        taken += sum(len(series[0].text()) for _ in block.series)
        assert given_bytes - taken < 3 * 32_768


def test_the_columns_are_used_for_what_prometheus_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    # The plain way gives the same results, only ten times slower: nothing else would notice.
    monkeypatch.delattr(decode_module, "read_series")
    series = [
        Series(json.dumps({"a": text}, separators=(",", ":")).encode(), (("1.5", "NaN"),) * 240)
        for text in NASTY_TEXTS
    ]
    assert columns(list(decode([document(series)]))) == expected(series)
    assert list(decode([document([])])) == []


def test_timestamps_beyond_what_floats_tell_apart_are_exact() -> None:
    texts = ["9223372036854775.807", "-9223372036854775.808", "1099511627776.001", "-0.001", "0"]
    body = document([Series(b"{}", tuple((text, "1") for text in texts))])
    (block,) = decode([body])
    assert block.timestamps_ms.tolist() == [
        9223372036854775807,
        -9223372036854775808,
        1099511627776001,
        -1,
        0,
    ]


HISTOGRAM = b'{"count":"3","sum":"1.5","buckets":[[0,"0.5","1","2"],[3,"-1","1","1"]]}'


def test_native_histograms_are_counted_and_floats_beside_them_are_kept() -> None:
    floats = Series(b'{"a":"floats"}', (("1.5", "1"), ("2.5", "2")))
    only = b'{"metric":{"a":"only"},"histograms":[[1.5,%s],[2.5,%s]]}' % (HISTOGRAM, HISTOGRAM)
    both = b'{"metric":{"a":"both"},"values":[[3.5,"7"]],"histograms":[[4.5,%s]]}' % HISTOGRAM
    for order in ([floats.text(), only, both], [only, floats.text(), both], [both, only], [only]):
        blocks = list(decode([HEAD + b",".join(order) + TAIL], block_bytes=64))
        times = sorted(ms for block in blocks for ms in block.histograms_ms.tolist())
        assert times == [1500, 2500] + [4500] * (both in order)
        kept = {labels: bits for labels, _, bits in columns(blocks)}
        assert set(kept) == {b'{"a":"floats"}', b'{"a":"both"}'} & set(kept)
        assert len(kept) == len(order) - 1
        assert kept.get(b'{"a":"both"}', [struct.pack("<d", 7)]) == [struct.pack("<d", 7)]


def test_columns_are_taken_up_again_after_a_histogram() -> None:
    floats = [Series(b'{"a":"%d"}' % n, (("1.5", "1"),)) for n in range(200)]
    only = b'{"metric":{"a":"only"},"histograms":[[1.5,%s]]}' % HISTOGRAM
    body = HEAD + b",".join([only, *(one.text() for one in floats)]) + TAIL
    blocks = list(decode([body], block_bytes=1_000))
    assert columns(blocks) == expected(floats)
    assert len(blocks) < 100


@settings(max_examples=60, deadline=None)
@given(series=series_lists, start_ms=st.integers(0, 2**42 + 200_000))
def test_after_drops_what_is_not_later(series: list[Series], start_ms: int) -> None:
    distinct = list({one.labels: one for one in series}.values())
    blocks = [block.after(start_ms) for block in decode([document(distinct)])]
    wanted = [
        (labels, [t for t in times if t > start_ms], bits[-sum(t > start_ms for t in times) :])
        for labels, times, bits in expected(distinct)
        if any(t > start_ms for t in times)
    ]
    assert columns(blocks) == wanted
