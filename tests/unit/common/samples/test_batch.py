"""The wire form of a batch: what goes in comes out bit for bit, and nothing else gets through."""

from __future__ import annotations

import json
import struct
import zlib

import lz4.block
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import WireError
from common.samples.batch import Origin, SampleBatch
from common.samples.columns import Samples

ORIGIN = Origin("q", "select", "hot", "w1", 0, 60_000)


def batch(series: list[tuple[bytes, list[tuple[int, float]]]]) -> SampleBatch:
    samples = [sample for _, found in series for sample in found]
    return SampleBatch(
        ORIGIN,
        Samples(
            tuple(labels for labels, _ in series),
            np.array([len(found) for _, found in series], dtype=np.int64),
            np.array([t for t, _ in samples], dtype=np.int64),
            np.array([v for _, v in samples], dtype=np.float64),
        ),
    )


labels = st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=5).map(
    lambda found: json.dumps(found).encode()
)
samples = st.lists(st.tuples(st.integers(-(2**62), 2**62), st.floats(width=64)), max_size=20)


@given(st.lists(st.tuples(labels, samples), max_size=10))
def test_round_trip_is_exact(series: list[tuple[bytes, list[tuple[int, float]]]]) -> None:
    original = batch(series)

    again = SampleBatch.decode(original.encode())

    assert again.origin == ORIGIN
    assert again.samples.series == original.samples.series
    assert again.samples.counts.tolist() == original.samples.counts.tolist()
    assert again.samples.timestamps_ms.tolist() == original.samples.timestamps_ms.tolist()
    assert again.samples.values.tobytes() == original.samples.values.tobytes()


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(payload: bytes) -> None:
    with pytest.raises(WireError):
        SampleBatch.decode(payload)


@given(st.data())
def test_any_flipped_bit_is_noticed(data: st.DataObject) -> None:
    payload = bytearray(batch([(b'{"a":"b"}', [(1000, 1.0), (2000, 2.0)])]).encode())
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises(WireError, match="checksum"):
        SampleBatch.decode(bytes(payload))


@given(st.data())
def test_damage_behind_a_good_checksum_is_refused_or_still_consistent(
    data: st.DataObject,
) -> None:
    body = bytearray(batch([(b'{"a":"b"}', [(1000, 1.0), (2000, 2.0)])]).encode()[:-4])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))

    try:
        found = SampleBatch.decode(sealed(bytes(body)))
    except WireError:
        return
    assert (
        int(found.samples.counts.sum())
        == len(found.samples.timestamps_ms)
        == len(found.samples.values)
    )
    assert len(found.samples.counts) == len(found.samples.series)


@given(st.binary(max_size=300))
def test_random_bytes_behind_a_good_checksum_are_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        SampleBatch.decode(sealed(body))


def columns(**changed: object) -> bytes:
    def packed(raw: bytes) -> bytes:
        return bytes(lz4.block.compress(raw))

    fields: dict[str, object] = {
        "schema": 1,
        "query": "q",
        "kind": "expr",
        "tier": "hot",
        "window": "w",
        "start": 0,
        "end": 1,
        "series": packed(msgspec.msgpack.encode([b"{}"])),
        "counts": packed(struct.pack("<q", 1)),
        "timestamps": packed(struct.pack("<q", 5)),
        "values": packed(struct.pack("<d", 5.0)),
    }
    return sealed(msgspec.msgpack.encode(list((fields | changed).values())))


def sealed(body: bytes) -> bytes:
    return body + struct.pack("<I", zlib.crc32(body))


def test_the_table_below_starts_from_a_good_payload() -> None:
    assert len(SampleBatch.decode(columns())) == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"schema": 2}, "schema 2"),
        ({"schema": None}, "schema None"),
        ({"query": 5}, "must be text"),
        ({"start": "x"}, "must be integers"),
        ({"counts": lz4.block.compress(struct.pack("<q", -1))}, "do not add up"),
        ({"counts": lz4.block.compress(struct.pack("<q", 2))}, "do not add up"),
        ({"counts": lz4.block.compress(struct.pack("<qq", 1, 0))}, "do not fit"),
        ({"values": lz4.block.compress(b"1234567")}, "differ in length"),
        ({"values": lz4.block.compress(b"")}, "differ in length"),
        ({"series": lz4.block.compress(b"\xc1")}, "series table"),
        ({"series": lz4.block.compress(msgspec.msgpack.encode([1]))}, "series table"),
        ({"series": b"xx"}, "not bytes"),
        ({"series": 7}, "not bytes"),
        ({"values": b"\xff\xff\xff\x7f\x00"}, "claims 2147483647 bytes"),
        ({"values": b"\x08\x00\x00\x00\xff\xff"}, "column values"),
        ({"extra": 1}, "12 fields"),
    ],
)
def test_each_inconsistency_is_named(changed: dict[str, object], message: str) -> None:
    with pytest.raises(WireError, match=message):
        SampleBatch.decode(columns(**changed))


def test_regular_scrapes_stay_small() -> None:
    rng = np.random.default_rng(1)
    count, length = 500, 240
    found = SampleBatch(
        ORIGIN,
        Samples(
            tuple(b'{"__name__":"m","instance":"host-%d"}' % number for number in range(count)),
            np.full(count, length, dtype=np.int64),
            np.tile(np.arange(length, dtype=np.int64) * 15_000 + 1_700_000_000_000, count),
            rng.integers(0, 1000, count * length).astype(np.float64),
        ),
    )

    assert len(found.encode()) / len(found) < 6.5, "bytes a sample"


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(WireError):
        SampleBatch.decode(sealed(b"\x91" * 3000))
