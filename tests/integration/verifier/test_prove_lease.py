"""Of several verifiers one works: what that has compared counts as long as no other one came."""

from __future__ import annotations

import pytest

from services.verifier.proving.prove import LEASE_SECONDS, Prover
from tests.integration.verifier.prover_rig import Rig


def let_lease_run_out(rig: Rig) -> None:
    left_ms = rig.redis.pttl(rig.keys.verify_lease)
    assert isinstance(left_ms, int)
    rig.redis.pexpire(rig.keys.verify_lease, left_ms - round(LEASE_SECONDS * 1000))


def test_a_second_verifier_shows_what_the_first_proves_and_does_nothing(rig: Rig) -> None:
    rig.world.write(rig.world.expected())
    rig.load_up_to(rig.world.end_ms)
    rig.prover.record.save({})  # the first has the lease
    second = Rig(rig.world, rig.redis, token="two")

    second.turn()
    assert second.ready["redis"] == (True, "another verifier works")
    assert second.verified_ms == rig.world.start_ms
    rig.turn()
    second.turn()
    assert second.verified_ms == rig.world.end_ms

    rig.prover.record.release()
    second.turn()
    assert second.ready["redis"] == (True, "")


def test_what_it_compared_before_another_verifier_came_and_went_does_not_count(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.load_up_to(rig.world.end_ms)  # and nothing of it is in the sink
    second = Rig(rig.world, rig.redis, token="two")
    progress = Prover._progress

    def stood_still(self: Prover, position_ms: int) -> None:
        """For longer than its lease; the second one finds what was loaded meanwhile."""
        monkeypatch.setattr(Prover, "_progress", progress)
        let_lease_run_out(rig)
        rig.world.write(rig.world.expected())
        second.turn()
        second.prover.record.release()
        progress(self, position_ms)

    monkeypatch.setattr(Prover, "_progress", stood_still)
    rig.turn()
    rig.turn()
    assert rig.verified_ms == rig.world.end_ms
    assert rig.differing == 0
    assert rig.events("verify_differs") == []


def test_a_comparison_that_takes_longer_than_the_lease_counts_where_it_is_the_only_one(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.world.write(rig.world.expected())
    rig.load_up_to(rig.world.end_ms)
    rig.prover.record.save({})
    progress = Prover._progress

    def slow(self: Prover, position_ms: int) -> None:
        let_lease_run_out(rig)
        progress(self, position_ms)

    monkeypatch.setattr(Prover, "_progress", slow)
    rig.prover.turn()
    rig.prover.turn()
    assert rig.verified_ms == rig.world.end_ms
