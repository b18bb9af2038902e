"""The verifier where InfluxDB takes too long for what it is asked at once."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import EtlError, QueryRejected, QueryTooLarge, SinkSlow
from common.state.windows import Feed
from services.verifier.proving.forgotten import Forgotten
from services.verifier.proving.prove import TURN_SECONDS, Prover
from services.verifier.run import Subject, Verifier
from services.verifier.sealed.check import Checker
from services.verifier.sealed.outcome import QueryOutcome
from services.verifier.sink.read import Sink
from tests.integration.etlctl.verify.world import STEP_MS
from tests.integration.verifier.prover_rig import FEED, Rig


def test_a_sink_that_is_slow_for_one_query_keeps_no_other_from_being_proven(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Feed("other", "hot", "select", "f")
    queries = [*rig.world.queries, {"name": other.query, "select": '{job="nobody"}'}]
    url = rig.world.prometheus.url
    rig.world.changes = {"extract": {"prometheus_url": url, "queries": queries}}
    rig.prover = rig.new_prover()
    rig.world.write(rig.world.expected())
    rig.load_up_to(rig.world.end_ms)
    rig.load_up_to(rig.world.end_ms, feed=other)
    step, slow = Prover._step, True

    def read(self: Prover, one: Verifier, subject: Subject, *rest: Any) -> bool:
        if slow and subject.name == FEED.query:
            raise SinkSlow("it did not respond within 20 s")
        return step(self, one, subject, *rest)

    monkeypatch.setattr(Prover, "_step", read)
    rig.turn()
    rig.turn()
    assert rig.verified_ms < rig.world.end_ms
    proven = rig.value("etl_verified_timestamp_seconds", query=other.query, tier="hot")
    assert proven == rig.world.end_ms / 1000
    (told,) = {line["error"] for line in rig.events("verify_failed")}
    assert "did not respond" in told

    slow = False
    rig.turn()
    rig.turn()
    assert rig.verified_ms == rig.world.end_ms
    assert rig.differing == 0


def test_what_the_sink_is_too_slow_for_is_compared_in_shorter_pieces_over_turns(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.world.write(rig.world.expected())
    rig.load_up_to(rig.world.end_ms)
    read, tried_ms, seconds = Sink.read, list[int](), 0.0

    def slow(self: Sink, places: Any, start_ms: int, end_ms: int, *rest: Any, **more: Any) -> Any:
        nonlocal seconds
        tried_ms.append(end_ms - start_ms)
        if end_ms - start_ms > 8 * STEP_MS:
            seconds += 20
            raise SinkSlow("it did not respond within 20 s")
        return read(self, places, start_ms, end_ms, *rest, **more)

    monkeypatch.setattr(Sink, "read", slow)
    rig.prover.clock = lambda: seconds
    for _ in range(20):
        rig.turn()
    assert rig.verified_ms == rig.world.end_ms
    assert rig.differing == 0
    assert max(tried_ms[len(tried_ms) // 2 :]) <= 16 * STEP_MS, "it keeps to what went well"


def test_after_many_short_ranges_a_long_one_is_not_read_at_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.world.write(rig.world.expected())
    read, lengths_ms = Sink.read, list[int]()

    def noted(self: Sink, places: Any, start_ms: int, end_ms: int, *rest: Any, **more: Any) -> Any:
        lengths_ms.append(end_ms - start_ms)
        return read(self, places, start_ms, end_ms, *rest, **more)

    monkeypatch.setattr(Sink, "read", noted)
    for step in range(1, 9):
        rig.load_up_to(rig.world.start_ms + step * STEP_MS)
        rig.turn()
    rig.load_up_to(rig.world.end_ms)
    lengths_ms.clear()
    rig.turn()
    rig.turn()
    assert rig.verified_ms == rig.world.end_ms
    assert lengths_ms[0] <= 4 * STEP_MS
    assert max(lengths_ms) > 4 * STEP_MS, "then they grow"


def test_the_next_turn_begins_with_what_this_one_had_no_time_for(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = [{"name": name, "select": f'{{job="{name}"}}'} for name in ("a", "b", "c")]
    rig.world.changes = {
        "extract": {"prometheus_url": rig.world.prometheus.url, "queries": queries}
    }
    rig.prover = rig.new_prover()
    for query in queries:
        rig.load_up_to(rig.world.end_ms, feed=Feed(query["name"], "hot", "select", "f"))
    asked, seconds = list[str](), 0.0

    def slow(self: Prover, one: Verifier, subject: Subject, *rest: Any) -> bool:
        nonlocal seconds
        asked.append(subject.name)
        seconds += TURN_SECONDS / 2
        raise SinkSlow("it did not respond within 300 s")

    monkeypatch.setattr(Prover, "_step", slow)
    rig.prover.clock = lambda: seconds
    for _ in range(3):
        rig.turn()
    assert asked == ["a", "b", "c", "a", "b", "a"]


@pytest.mark.parametrize("error", [SinkSlow, QueryRejected, QueryTooLarge])
def test_a_range_that_differs_and_cannot_be_read_keeps_no_other_of_its_query(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, error: type[EtlError]
) -> None:
    middle_ms = rig.world.start_ms + 40 * STEP_MS
    rig.load_up_to(middle_ms)  # and nothing of it is in the sink
    rig.turn()
    rig.turn()
    missing = rig.differing
    assert missing
    rig.world.write(point for point in rig.world.expected() if point[1] > middle_ms)
    rig.load_up_to(rig.world.end_ms)
    rig.now_seconds += 1e6

    def fails(self: Prover, *rest: Any) -> None:
        raise error("it cannot be read")

    monkeypatch.setattr(Prover, "_again", fails)
    rig.turn()
    rig.turn()
    assert rig.verified_ms == rig.world.end_ms
    assert rig.differing == missing
    assert "cannot be read" in rig.events("verify_failed")[-1]["error"]


def test_seals_are_read_with_fewer_points_at_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def slow(self: Checker, *rest: Any) -> QueryOutcome:
        tried.append(self.piece_points)
        raise SinkSlow("it did not respond within 20 s")

    monkeypatch.setattr(Checker, "run", slow)
    nothing_is_left = Forgotten(whole_from_ms=10**14)
    monkeypatch.setattr(Forgotten, "of", lambda *_: nothing_is_left)
    rig.load_up_to(rig.world.end_ms)
    for _ in range(6):
        rig.turn()
    assert tried == [400_000, 100_000, 25_000, 6_250, 1_562, 1_000]
