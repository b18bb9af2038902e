"""The verifier, where what was loaded was read from a replica that has another URL by now."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from common.config import load_settings
from common.state.history import ReplicasRead
from common.state.proven import Differing
from common.state.ranges import overlaps
from common.state.windows import Feed
from services.verifier.proving.forgotten import Forgotten
from tests.integration.etlctl.verify.sealing import Sealer
from tests.integration.etlctl.verify.world import STEP_MS, Point
from tests.integration.verifier import prover_rig
from tests.integration.verifier.prover_rig import Rig

# The second of three parts of the history is of another replica, which scraped at other times.
OTHER_MS = 3


class Pair:
    """All is loaded and sealed; that of ``gone``, ``(start_ms, end_ms]``, of the other replica."""

    def __init__(self, rig: Rig, gone: tuple[int, int]) -> None:
        self.rig = rig
        self.gone_ms = start_ms, end_ms = gone
        self.points: list[Point] = [
            (series, time_ms - OTHER_MS * (start_ms < time_ms <= end_ms), value)
            for series, time_ms, value in rig.world.expected()
        ]
        rig.world.write(self.points)
        record = ReplicasRead(rig.redis, rig.keys)
        sealer = Sealer(rig.world)
        for bound_ms, url in (
            (start_ms, rig.world.prometheus.url),
            (end_ms, "http://gone:9090"),
            (rig.world.end_ms, rig.world.prometheus.url),
        ):
            rig.windows.plan(prover_rig.FEED, rig.world.start_ms, bound_ms, adopt=True)
            window = rig.lease()
            record.note(prover_rig.FEED, window, url)
            assert rig.windows.commit(prover_rig.FEED, window, []) == "committed"
            sealer.seal((window.start_ms, window.end_ms), self.points)
        rig.redis.delete(rig.keys.seals_due)

    @property
    def of_gone(self) -> list[Point]:
        return [one for one in self.points if self.gone_ms[0] < one[1] <= self.gone_ms[1]]

    def delete(self, points: list[Point]) -> None:
        for (name, tags), time_ms, _ in points:
            self.rig.world.delete(name, dict(tags), time_ms)


@pytest.fixture
def pair(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Pair:
    world = rig.world
    world.changes = {
        "extract.prometheus_url": None,
        "extract.replicas": [world.prometheus.url, "http://127.0.0.1:9"],
    }
    rig.prover = rig.new_prover()
    query = next(q for q in load_settings(world.config()).extract.queries if q.name == "raw")
    feed = Feed("raw", "hot", "select", query.fingerprint("hot"))
    monkeypatch.setattr(prover_rig, "FEED", replace(prover_rig.FEED, fingerprint=feed.fingerprint))
    return Pair(rig, (world.start_ms + 80 * STEP_MS, world.start_ms + 160 * STEP_MS))


def backlog(rig: Rig) -> list[tuple[int, int]]:
    return list(rig.windows.status()[prover_rig.FEED.name].backlog)


def turns(rig: Rig) -> None:
    for _ in range(3):
        rig.turn()


def test_it_is_proven_by_its_seals(rig: Rig, pair: Pair) -> None:
    turns(rig)

    assert (rig.verified_ms, rig.differing) == (rig.world.end_ms, 0)
    assert backlog(rig) == []
    sealed_seconds = rig.value("etl_verify_proven_by_seal_seconds_total")
    assert sealed_seconds == (pair.gone_ms[1] - pair.gone_ms[0]) / 1000


def test_what_is_lost_of_it_differs_and_is_not_extracted_again(rig: Rig, pair: Pair) -> None:
    lost = pair.of_gone[:3]
    pair.delete(lost)

    turns(rig)

    assert (rig.verified_ms, rig.differing) == (rig.world.end_ms, len(lost))
    assert backlog(rig) == []
    rig.now_seconds += 3600
    turns(rig)
    assert rig.differing == len(lost)
    pair.rig.world.write(lost)
    rig.now_seconds += 3600
    turns(rig)
    assert rig.differing == 0


def test_what_is_lost_on_both_sides_of_it_is_extracted_again_without_it(
    rig: Rig, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However near: what lies between two ranges is opened with them otherwise."""
    monkeypatch.setattr("services.verifier.sealed.windows.NEAR_MS", 10**9)
    start_ms, end_ms = pair.gone_ms
    pair.delete([one for one in pair.points if one[1] in (start_ms, end_ms + STEP_MS)])

    turns(rig)

    opened = backlog(rig)
    assert opened
    assert all(last <= start_ms or end_ms <= first for first, last in opened), opened


def test_nothing_is_extracted_again_where_nobody_knows_which_one_was_read(
    rig: Rig, pair: Pair
) -> None:
    """Redis lost that, or there was one server only: the fullest would be read now."""
    start_ms, _ = pair.gone_ms
    pair.delete([one for one in pair.points if one[1] in (start_ms, start_ms - STEP_MS)])
    rig.redis.delete(rig.keys.replicas(prover_rig.FEED.name))

    turns(rig)

    assert rig.differing
    assert backlog(rig) == []


def test_what_differed_before_its_url_changed_is_compared_in_parts(rig: Rig, pair: Pair) -> None:
    start_ms, end_ms = pair.gone_ms
    record = rig.prover.record
    proof = record.read()[prover_rig.FEED.name]
    proven = proof.proven.with_range(rig.world.start_ms, rig.world.end_ms, 7, 0)
    assert record.save({prover_rig.FEED.name: proof._replace(proven=proven)})

    turns(rig)

    assert (rig.verified_ms, rig.differing) == (rig.world.end_ms, 0)
    sealed_seconds = rig.value("etl_verify_proven_by_seal_seconds_total")
    assert sealed_seconds == (end_ms - start_ms) / 1000
    assert backlog(rig) == []


@pytest.mark.parametrize("is_part", [True, False])
def test_what_was_loaded_again_meanwhile_is_not_taken_as_compared(
    rig: Rig, pair: Pair, *, is_part: bool
) -> None:
    """While the source is asked what is forgotten, the verifier looks around."""
    turns(rig)
    name, prover, (start_ms, end_ms) = prover_rig.FEED.name, rig.prover, pair.gone_ms
    differed = Differing(start_ms - STEP_MS, end_ms, 7, 0)
    proof = prover.record.read()[name]
    proof = proof._replace(proven=proof.proven.with_range(*differed[:4]))
    assert prover.record.save({name: proof})
    again = (differed.start_ms if is_part else end_ms, rig.world.end_ms)

    prover._at, prover._reopened = name, []
    rig.windows.reopen(prover_rig.FEED, *again)
    prover._look()
    window = rig.lease()
    assert rig.windows.commit(prover_rig.FEED, window, []) == "committed"
    prover._again(Any, proof, differed, Forgotten(0, [pair.gone_ms]), Any)  # type: ignore[arg-type]

    now = prover.record.read()[name]
    assert (window.start_ms, window.end_ms) == again
    assert not overlaps(now.proven.compared, *again)
    assert len(now.proven.differing) == 0
