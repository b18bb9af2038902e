"""The digest of what was loaded: that of the entry, less what the sink refused."""

from __future__ import annotations

import gzip
import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.samples.columns import Samples
from common.samples.seal import Digest
from common.samples.seal_columns import digest
from common.state.verdict import Entry, Settle
from services.loader.loaded import digest_of_lines
from services.transformer.line_protocol import encode
from tests.doubles.influx_engine import Bucket
from tests.doubles.loading import BAD, BUCKET, NOW_MS, Bench, entry, lines, old, tier

KEYS = (b"m,n=1", rb"a\ b,t\,g=x\ y\=z\\", "ü,é=\u4f60".encode())


def samples_of(values: list[float], keys: tuple[bytes, ...] = KEYS) -> Samples:
    """Each key with all of the values."""
    count = len(values)
    return Samples(
        keys,
        np.full(len(keys), count, np.int64),
        np.tile(np.arange(count, dtype=np.int64) + NOW_MS, len(keys)),
        np.tile(np.array(values, np.float64), len(keys)),
        keys,
    )


def digest_of(samples: Samples) -> Digest:
    return digest(samples.keys, samples.counts, samples.timestamps_ms, samples.values)


def bits() -> st.SearchStrategy[float]:
    drawn = st.integers(0, 2**64 - 1).map(lambda n: struct.unpack("<d", struct.pack("<Q", n))[0])
    return drawn.filter(math.isfinite)


@given(st.lists(bits() | st.sampled_from([0.0, -0.0, 5e-324, 1e22, 2.0**53]), min_size=1))
def test_lines_read_back_to_the_digest_that_was_written(values: list[float]) -> None:
    samples = samples_of(values)
    (output,) = encode(samples)
    assert output.digest == digest_of(samples)

    assert digest_of_lines(gzip.decompress(output.payload).splitlines()) == output.digest


def test_an_outputs_part_has_its_own_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.transformer.line_protocol.MAX_OUTPUT_LINES", 3)
    samples = samples_of([1.5, 2.0])
    first, second = encode(samples)

    assert first.digest is not None and second.digest is not None
    assert (first.digest.points, second.digest.points) == (3, 3)
    assert first.digest + second.digest == digest_of(samples)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"m value=1u 1",
        b"m value=1,other=2 1",
        b"m other=1,more=2 1",
        b"m other_avg=1,more_avg=2 1",
        b"m value=1, 1",
        b"m value=1",
        b"m avg=1,value=2 1",
        b"m avg=1,other=2 1",
        b"m value=1_0 1",
        b"m value=nan 1",
        b"m value=1 99999999999999999999",
        b"m value=1 9999999999999999999",
        b" value=1 1",
        b"m value=1  1",
    ],
)
def test_what_the_transformer_does_not_write_has_no_digest(line: bytes) -> None:
    with pytest.raises(ValueError, match="no line of ours"):
        digest_of_lines([line])


def settled(bench: Bench, one: Entry) -> Settle:
    (verdict,) = bench.handle(one)
    assert isinstance(verdict, Settle)
    return verdict


def test_what_the_sink_takes_whole_has_the_digest_of_its_entry() -> None:
    told = Digest(3, (7, 8))

    assert settled(Bench(), entry("1", lines(3), digest=told.text)).digest == told


@pytest.mark.parametrize("told", [True, False])
def test_what_the_sink_refuses_is_taken_away(told: bool) -> None:
    good, refused = lines(20), [b"c value=1 1700000000000", b"c value=2 1700000000001"]
    bench = Bench()
    bench.engine.buckets[BUCKET].types[("c", "value")] = "string"
    text = [*good[:5], *refused, *good[5:]]
    whole = digest_of_lines(text).text if told else ""

    verdict = settled(bench, entry("1", text, digest=whole))

    assert verdict.loaded == 20
    assert verdict.digest == digest_of_lines(good)


def test_what_is_older_than_the_sink_keeps_is_taken_away() -> None:
    bench = Bench(tiers={"hot": tier(retention_seconds=86_400)})
    bench.engine.buckets[BUCKET] = Bucket(86_400)
    ancient, good = lines(3, at_ms=old(2)), lines(4)
    whole = digest_of_lines([*ancient, *good])

    verdict = settled(bench, entry("1", [*ancient, *good], digest=whole.text))

    assert verdict.drops == {"beyond_retention": 3}
    assert verdict.digest == digest_of_lines(good)


def test_lines_that_are_not_ours_leave_the_digest_unknown() -> None:
    text = [*lines(3), BAD]

    assert settled(Bench(), entry("1", text, digest="0" * 32)).digest is None


@pytest.mark.parametrize("told", ["x", "0" * 31, "0" * 33, "G" * 32])
def test_a_damaged_digest_is_none(told: str) -> None:
    assert settled(Bench(), entry("1", lines(2), digest=told)).digest is None
