"""Samples for different buckets go into entries of their own."""

from __future__ import annotations

import gzip

from common.samples.batch import Origin, SampleBatch
from common.samples.bucket_of_key import BucketOfKey, mark_of_bucket
from common.samples.gzip_join import is_joinable, join, mark_of
from common.samples.seal import Digest
from common.samples.series import SeriesEncoder
from common.state.verdict import Entry, Settle
from services.transformer.transform import TransformHandler
from tests.support.samples import batch_of

POINTS = [(1_700_000_000_000, 1.0), (1_700_000_015_000, 2.0)]
TEAMS = ("a", "b", "", "c", "a")


def entry() -> Entry:
    series = [
        ({"__name__": "m", "team": team, "n": str(number)}, POINTS)
        for number, team in enumerate(TEAMS)
    ]
    origin = Origin("q", "select", "hot", "w", 0, 1_700_000_020_000)
    payload = SampleBatch(origin, batch_of(series).samples).encode()
    return Entry("1", 1, "q", "hot", "select", "w", 2 * len(TEAMS), payload)


def settled(bucket_of: BucketOfKey | None) -> Settle:
    handler = TransformHandler(SeriesEncoder(), bucket_of=bucket_of, clock=lambda: 1_700_000_100.0)
    (verdict,) = handler.handle([entry()])
    assert isinstance(verdict, Settle) and verdict.samples == 2 * len(TEAMS)
    return verdict


def test_each_bucket_has_an_entry_that_is_marked() -> None:
    found = settled(BucketOfKey("team", {"a": "one", "b": "two", "c": "one"}))
    by_mark = {
        mark_of(output.payload): {line.split(b",n=")[1][:1] for line in lines(output.payload)}
        for output in found.outputs
    }
    assert by_mark == {
        0: {b"2"},
        mark_of_bucket("one"): {b"0", b"3", b"4"},
        mark_of_bucket("two"): {b"1"},
    }
    assert all(is_joinable(output.payload) for output in found.outputs)
    whole = settled(None)
    assert len(whole.outputs) == 1
    assert sorted(lines(join(output.payload for output in found.outputs))) == sorted(
        lines(whole.outputs[0].payload)
    )
    digests = [output.digest or Digest() for output in found.outputs]
    assert sum(digests, Digest()) == whole.outputs[0].digest, "the seal is the same"


def lines(payload: bytes) -> list[bytes]:
    return gzip.decompress(payload).splitlines()
