"""The walk over a range where the sink takes too long for what it is asked at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pytest

from common.errors import SinkSlow
from common.samples.layout import Place
from services.verifier.points import Points
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


@dataclass
class SlowSink(MemorySink):
    """It takes too long for more than ``longest_ms`` at once."""

    longest_ms: int = END_MS

    def read(
        self, places: Iterable[Place], start_ms: int, end_ms: int, fields: Sequence[str] = ()
    ) -> Points:
        if end_ms - start_ms > self.longest_ms:
            raise SinkSlow("it did not respond within 20 s")
        return super().read(places, start_ms, end_ms, fields)


def test_what_the_sink_is_too_slow_for_is_read_in_shorter_pieces() -> None:
    source, seen = MemorySource({"a": SAMPLES}), list[int]()
    sink = SlowSink({host("a"): SAMPLES}, longest_ms=END_MS // 10)
    outcome = verify(source, sink, first_piece_ms=END_MS, progress=seen.append)
    assert outcome.verdict is Verdict.EQUAL
    assert only(outcome).equal == only(outcome).source == len(SAMPLES)
    assert seen == sorted(seen)
    # Each length that was too much is tried once, and lengths do not grow to it at once.
    assert len(source.reads) < 30


def test_a_sink_that_is_too_slow_for_anything_is_an_error() -> None:
    source = MemorySource({"a": SAMPLES})
    with pytest.raises(SinkSlow, match="did not respond"):
        verify(source, SlowSink({}, longest_ms=0), first_piece_ms=END_MS)
    assert len(source.reads) == 4
