"""Which differences the end of the source's history explains: only what it no longer gives."""

from __future__ import annotations

from collections import Counter

import pytest

from common.promql.reach import RAW, Reach, reach_of
from etlctl.verify.verdict import Verdict
from tests.unit.etlctl.verify.test_run import (
    SAMPLES,
    MemorySink,
    MemorySource,
    host,
    only,
    subject,
    verify,
)

# Samples are 15 s apart, the first at 15 s.
LOWEST_MS = 75_000
MINUTE = Reach(60_000)


def after(time_ms: int) -> dict[int, float]:
    return {t: v for t, v in SAMPLES.items() if t > time_ms}


def test_what_the_source_no_longer_keeps_is_not_extra() -> None:
    source = MemorySource({"a": after(60_000)})
    result = only(verify(source, MemorySink({host("a"): SAMPLES}), oldest_source_ms=lambda: 75_000))
    assert (result.extra, result.unexplained) == (4, 0)
    assert result.explained.extra == {"source_expired": 4}


@pytest.mark.parametrize(
    ("reach", "expired"),
    [
        (RAW, 4),  # 15 s to 60 s
        (MINUTE, 8),  # 15 s to 120 s: at 135 s all of its minute is there
        (Reach(0, pinned_ms=LOWEST_MS), 4),
        (Reach(0, pinned_ms=LOWEST_MS - 1), 10),  # what it is pinned to is gone for all of them
        (reach_of("slo:errors:ratio_rate30d"), 10),  # 300 s, the look-back
    ],
)
def test_a_rule_may_miss_what_it_looked_at(reach: Reach, expired: int) -> None:
    source = MemorySource({"a": after(150_000)})
    outcome = verify(
        source,
        MemorySink({host("a"): SAMPLES}),
        subjects=[subject(reach=reach)],
        oldest_source_ms=lambda: LOWEST_MS,
    )
    result = only(outcome)
    assert result.extra == 10
    assert result.explained.extra == {"source_expired": expired}
    assert result.unexplained == 10 - expired


def test_a_name_that_looks_like_a_duration_excuses_nothing() -> None:
    reach = reach_of('slo:errors:ratio_rate30d{pod="api-7d9f"}')
    source = MemorySource({"a": after(3_000_000)})
    outcome = verify(
        source,
        MemorySink({host("a"): SAMPLES}),
        subjects=[subject(reach=reach)],
        oldest_source_ms=lambda: LOWEST_MS,
    )
    result = only(outcome)
    # Below 75 s + 300 s.
    assert result.explained.extra == {"source_expired": 24}
    assert result.unexplained == 200 - 24


def test_what_the_source_still_gives_must_be_there() -> None:
    """However young the source is, as one of which every point lies within a rule's reach."""
    have = dict(SAMPLES)
    del have[15_000]
    have[30_000] = -1.0
    have[30_001] = 5.0
    outcome = verify(
        MemorySource({"a": SAMPLES}),
        MemorySink({host("a"): have}),
        subjects=[subject(reach=Reach(30 * 86_400_000))],
        oldest_source_ms=lambda: 15_000,
    )
    result = only(outcome)
    assert (result.missing, result.different) == (1, 1)
    assert not result.explained.missing
    assert not result.explained.different
    assert result.unexplained == 2
    # At that millisecond it gives nothing; whether it did cannot be known any more.
    assert result.explained.extra == {"source_expired": 1}


def test_another_value_than_the_source_gives_is_no_extra_that_expired() -> None:
    """What appears between two reads, with another value than the sink's, is not gone."""
    first = after(30_000)
    outcome = verify(
        MemorySource({"a": first}, {"a": after(15_000)}),
        MemorySink({host("a"): {**after(30_000), 30_000: 7.0}}),
        oldest_source_ms=lambda: LOWEST_MS,
    )
    result = only(outcome)
    assert (result.extra, result.unexplained) == (1, 1)


def test_what_expires_while_it_is_compared_is_told_by_a_second_read() -> None:
    """15 s and 30 s are deleted after the first read: one was never loaded, one differs."""
    have = {**after(15_000), 30_000: -1.0}
    asked: Counter[str] = Counter()

    def oldest_ms() -> int:
        asked["oldest"] += 1
        return 45_000

    outcome = verify(
        MemorySource({"a": SAMPLES}, {"a": after(30_000)}),
        MemorySink({host("a"): have}),
        oldest_source_ms=oldest_ms,
    )
    result = only(outcome)
    assert result.explained.missing == {"source_expired": 1}
    assert result.explained.different == {"source_expired": 1}
    assert result.unexplained == 0
    assert asked["oldest"] == 1


def test_the_oldest_time_is_not_asked_for_where_nothing_differs() -> None:
    def oldest_ms() -> int:
        raise AssertionError("nobody needs it")

    sides = MemorySource({"a": SAMPLES}), MemorySink({host("a"): SAMPLES})
    assert verify(*sides, oldest_source_ms=oldest_ms).verdict is Verdict.EQUAL
