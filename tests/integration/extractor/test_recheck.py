"""Late samples: what changed is found and extracted again, and it comes to an end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from redis import Redis

from common.errors import QueryRejected, SourceError, SourceUnavailable
from common.samples.rollup import Rollup
from common.state.ledger import Ledger
from services.extractor.recheck import FIRST_WAIT_SECONDS, MOST_FAILURES
from services.extractor.windows import Plan
from tests.integration.extractor.recheck_world import (
    AFTER_SECONDS,
    EXPR_FEED,
    EXPR_PLAN,
    FEED,
    KEYS,
    PLAN,
    STEP_MS,
    Rig,
)


@pytest.fixture
def rig(redis_client: Redis) -> Rig:
    return Rig(redis_client)


def test_nothing_is_counted_before_its_time(rig: Rig) -> None:
    rig.commit_all(100 * STEP_MS)

    assert rig.rechecker.run(PLAN) == 0

    assert rig.source.counted == []


def test_unchanged_windows_cost_one_query_and_are_not_counted_again(rig: Rig) -> None:
    rig.source.times = [t * STEP_MS for t in range(1, 101)]
    rig.commit_all(100 * STEP_MS)
    rig.clock.ms += 61_000

    assert rig.rechecker.run(PLAN) == 0
    assert rig.rechecker.run(PLAN) == 0

    assert rig.source.counted == [(0, 100 * STEP_MS)]
    assert rig.backlog() == []


def test_late_samples_open_exactly_their_windows(rig: Rig) -> None:
    rig.source.times = [t * STEP_MS for t in range(1, 101, 2)]
    rig.commit_all(100 * STEP_MS)
    rig.clock.ms += 61_000
    rig.source.times += [34 * STEP_MS, 36 * STEP_MS, 72 * STEP_MS]

    assert rig.rechecker.run(PLAN) == 2

    assert rig.backlog() == [(30 * STEP_MS, 40 * STEP_MS), (70 * STEP_MS, 80 * STEP_MS)]
    labels = {"query": "raw", "tier": "hot"}
    assert rig.registry.get_sample_value("etl_repeated_samples_total", labels) == 10
    rig.commit_all(100 * STEP_MS)
    rig.clock.ms += 61_000
    assert rig.rechecker.run(PLAN) == 0, "counted again once more, and now they agree"
    assert Ledger(rig.redis, KEYS).audit().imbalance_samples == 0


@pytest.mark.parametrize(("aggregate", "opened_until"), [("max", 40), ("increase", 350)])
def test_what_increases_from_a_late_sample_is_opened_too(
    rig: Rig, aggregate: str, opened_until: int
) -> None:
    """With whole windows, of 70 steps here: their seals are replaced whole."""
    rollup = Rollup.of(STEP_MS, [aggregate])
    assert rollup.lead_in_ms in (0, 300 * STEP_MS)
    plan = replace(PLAN, rollup=rollup, head_step_ms=70 * STEP_MS)
    rig.source.now = 400 * STEP_MS
    rig.commit_all(400 * STEP_MS)
    rig.clock.ms += 61_000
    rig.source.times = [34 * STEP_MS]

    assert rig.rechecker.run(plan) == 1

    assert rig.backlog() == [(30 * STEP_MS, opened_until * STEP_MS)]


def test_samples_that_vanished_open_their_window_too(rig: Rig) -> None:
    rig.source.times = [t * STEP_MS for t in range(1, 21)]
    rig.commit_all(20 * STEP_MS)
    rig.clock.ms += 61_000
    rig.source.times.remove(15 * STEP_MS)

    assert rig.rechecker.run(PLAN) == 1

    assert rig.backlog() == [(10 * STEP_MS, 20 * STEP_MS)]


def test_what_nobody_holds_as_it_was_read_is_left(rig: Rig) -> None:
    """Samples of another replica would stand beside those that are loaded."""
    rig.source.times = [t * STEP_MS for t in range(1, 41)]
    rig.commit_all(40 * STEP_MS)
    rig.clock.ms += 61_000
    rig.source.times += [5 * STEP_MS, 25 * STEP_MS]
    rig.rechecker.is_gone = lambda plan, start_ms, end_ms: end_ms <= 10 * STEP_MS

    assert rig.rechecker.run(PLAN) == 1

    assert rig.backlog() == [(20 * STEP_MS, 30 * STEP_MS)]
    assert rig.pending() == 2, "of the others the next recounts"


def test_a_count_that_is_too_large_is_made_in_parts(rig: Rig) -> None:
    rig.commit_all(100 * STEP_MS)
    rig.clock.ms += 61_000
    rig.source.largest_ms = 30 * STEP_MS

    assert rig.rechecker.run(PLAN) == 0

    assert rig.backlog() == []
    assert rig.windows.due_rechecks(FEED, 100) == []


def test_a_source_that_is_away_leaves_everything_due(rig: Rig) -> None:
    rig.commit_all(100 * STEP_MS)
    rig.clock.ms += 61_000
    rig.source.away = True

    with pytest.raises(SourceUnavailable):
        rig.rechecker.run(PLAN)

    assert rig.windows.due_rechecks(FEED, 100) == [], "not at once"
    rig.later(61)
    assert len(rig.windows.due_rechecks(FEED, 100)) == 10
    rig.source.away = False
    assert rig.rechecker.run(PLAN) == 0
    assert rig.abandoned() == 0


def test_what_cannot_be_counted_keeps_nothing_else_waiting(rig: Rig) -> None:
    rig.commit_all(100 * STEP_MS)
    rig.clock.ms += 61_000
    rig.source.largest_ms = 10 * STEP_MS  # one window at a time
    rig.source.refused = (0, 10 * STEP_MS)

    for _ in range(2):
        assert rig.rechecker.run(PLAN) == 0

    rig.later(61)
    (left,) = rig.windows.due_rechecks(FEED, 100)
    assert (left.start_ms, left.end_ms, left.failures) == (*rig.source.refused, 1)


def test_a_turn_ends_when_it_must_and_the_rest_stays_due(rig: Rig) -> None:
    rig.commit_all(100 * STEP_MS)
    rig.clock.ms += 61_000
    rig.source.largest_ms = 10 * STEP_MS
    answers = iter([True] * 6 + [False] * 100)

    rig.rechecker.run(PLAN, lambda: next(answers))

    left = len(rig.windows.due_rechecks(FEED, 100))
    assert 0 < left < 10
    assert len(rig.source.counted) == 6
    for _ in range(10):  # shorter turns come to an end all the same
        several = iter([True] * 2 + [False] * 100)
        rig.rechecker.run(PLAN, lambda several=several: next(several))  # type: ignore[misc]
    assert rig.windows.due_rechecks(FEED, 100) == []


def test_what_prometheus_deleted_since_is_no_gap(rig: Rig) -> None:
    rig.source.times = [t * STEP_MS for t in range(1, 21)]
    rig.commit_all(20 * STEP_MS)
    rig.clock.ms += 61_000
    rig.source.times, rig.source.lowest = [], 25 * STEP_MS

    assert rig.rechecker.run(PLAN) == 0

    assert rig.backlog() == []
    assert rig.windows.due_rechecks(FEED, 100) == []


def test_what_is_late_is_found_by_each_later_recount(rig: Rig) -> None:
    rig.source.times = [t * STEP_MS for t in range(1, 101)]
    rig.commit_all(100 * STEP_MS)
    rig.later(61)
    assert rig.rechecker.run(PLAN) == 0
    assert rig.pending() == 1, "of windows that adjoin one recheck is left"
    rig.source.times.append(50 * STEP_MS + 1)
    rig.later(540)

    assert rig.rechecker.run(PLAN) == 1

    rig.commit_all(100 * STEP_MS)
    rig.later(3000)
    assert rig.rechecker.run(PLAN) == 0
    assert (rig.pending(), rig.abandoned()) == (0, 0)


@pytest.mark.parametrize("failure", [QueryRejected("405"), SourceUnavailable("503")])
def test_a_recount_that_always_fails_comes_to_an_end_and_is_told(
    rig: Rig, failure: SourceError
) -> None:
    def fails(*_: object) -> int:
        raise failure

    rig.rechecker.count_in = fails
    rig.commit_all(20 * STEP_MS)
    turns = 0
    while rig.pending():
        rig.later(3600)
        rig.rechecker.turn([PLAN], lambda: True)
        turns += 1
        assert turns < 50

    # Two windows, at each of three recounts: together, once they have waited together.
    assert 3 <= rig.abandoned() <= 6
    assert turns == 3 * MOST_FAILURES
    assert rig.backlog() == []


def test_an_outage_is_no_failure_of_a_recount(rig: Rig) -> None:
    def is_away(*_: object) -> int:
        raise SourceUnavailable("cannot be reached", away=True)

    count_in, rig.rechecker.count_in = rig.rechecker.count_in, is_away
    rig.source.times = [t * STEP_MS for t in range(1, 11)]
    rig.commit_all(10 * STEP_MS)
    rig.later(AFTER_SECONDS[0])
    for _ in range(2 * MOST_FAILURES):
        rig.rechecker.turn([PLAN], lambda: True)
        rig.later(FIRST_WAIT_SECONDS)
    assert (rig.pending(), rig.abandoned()) == (1, 0)

    # As soon as the source is back it is made, and it passes.
    rig.rechecker.count_in = count_in
    (due,) = rig.windows.due_rechecks(PLAN.feed, 10)
    assert (due.round, due.failures) == (0, 1)
    rig.rechecker.turn([PLAN], lambda: True)
    rig.later(AFTER_SECONDS[1])
    assert [one.round for one in rig.windows.due_rechecks(PLAN.feed, 10)] == [1]


def test_a_replica_that_is_away_keeps_no_recount_of_another_waiting(rig: Rig) -> None:
    """Each turn ends at the first that fails: those come last from then on."""

    def counted(plan: Plan, start_ms: int, end_ms: int) -> int:
        if end_ms <= 20 * STEP_MS:
            raise SourceUnavailable("is away", away=True)
        return rig.source.count_in(plan.query, start_ms, end_ms)

    rig.rechecker.count_in = counted
    rig.rechecker._most_windows = 1
    rig.source.times = [t * STEP_MS for t in range(1, 51)]
    rig.commit_all(50 * STEP_MS)
    rig.later(AFTER_SECONDS[0])
    for _ in range(4):
        rig.rechecker.turn([PLAN], lambda: True)
        rig.later(FIRST_WAIT_SECONDS + 1)

    due = rig.windows.due_rechecks(PLAN.feed, 10)
    assert {(one.end_ms, one.failures) for one in due} == {(10 * STEP_MS, 1), (20 * STEP_MS, 1)}


def test_a_count_that_never_agrees_comes_to_an_end_and_is_told(rig: Rig) -> None:
    """As of a server that counts what it does not return, such as staleness markers."""
    rig.source.times = [t * STEP_MS for t in range(1, 11)]
    count_in = rig.rechecker.count_in
    rig.rechecker.count_in = lambda *window: count_in(*window) + 1
    rig.commit_all(10 * STEP_MS)
    opened = 0
    for _ in range(20):
        rig.later(3600)
        opened += rig.rechecker.run(PLAN)
        rig.commit_all(10 * STEP_MS)

    assert opened == len(AFTER_SECONDS)
    assert (rig.pending(), rig.abandoned()) == (0, 1)


def test_one_late_sample_at_the_last_recount_is_no_alarm(rig: Rig) -> None:
    rig.commit_all(10 * STEP_MS)
    for wait_seconds in (60, 540):
        rig.later(wait_seconds)
        assert rig.rechecker.run(PLAN) == 0
    rig.source.times = [STEP_MS]
    rig.later(3000)

    assert rig.rechecker.run(PLAN) == 1

    assert rig.abandoned() == 0


def test_one_feed_that_takes_all_the_time_keeps_no_other_waiting(rig: Rig) -> None:
    rig.commit_all(10 * STEP_MS)
    rig.commit_expr(10 * STEP_MS)
    rig.later(61)
    rig.source.counted.clear()
    for _ in range(2):
        goes_on = iter([True, True, False, False])
        rig.rechecker.turn([PLAN, EXPR_PLAN], lambda goes_on=goes_on: next(goes_on))  # type: ignore[misc]

    assert rig.source.counted == [(0, 10 * STEP_MS)] * 2


# -- expressions -------------------------------------------------------------------------------


def test_an_expression_is_evaluated_again_by_one_request(rig: Rig) -> None:
    rig.source.times = [t * STEP_MS for t in range(1, 101)]
    rig.commit_expr(100 * STEP_MS)
    for wait_seconds in (60, 540, 3000):
        rig.later(wait_seconds)
        assert rig.rechecker.run(EXPR_PLAN) == 0

    assert rig.source.counted == [(0, 100 * STEP_MS)] * 3
    assert rig.pending(EXPR_FEED) == 0


def test_late_data_opens_what_it_changed_of_an_expression(rig: Rig) -> None:
    rig.source.times = [t * STEP_MS for t in range(1, 101)]
    rig.commit_expr(100 * STEP_MS)
    rig.source.times.append(90 * STEP_MS + 1)
    rig.later(61)

    assert rig.rechecker.run(EXPR_PLAN) == 10

    assert rig.backlog("rule@hot") == [(90 * STEP_MS, 100 * STEP_MS)]
    rig.commit_expr(100 * STEP_MS)
    rig.later(540)
    assert rig.rechecker.run(EXPR_PLAN) == 0


def test_an_expression_that_looks_back_at_what_was_deleted_is_left(rig: Rig) -> None:
    rig.source.times = [t * STEP_MS for t in range(1, 21)]
    rig.commit_expr(20 * STEP_MS)
    rig.source.times, rig.source.lowest = [], 5 * STEP_MS
    rig.later(61)

    assert rig.rechecker.run(EXPR_PLAN) == 0

    assert (rig.backlog("rule@hot"), rig.pending(EXPR_FEED), rig.abandoned("rule")) == ([], 0, 0)
