"""Entries of a query's tiers hold the same samples; what is known of one is used for the next."""

from __future__ import annotations

import gzip
from dataclasses import replace

from common.samples.batch import SampleBatch
from common.samples.rollup import Rollup
from common.samples.series import SeriesEncoder
from common.state.verdict import Entry, Settle
from services.transformer.transform import TransformHandler
from tests.support.samples import NOW_MS, batch_of, entry_of

WARM, COLD = Rollup.of(60_000, ["avg", "count"]), Rollup.of(300_000, ["max", "increase"])
START_MS = NOW_MS // 300_000 * 300_000 - 600_000
SERIES = [
    ({"__name__": "m", "host": "a"}, [(START_MS + 15_000 * n, float(n)) for n in range(1, 41)]),
    ({"__name__": "m", "host": "b"}, [(START_MS + 15_000, float("nan")), (START_MS + 30_000, 2.5)]),
]


def handler_at(now_ms: int) -> TransformHandler:
    return TransformHandler(SeriesEncoder(), clock=lambda: now_ms / 1000)


def batch(tier: str, rollup: Rollup, query: str = "q", kind: str = "select") -> SampleBatch:
    found = batch_of(SERIES, query=query, kind=kind)
    origin = replace(
        found.origin, tier=tier, start_ms=START_MS, end_ms=START_MS + 600_000, rollup=rollup
    )
    return replace(found, origin=origin)


def settled(handler: TransformHandler, entry: Entry) -> Settle:
    (verdict,) = handler.handle([entry])
    assert isinstance(verdict, Settle)
    assert verdict.samples == entry.samples
    return verdict


def test_tiers_one_after_the_other_become_what_each_becomes_alone() -> None:
    entries = [
        entry_of(batch(tier, rollup, query, kind))
        for query, kind in (("q", "select"), ("p", "expr"), ("p", "select"))
        for tier, rollup in (("warm", WARM), ("cold", COLD), ("warm", WARM))
    ]
    handler = handler_at(NOW_MS)
    together = [settled(handler, entry) for entry in entries]
    assert together == [settled(handler_at(NOW_MS), entry) for entry in entries]
    assert together[0].drops == {"nan": 1, "rolled_up": 41 - 11}


def test_samples_of_the_next_tier_are_not_inflated_again() -> None:
    handler = handler_at(NOW_MS)
    first = handler._decoder.decode(batch("warm", WARM).encode())
    assert handler._decoder.decode(batch("cold", COLD).encode()).samples is first.samples


def test_another_number_of_samples_than_the_ledger_has_is_found_all_the_same() -> None:
    handler = handler_at(NOW_MS)
    settled(handler, entry_of(batch("warm", WARM)))
    verdict = settled(handler, entry_of(batch("cold", COLD), samples=7))
    assert [dead.reason for dead in verdict.dead] == ["count_mismatch"]


def test_what_was_in_the_future_is_judged_again() -> None:
    now_ms = [START_MS - 600_000]
    handler = TransformHandler(SeriesEncoder(), 300.0, clock=lambda: now_ms[0] / 1000)
    early = batch("warm", WARM)
    early = replace(early, origin=replace(early.origin, end_ms=START_MS - 600_000))
    assert settled(handler, entry_of(early)).drops["timestamp_in_future"] == 41
    now_ms[0] = NOW_MS
    assert "timestamp_in_future" not in settled(handler, entry_of(batch("cold", COLD))).drops


def test_whole_numbers_are_written_without_a_point() -> None:
    (output,) = settled(handler_at(NOW_MS), entry_of(batch("warm", WARM))).outputs
    first, *_ = gzip.decompress(output.payload).splitlines()
    assert first.startswith(b"m,host=a avg=2.5,count=4 ")
