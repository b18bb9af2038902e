"""What the verifier has extracted again, on a real Prometheus, influxd and Redis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from redis.exceptions import NoPermissionError, ResponseError

from common.config import load_settings
from common.state.seals import windows_without_seal
from common.state.windows import Feed
from services.verifier.proving import repair
from tests.integration.etlctl.verify.world import STEP_MS
from tests.integration.verifier import prover_rig
from tests.integration.verifier.prover_rig import Rig


@pytest.fixture
def feed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Feed:
    """The feed, as the configuration of the verifier names it."""
    query = next(q for q in load_settings(rig.world.config()).extract.queries if q.name == "raw")
    feed = replace(prover_rig.FEED, fingerprint=query.fingerprint("hot"))
    monkeypatch.setattr(prover_rig, "FEED", feed)
    return feed


def backlog(rig: Rig) -> list[tuple[int, int]]:
    return list(rig.windows.status()[prover_rig.FEED.name].backlog)


def load_but_some(rig: Rig) -> tuple[int, int]:
    """All is loaded, and the points of ten steps are not in the sink: where those lie."""
    first_ms = rig.world.start_ms + 100 * STEP_MS
    last_ms = first_ms + 10 * STEP_MS
    rig.world.write(one for one in rig.world.expected() if not first_ms < one[1] <= last_ms)
    rig.load_up_to(rig.world.end_ms)
    rig.redis.delete(rig.keys.seals_due)  # nobody knows its windows
    return first_ms, last_ms


def test_what_is_missing_is_extracted_again_and_nothing_else(rig: Rig, feed: Feed) -> None:
    first_ms, last_ms = load_but_some(rig)

    rig.turn()
    rig.prover._look()

    opened = backlog(rig)
    assert opened[0][0] <= first_ms
    assert last_ms <= opened[-1][1]
    assert sum(end - start for start, end in opened) <= 12 * STEP_MS
    assert rig.differing == 0, "it is to be compared again"
    assert rig.verified_ms <= first_ms
    told = rig.events("verify_repairs")
    assert [(one["start_ms"], one["end_ms"]) for one in told] == opened
    assert rig.value("etl_verify_repairs_total") == len(opened)

    rig.world.write(rig.world.expected())
    rig.load_up_to(rig.world.end_ms)
    rig.turn()
    rig.turn()
    assert (rig.verified_ms, rig.differing) == (rig.world.end_ms, 0)


def test_a_window_whose_seal_is_not_written_yet_is_extracted_again_whole(
    rig: Rig, feed: Feed
) -> None:
    middle_ms, last_ms = (rig.world.start_ms + steps * STEP_MS for steps in (95, 115))
    for end_ms in (middle_ms, last_ms, rig.world.end_ms):
        rig.load_up_to(end_ms)
    first_ms = rig.world.start_ms + 100 * STEP_MS
    rig.world.write(one for one in rig.world.expected() if not first_ms < one[1] <= last_ms)

    rig.turn()

    assert backlog(rig) == [(middle_ms, last_ms)]


def test_what_differs_again_is_not_tried_for_a_while(rig: Rig, feed: Feed) -> None:
    load_but_some(rig)
    rig.turn()
    opened = backlog(rig)
    rig.load_up_to(rig.world.end_ms)  # and is still not there

    rig.turn()
    rig.turn()

    assert backlog(rig) == []
    assert rig.differing
    assert rig.value("etl_verify_repairs_total") == len(opened)


def test_a_verifier_that_was_stopped_repairs_nothing_once_another_works(
    rig: Rig, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_but_some(rig)

    def stopped(*args: Any) -> list[tuple[int, int]]:
        """Its lease runs out, and the other has repaired and proven all of it."""
        rig.redis.set(rig.keys.verify_lease, "another's")
        return windows_without_seal(*args)

    monkeypatch.setattr(repair, "windows_without_seal", stopped)
    rig.turn()

    assert backlog(rig) == []
    assert rig.events("verify_repairs") == []


def test_what_should_not_be_there_is_left(rig: Rig, feed: Feed) -> None:
    points = rig.world.expected()
    rig.world.write(points)
    labels, time_ms, value = points[0]
    rig.world.write([(labels, time_ms + 1, value)])
    rig.load_up_to(rig.world.end_ms)

    rig.turn()
    rig.turn()

    assert rig.differing == 1
    assert backlog(rig) == []


def test_it_is_compared_without_another_recount(rig: Rig, feed: Feed) -> None:
    load_but_some(rig)
    rig.turn()
    rig.world.write(rig.world.expected())
    recounts = rig.prover.settings.extract.recheck_after_seconds
    assert recounts
    rig.load_up_to(rig.world.end_ms, tuple(recounts))
    assert rig.redis.zcard(rig.keys.rechecks(prover_rig.FEED.name)) == 0

    rig.turn()
    rig.turn()
    assert (rig.verified_ms, rig.differing) == (rig.world.end_ms, 0)


def test_it_can_be_turned_off(rig: Rig, feed: Feed) -> None:
    verify = rig.prover.settings.verify.model_copy(update={"repair": "off"})
    rig.prover.repair.settings = rig.prover.settings.model_copy(update={"verify": verify})
    load_but_some(rig)
    rig.turn()
    assert backlog(rig) == []


def test_another_configuration_is_in_force(rig: Rig) -> None:
    load_but_some(rig)
    rig.turn()
    assert backlog(rig) == []
    assert rig.events("verify_repairs") == []


@pytest.mark.parametrize(
    "denied",
    [
        NoPermissionError("this user has no permissions"),
        ResponseError("The user executing the script can't run this command or subcommand script"),
    ],
)
def test_a_user_that_may_not_is_told(
    rig: Rig, feed: Feed, monkeypatch: pytest.MonkeyPatch, denied: ResponseError
) -> None:
    def reopen(*_: object, **__: object) -> None:
        raise denied

    load_but_some(rig)
    monkeypatch.setattr(rig.prover.repair.windows, "reopen", reopen)
    rig.turn()
    rig.turn()
    assert rig.differing
    assert rig.events("verify_repair_denied")
    assert rig.ready["redis"] == (True, "")
