"""What backfills have loaded before the feed's origin is proven, on real servers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from common.config import load_settings
from common.state.backfills import Backfills, Part
from common.state.feeds import Feed
from services.verifier.proving.prove import Prover
from tests.integration.etlctl.verify.world import STEP_MS
from tests.integration.verifier import prover_rig
from tests.integration.verifier.prover_rig import Rig

HISTORY_STEPS = 100
LOADED_STEPS = 40


class History:
    """A feed that begins late, and a backfill of what lies before, of which a part is loaded."""

    def __init__(self, rig: Rig, feed: Feed) -> None:
        self.rig, self.feed = rig, feed
        self.begin_ms = rig.world.start_ms
        self.origin_ms = self.begin_ms + HISTORY_STEPS * STEP_MS
        self.backfills = Backfills(rig.redis, rig.keys)
        rig.windows.plan(feed, self.origin_ms, rig.world.end_ms, adopt=True)
        rig.windows.set_reconciled(feed)
        assert rig.windows.commit(feed, rig.lease(), []) == "committed"
        ranges = [(self.begin_ms, self.origin_ms)]
        # Its oldest part first: what it has loaded is not next to the feed.
        self.id, _ = self.backfills.create({feed: ranges}, *ranges[0], order="oldest")

    def extract(self, steps: int) -> None:
        (part,) = (part for part in self.backfills.parts() if part.coming)
        feed, left_ms = part.of(self.feed), steps * STEP_MS
        while left_ms and (window := self.rig.windows.lease(feed, "catchup", 0, left_ms)):
            assert self.rig.windows.commit(feed, window, []) == "committed"
            left_ms -= window.end_ms - window.start_ms

    def turns(self) -> None:
        self.rig.turn()
        self.rig.turn()  # publishes, and has nothing to do

    @property
    def compared(self) -> list[tuple[int, int]]:
        return list(self.rig.prover.record.read()[self.feed.name].proven.compared)

    @property
    def waiting_seconds(self) -> float | None:
        return self.rig.value("etl_verify_history_waiting_seconds")

    @property
    def parts(self) -> list[Part]:
        return [part for part in self.backfills.parts() if part.coming]


@pytest.fixture
def history(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> History:
    """Of the feed that the verifier's configuration names."""
    query = next(q for q in load_settings(rig.world.config()).extract.queries if q.name == "raw")
    feed = replace(prover_rig.FEED, fingerprint=query.fingerprint("hot"))
    monkeypatch.setattr(prover_rig, "FEED", feed)
    return History(rig, feed)


def test_what_a_backfill_has_loaded_is_proven_while_it_goes_on(history: History) -> None:
    rig = history.rig
    rig.world.write(rig.world.expected())
    history.extract(LOADED_STEPS)
    loaded_ms = history.begin_ms + LOADED_STEPS * STEP_MS
    rig.prover._look()
    assert history.waiting_seconds == LOADED_STEPS * STEP_MS / 1000
    live_ms = rig.world.end_ms - history.origin_ms
    assert rig.value("etl_verify_waiting_seconds") == live_ms / 1000

    history.turns()
    assert history.compared == [
        (history.begin_ms, loaded_ms),
        (history.origin_ms, rig.world.end_ms),
    ]
    assert (rig.verified_ms, rig.differing, history.waiting_seconds) == (rig.world.end_ms, 0, 0)

    history.extract(HISTORY_STEPS)
    history.turns()
    parts = history.backfills.parts()
    assert history.backfills.join(history.feed.name, parts, ()) == history.begin_ms
    history.turns()
    assert history.compared == [(history.begin_ms, rig.world.end_ms)]
    assert (rig.verified_ms, history.waiting_seconds) == (rig.world.end_ms, 0)


def test_what_a_cancelled_backfill_has_loaded_is_proven_too(history: History) -> None:
    rig = history.rig
    history.extract(LOADED_STEPS)
    assert history.backfills.change(history.id, "cancelled")
    loaded_ms = history.begin_ms + LOADED_STEPS * STEP_MS
    rig.world.write(
        one for one in rig.world.expected() if one[1] <= loaded_ms or one[1] > history.origin_ms
    )
    history.turns()
    assert history.compared[0] == (history.begin_ms, loaded_ms)
    assert (rig.differing, history.waiting_seconds) == (0, 0)


def test_history_that_is_missing_is_extracted_again_by_another_backfill(history: History) -> None:
    rig = history.rig
    history.extract(LOADED_STEPS)
    first_ms, last_ms = history.begin_ms + 10 * STEP_MS, history.begin_ms + 20 * STEP_MS
    rig.world.write(one for one in rig.world.expected() if not first_ms < one[1] <= last_ms)
    assert history.backfills.change(history.id, "cancelled")
    history.turns()

    (again,) = history.parts
    ((start_ms, end_ms),) = again.coming
    assert start_ms <= first_ms
    assert last_ms <= end_ms <= history.begin_ms + LOADED_STEPS * STEP_MS
    assert rig.differing == 0, "it is to be compared again"
    told = rig.events("verify_repairs")
    assert [(one["start_ms"], one["end_ms"]) for one in told] == [(start_ms, end_ms)]

    rig.world.write(rig.world.expected())
    history.extract(HISTORY_STEPS)
    history.turns()
    assert history.parts == []
    assert (rig.differing, history.waiting_seconds) == (0, 0)
    assert history.compared[0][0] == history.begin_ms


def test_what_was_opened_and_is_settled_again_is_compared_again(rig: Rig) -> None:
    """Nobody looked while it was in the backlog."""
    points = rig.world.expected()
    rig.world.write(points)
    rig.load_up_to(rig.world.end_ms)
    rig.turn()
    rig.turn()
    compared = rig.registry.get_sample_value("etl_records_total") or 0.0

    opened = rig.world.start_ms + 60 * STEP_MS, rig.world.start_ms + 70 * STEP_MS
    rig.windows.reopen(prover_rig.FEED, *opened, recounted=True)
    (lost, time_ms, _) = next(point for point in points if point[1] > opened[0])
    rig.world.delete(lost[0], dict(lost[1]), time_ms)
    assert rig.windows.commit(prover_rig.FEED, rig.lease(), []) == "committed"
    rig.turn()
    rig.turn()

    assert (rig.verified_ms, rig.differing) == (rig.world.end_ms, 1)
    again = (rig.registry.get_sample_value("etl_records_total") or 0.0) - compared
    assert 0 < again < compared / 4


def test_what_was_opened_and_settled_while_it_was_compared_does_not_count(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = rig.world.start_ms, rig.world.start_ms + 10 * STEP_MS
    rig.world.write(one for one in rig.world.expected() if one[1] > opened[1])
    rig.load_up_to(rig.world.end_ms)
    progress = Prover._progress

    def extracted_again(self: Prover, position_ms: int) -> None:
        """What was missing when it was read is there, and whoever looks has seen that."""
        monkeypatch.setattr(Prover, "_progress", progress)
        rig.windows.reopen(prover_rig.FEED, *opened)
        rig.world.write(rig.world.expected())
        assert rig.windows.commit(prover_rig.FEED, rig.lease(), []) == "committed"
        assert rig.prover._look() == ""

    monkeypatch.setattr(Prover, "_progress", extracted_again)
    rig.turn()
    rig.turn()

    assert rig.events("verify_differs") == []
    assert (rig.verified_ms, rig.differing) == (rig.world.end_ms, 0)


def test_what_a_redis_lost_and_is_extended_back_is_live(rig: Rig) -> None:
    """The feed begins like a new one, until the sink's watermark is known."""
    rig.world.write(rig.world.expected())
    late_ms = rig.world.start_ms + 60 * STEP_MS
    rig.windows.plan(prover_rig.FEED, late_ms, rig.world.end_ms, adopt=True)
    assert rig.windows.commit(prover_rig.FEED, rig.lease(), []) == "committed"
    rig.turn()
    rig.prover._look()
    assert rig.verified_ms == rig.world.end_ms

    rig.windows.reopen(prover_rig.FEED, rig.world.start_ms, late_ms, extend=True)
    rig.windows.set_reconciled(prover_rig.FEED)
    assert rig.windows.commit(prover_rig.FEED, rig.lease(), []) == "committed"
    rig.prover._look()
    assert rig.verified_ms == rig.world.start_ms
    assert rig.value("etl_verify_waiting_seconds") == (late_ms - rig.world.start_ms) / 1000
    assert rig.value("etl_verify_history_waiting_seconds") == 0

    rig.turn()
    rig.prover._look()
    assert rig.verified_ms == rig.world.end_ms
