"""What was read from one of several replicas is compared with that one, or excused."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.verifier.replicas import ReadFrom
from services.verifier.verdict import Verdict
from tests.unit.services.verifier.test_run import (
    END_MS,
    SAMPLES,
    MemorySink,
    MemorySource,
    host,
    only,
    verify,
)

HALF_MS = END_MS // 2
FIRST, SECOND, GONE = "http://a:1", "http://b:1", "http://c:1"
# Each replica scrapes at times of its own.
OTHERS = {t + 7: value for t, value in SAMPLES.items()}


@dataclass
class Pair(MemorySource):
    """Two replicas, of which this is the first."""

    second: MemorySource = field(default_factory=lambda: MemorySource({"a": OTHERS}))

    def replica(self, url: str) -> MemorySource:
        return self.second if url == SECOND else self


def read_from(*stretches: tuple[int, int, str]) -> ReadFrom:
    return ReadFrom(lambda query: stretches, (FIRST, SECOND))


def loaded(second_half: dict[int, float]) -> MemorySink:
    first_half = {t: value for t, value in SAMPLES.items() if t <= HALF_MS}
    rest = {t: value for t, value in second_half.items() if t > HALF_MS}
    return MemorySink({host("a"): first_half | rest})


def test_each_half_is_compared_with_the_replica_that_it_was_read_from() -> None:
    record = read_from((0, HALF_MS, FIRST), (HALF_MS, END_MS, SECOND))
    outcome = verify(Pair({"a": SAMPLES}), loaded(OTHERS), read_from=record)
    assert only(outcome).equal == len(SAMPLES)
    assert outcome.verdict is Verdict.EQUAL


def test_what_was_read_from_one_that_has_another_url_by_now_differs_for_that_reason() -> None:
    """And is nothing to extract again: the samples of the first would stand beside it."""
    record = read_from((0, HALF_MS, FIRST), (HALF_MS, END_MS, GONE))
    sink = loaded(OTHERS)
    del sink.points[host("a")][HALF_MS - 15_000]  # of the first half, which is compared
    sink.points[host("a")][END_MS - 15_000] = 5.0

    result = only(verify(Pair({"a": SAMPLES}), sink, read_from=record))

    assert result.unexplained == 1
    assert result.unloaded.ranges == [(HALF_MS - 30_000, HALF_MS - 15_000)]
    assert set(result.reasons) == {"replica_gone"}
    assert (result.explained.missing.total(), result.explained.different.total()) == (119, 1)
    assert result.explained.extra.total() == 120


def test_what_is_gone_is_what_none_of_them_was_read_for() -> None:
    record = read_from((0, 10, GONE), (10, 20, "http://d:1"), (20, 30, FIRST), (40, 50, GONE))
    assert record.gone("q") == [(0, 20), (40, 50)]
    # Nor is it known which one was read between, and behind.
    assert record.closed("q") == [(0, 20), (30, 2**62)]


def test_of_one_server_it_is_known_which_one_was_read() -> None:
    record = ReadFrom(lambda query: [(0, 10, GONE), (10, 20, FIRST)], (FIRST,))
    assert record.closed("q") == [(0, 10)]
