"""The verifier's own decoding of chunks, against a plain encoder."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.source.remote_read.doubt import Doubt
from services.verifier.chunks import xor
from tests.unit.common.source.remote_read.xor_encoder import Sample, bits_of, encode
from tests.unit.services.extractor.remote_read.test_xor import ODD_DIFFERENCES, chunks


def decoded(all_samples: Sequence[Sequence[Sample]]) -> list[list[Sample]]:
    """What becomes of chunks that lie in one text, with bytes of others between them."""
    content, starts, ends = b"", [], []
    for samples in all_samples:
        content += b"\xff" * 3
        starts.append(len(content))
        content += encode(samples)
        ends.append(len(content))
    bounds = np.array([starts, ends], np.int64)
    counts, times, values = xor.samples_of(content, *bounds)
    pairs = iter(zip(times.tolist(), values.view(np.uint64).tolist(), strict=True))
    found = [list(itertools.islice(pairs, count)) for count in counts.tolist()]
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
    monkeypatch.setattr(xor, "GROUP_CHUNKS", 3)
    all_samples = [
        [(1000 * number, bits_of(number * length)) for number in range(length)]
        for length in (1, 2, 120, 3, 3, 1, 1, 39, 40, 2)
    ]
    assert decoded(all_samples) == all_samples


@pytest.mark.parametrize("cut_bytes", [1, 5, 9, 20, 60])
def test_a_chunk_that_is_cut_off_is_doubtful(cut_bytes: int) -> None:
    whole = encode([(1_700_000_000_000 + 15_000 * n, bits_of(n / 7)) for n in range(30)])
    size = len(whole)
    for ends in ([size - cut_bytes, 2 * size], [size, 2 * size - cut_bytes]):
        with pytest.raises(Doubt) as raised:
            xor.samples_of(whole + whole, np.array([0, size]), np.array(ends))
        assert raised.value.reason == "chunk"


@pytest.mark.parametrize("content", [b"", b"\0", b"\0\1", b"\0\1" + b"\xff" * 20, b"\xff" * 40])
def test_no_chunk_at_all_is_doubtful(content: bytes) -> None:
    with pytest.raises(Doubt):
        xor.samples_of(content, np.array([0]), np.array([len(content)]))


@given(st.binary(max_size=60))
def test_any_bytes_are_decoded_or_doubtful(content: bytes) -> None:
    try:
        (count,), times_ms, values = xor.samples_of(
            content, np.array([0]), np.array([len(content)])
        )
    except Doubt:
        return
    assert len(times_ms) == len(values) == count == content[0] * 256 + content[1]
