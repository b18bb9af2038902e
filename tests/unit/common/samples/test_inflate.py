"""Nothing inflates further than its samples can take."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import lz4.block
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import WireError
from common.samples.batch import CountMismatch, Origin, SampleBatch
from common.samples.columns import Samples
from common.samples.inflate import inflate, lines_bytes_max
from services.loader import payload

BOMB = gzip.compress(b"\n" * (200 << 20), 9)


def peak_bytes_of(call: Callable[[], object], error: type[Exception]) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(error):
            call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5))
def test_members_are_inflated_one_after_the_other(parts: list[bytes]) -> None:
    whole = b"".join(parts)
    packed = b"".join(map(gzip.compress, parts))

    assert inflate(packed, len(whole)) == whole
    if whole:
        with pytest.raises(WireError, match="more than the"):
            inflate(packed, len(whole) - 1)


@pytest.mark.parametrize(
    "body", [b"", b"x", gzip.compress(b"abc")[:-1], gzip.compress(b"a") + b"x"]
)
def test_what_is_no_gzip_is_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        inflate(body, 100)


def test_a_bomb_of_points_costs_no_more_than_its_samples() -> None:
    assert peak_bytes_of(lambda: payload.decode(BOMB, 5), WireError) < 2 << 20
    assert peak_bytes_of(lambda: inflate(BOMB * 3, lines_bytes_max(10**9)), WireError) < 140 << 20


@pytest.mark.parametrize("column", [7, 8, 9, 10])
def test_a_bomb_of_samples_is_refused_by_its_claim(column: int) -> None:
    found = SampleBatch(
        Origin("q", "select", "hot", "w", 0, 1),
        Samples((b"{}",), np.array([1]), np.array([5]), np.array([5.0])),
    )
    fields = msgspec.msgpack.decode(found.encode()[:-4])
    fields[column] = lz4.block.compress(b"\0" * (140 << 20))
    body = msgspec.msgpack.encode(fields)
    sealed = body + zlib.crc32(body).to_bytes(4, "little")

    error = CountMismatch if column == 10 else WireError
    assert peak_bytes_of(lambda: SampleBatch.decode(sealed, 1), error) < 4 << 20
