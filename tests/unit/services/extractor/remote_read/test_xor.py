"""Decoding chunks, against a plain encoder."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.source.remote_read.doubt import Doubt
from services.extractor.remote_read import xor
from tests.unit.common.source.remote_read.xor_encoder import (
    STALE_BITS,
    Sample,
    bits_of,
    encode,
)

ODD_VALUES = (
    *map(bits_of, (0.0, -0.0, 1.0, 0.1, math.inf, -math.inf, 5e-324, -1.7976931348623157e308)),
    bits_of(math.nan),
    STALE_BITS,
    0x7FF8_0000_0000_0001,
    0xFFFF_FFFF_FFFF_FFFF,
    1,
    1 << 63,
)
# Around the bounds of each class of bits.
ODD_DIFFERENCES = [
    sign * (1 << size - 1) + beside
    for size in (14, 17, 20, 33)
    for sign in (-1, 1)
    for beside in (-1, 0, 1)
]

VALUES = st.one_of(
    st.sampled_from(ODD_VALUES),
    st.integers(0, (1 << 64) - 1),
    st.integers(0, 1 << 20).map(lambda number: bits_of(float(number))),
)


@st.composite
def chunks(draw: st.DrawFn) -> list[Sample]:
    ms = draw(st.integers(-(1 << 45), 1 << 45))
    distance = draw(st.integers(0, 1 << 40))
    samples: list[Sample] = []
    for _ in range(draw(st.integers(1, 25))):
        samples.append((ms, draw(VALUES) if draw(st.booleans()) or not samples else samples[-1][1]))
        ms += distance
        differs = draw(st.sampled_from([0, 0, 0, 1, -1, 60_000, *ODD_DIFFERENCES]))
        distance = max(0, distance + differs)
    return samples


def decoded(all_samples: Sequence[Sequence[Sample]]) -> list[list[Sample]]:
    """What becomes of chunks that lie in one text, with bytes of others between them."""
    content, starts, ends = b"", [], []
    for samples in all_samples:
        content += b"\xff" * 3
        starts.append(len(content))
        content += encode(samples)
        ends.append(len(content))
    found: list[list[Sample]] = []
    for group in xor.decode(content, np.array(starts), np.array(ends)):
        assert group.first == len(found)
        values = group.values.view(np.uint64).tolist()
        pairs = iter(zip(group.times_ms.tolist(), values, strict=True))
        found += [list(itertools.islice(pairs, count)) for count in group.counts.tolist()]
        assert group.last == len(found)
        assert next(pairs, None) is None
    return found


@given(st.lists(chunks(), min_size=1, max_size=8))
def test_all_samples_come_back_bit_for_bit(all_samples: list[list[Sample]]) -> None:
    assert decoded(all_samples) == all_samples


@pytest.mark.parametrize("differs", [0, *ODD_DIFFERENCES, 1 << 60])
def test_each_class_of_differences(differs: int) -> None:
    distance = 1 << 34
    times = [0, distance, 3 * distance + max(0, -differs) + differs]
    times.append(2 * times[2] - times[1] + (differs if differs < distance else 0))
    samples = [(ms, number) for number, ms in enumerate(times)]
    assert decoded([samples]) == [samples]


def test_more_chunks_than_are_decoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xor, "MOST_CHUNKS", 3)
    monkeypatch.setattr(xor, "MOST_PLACES", 40)
    lengths = (1, 2, 120, 3, 3, 3, 3, 1, 1, 39, 40, 41, 2)
    all_samples = [
        [(1000 * number, bits_of(number * length)) for number in range(length)]
        for length in lengths
    ]
    assert decoded(all_samples) == all_samples


@pytest.mark.parametrize("cut_bytes", [1, 5, 9, 20, 60])
def test_a_chunk_that_is_cut_off_is_doubtful(cut_bytes: int) -> None:
    whole = encode([(1_700_000_000_000 + 15_000 * n, bits_of(n / 7)) for n in range(30)])
    content = whole + whole
    start = np.array([0, len(whole)])
    for end in ([len(whole) - cut_bytes, 2 * len(whole)], [len(whole), 2 * len(whole) - cut_bytes]):
        with pytest.raises(Doubt) as raised:
            list(xor.decode(content, start, np.array(end)))
        assert raised.value.reason == "chunk"


@pytest.mark.parametrize("content", [b"", b"\0", b"\0\1", b"\0\1" + b"\xff" * 20, b"\xff" * 40])
def test_no_chunk_at_all_is_doubtful(content: bytes) -> None:
    with pytest.raises(Doubt):
        list(xor.decode(content, np.array([0]), np.array([len(content)])))


@given(st.binary(max_size=60))
def test_any_bytes_are_decoded_or_doubtful(content: bytes) -> None:
    try:
        (found,) = xor.decode(content, np.array([0]), np.array([len(content)]))
    except Doubt:
        return
    assert found.counts.sum() == len(found.times_ms) == len(found.values)
