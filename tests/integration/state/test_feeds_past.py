"""What lies behind a feed: gaps, reopened ranges, rechecks, what the sink reported, its end."""

from __future__ import annotations

import pytest

from common.state.windows import Feed, Recheck, Window
from tests.integration.state.worlds import (
    FEED,
    STEP_MS,
    FakeClock,
    Windows,
    bounds,
    commit,
    live,
    must,
)

CHANGED = Feed("q", "hot", "expr", "f2")


def test_a_gap_is_declared_and_the_rest_stays(windows: Windows) -> None:
    windows.plan(FEED, 0, 10 * STEP_MS)
    window = must(live(windows))

    assert windows.declare_gap(FEED, window, 4 * STEP_MS, "no longer kept")
    windows.retry(FEED, window, 0)

    rest = must(live(windows))
    assert bounds(rest) == (4 * STEP_MS, 10 * STEP_MS)
    assert windows.declare_gap(FEED, rest, 99 * STEP_MS, "no longer kept")
    assert [(gap.start_ms, gap.end_ms) for gap in windows.gaps("q@hot")] == [(0, 10 * STEP_MS)]
    assert windows.status()["q@hot"].watermark_ms == 10 * STEP_MS


def test_a_removed_query_is_closed_only_when_nobody_plans_it(
    windows: Windows, clock: FakeClock
) -> None:
    windows.plan(FEED, 0, 10 * STEP_MS)
    live(windows, longest_ms=4 * STEP_MS)
    assert windows.close("q@hot", 60, "query removed") is None
    clock.ms += 61_000

    backlog = windows.close("q@hot", 60, "query removed")

    assert backlog == [(0, 6 * STEP_MS), (6 * STEP_MS, 10 * STEP_MS)]
    assert windows.status() == {}
    assert [(gap.start_ms, gap.end_ms, gap.reason) for gap in windows.gaps("q@hot")] == [
        (0, 10 * STEP_MS, "query removed")
    ]


def test_gaps_that_touch_are_one_and_others_are_not(windows: Windows) -> None:
    windows.plan(FEED, 0, 40 * STEP_MS)
    cut = [must(live(windows)) for _ in range(4)]
    for window in (cut[0], cut[1], cut[3]):
        windows.declare_gap(FEED, window, window.end_ms, "no longer kept")

    gaps = [(gap.start_ms, gap.end_ms) for gap in windows.gaps("q@hot")]

    assert gaps == [(20 * STEP_MS, 40 * STEP_MS), (0, 10 * STEP_MS)]


def test_a_reopened_range_is_extracted_again_and_what_is_open_is_not_doubled(
    windows: Windows,
) -> None:
    windows.plan(FEED, 0, 30 * STEP_MS)
    newest = must(live(windows))
    commit(windows, must(live(windows)))

    assert windows.reopen(FEED, 5 * STEP_MS, 25 * STEP_MS) == 10 * STEP_MS

    status = windows.status()["q@hot"]
    assert status.backlog == [(0, 20 * STEP_MS)]
    assert status.open == [bounds(newest)]
    assert windows.reopen(FEED, 0, 99 * STEP_MS) == 0


def test_what_is_extracted_after_all_is_no_gap(windows: Windows) -> None:
    """A query that was removed, and comes back."""
    windows.plan(FEED, 0, 10 * STEP_MS)
    windows.close(FEED.name, 0, "query removed")
    windows.plan(FEED, 12 * STEP_MS, 20 * STEP_MS)
    windows.set_reconciled(FEED, 4 * STEP_MS)
    assert [(gap.start_ms, gap.end_ms) for gap in windows.gaps(FEED.name)] == [(0, 10 * STEP_MS)]

    while (window := live(windows, longest_ms=3 * STEP_MS)) is not None:
        assert commit(windows, window) == "committed"

    assert [(gap.start_ms, gap.end_ms) for gap in windows.gaps(FEED.name)] == [(0, 4 * STEP_MS)]


def test_what_is_left_on_both_sides_counts_as_one_gap(windows: Windows) -> None:
    windows.plan(FEED, 0, 10 * STEP_MS)
    windows.close(FEED.name, 0, "query removed")
    windows.plan(FEED, 12 * STEP_MS, 20 * STEP_MS)
    windows.set_reconciled(FEED, 0)

    def inside() -> Window:
        """The next window that is not newer than what was a gap."""
        while (window := must(live(windows, longest_ms=3 * STEP_MS))).end_ms > 10 * STEP_MS:
            assert commit(windows, window) == "committed"
        return window

    last, middle = inside(), inside()
    assert commit(windows, middle) == "committed"
    assert len(windows.gaps(FEED.name)) == 2
    assert windows.status()[FEED.name].gaps == 1

    assert commit(windows, last) == "committed"
    while (window := live(windows)) is not None:
        assert commit(windows, window) == "committed"
    assert windows.gaps(FEED.name) == []
    assert windows.status()[FEED.name].gaps == 0


def test_a_feed_is_extended_to_the_sinks_watermark_once(windows: Windows) -> None:
    """An extractor that was stopped since it read the feed finds that another has done it."""
    windows.plan(FEED, 50 * STEP_MS, 60 * STEP_MS)

    assert windows.set_reconciled(FEED, 45 * STEP_MS) == 5 * STEP_MS
    status = windows.status()[FEED.name]
    assert (status.origin_ms, status.backlog) == (45 * STEP_MS, [(45 * STEP_MS, 60 * STEP_MS)])
    while (window := live(windows)) is not None:
        assert commit(windows, window) == "committed"

    assert windows.set_reconciled(FEED, 45 * STEP_MS) is None
    assert windows.status()[FEED.name].backlog == []


def test_the_watermark_of_a_feed_that_another_configuration_owns_is_left_to_that(
    windows: Windows,
) -> None:
    windows.plan(FEED, 50 * STEP_MS, 60 * STEP_MS)
    windows.plan(CHANGED, 50 * STEP_MS, 60 * STEP_MS, adopt=True)

    assert windows.set_reconciled(FEED, 0) is None

    assert not windows.status()[FEED.name].reconciled
    assert windows.set_reconciled(CHANGED, 40 * STEP_MS) == 10 * STEP_MS
    assert windows.status()[FEED.name].reconciled


def test_a_feed_that_is_closed_begins_anew_at_the_sinks_watermark(windows: Windows) -> None:
    windows.plan(FEED, 50 * STEP_MS, 60 * STEP_MS)
    assert windows.close(FEED.name, 0, "removed") is not None
    assert windows.set_reconciled(FEED, 0) is None, "by one that was stopped meanwhile"

    windows.plan(FEED, 70 * STEP_MS, 80 * STEP_MS)

    assert not windows.status()[FEED.name].reconciled


@pytest.mark.parametrize("watermark_ms", [None, 50 * STEP_MS, 55 * STEP_MS])
def test_a_feed_that_begins_before_the_sinks_watermark_stays_as_it_is(
    windows: Windows, watermark_ms: int | None
) -> None:
    windows.plan(FEED, 50 * STEP_MS, 60 * STEP_MS)

    assert windows.set_reconciled(FEED, watermark_ms) == 0

    status = windows.status()[FEED.name]
    assert (status.origin_ms, status.backlog) == (50 * STEP_MS, [(50 * STEP_MS, 60 * STEP_MS)])
    assert status.reconciled


def test_what_is_deferred_is_not_doubled_when_it_is_reopened(windows: Windows) -> None:
    windows.plan(FEED, 0, 10 * STEP_MS)
    deferred = must(live(windows))
    assert windows.defer(FEED, deferred, 60, 60)

    assert windows.reopen(FEED, 0, 10 * STEP_MS) == 0

    status = windows.status()["q@hot"]
    assert status.deferred == [bounds(deferred)]
    assert status.backlog == [bounds(deferred)]  # what is deferred is part of it


@pytest.mark.parametrize(
    ("span", "expected"),
    [((2, 8), [(2, 8)]), ((-5, 3), [(0, 3)]), ((7, 99), [(7, 10)]), ((20, 30), []), ((5, 5), [])],
)
def test_reopening_stays_within_the_feed(
    windows: Windows, span: tuple[int, int], expected: list[tuple[int, int]]
) -> None:
    windows.plan(FEED, 0, 10 * STEP_MS)
    commit(windows, must(live(windows)))

    windows.reopen(FEED, span[0] * STEP_MS, span[1] * STEP_MS)

    backlog = windows.status()["q@hot"].backlog
    assert backlog == [(first * STEP_MS, last * STEP_MS) for first, last in expected]


def test_a_feed_is_extended_back_to_what_the_sink_knows(windows: Windows) -> None:
    windows.plan(FEED, 50 * STEP_MS, 60 * STEP_MS)
    commit(windows, must(live(windows)))

    assert windows.reopen(FEED, 20 * STEP_MS, 50 * STEP_MS, extend=True) == 30 * STEP_MS

    status = windows.status()["q@hot"]
    assert (status.origin_ms, status.backlog) == (20 * STEP_MS, [(20 * STEP_MS, 50 * STEP_MS)])
    assert status.watermark_ms == 20 * STEP_MS


def test_another_configurations_feed_is_not_reopened(windows: Windows) -> None:
    windows.plan(FEED, 0, 10 * STEP_MS)

    assert windows.reopen(CHANGED, 0, 5 * STEP_MS) is None


def test_rechecks_fall_due_and_are_removed(windows: Windows, clock: FakeClock) -> None:
    windows.plan(FEED, 0, 20 * STEP_MS)
    for samples in (7, 3):
        window = must(live(windows))
        staged = [windows.stage(b"p", samples, 60)]
        windows.commit(
            FEED, window, staged, recheck_after_seconds=(100,), source_samples=samples + 1
        )
    assert windows.due_rechecks(FEED, 10) == []
    clock.ms += 100_000

    older, newer = windows.due_rechecks(FEED, 10)

    assert (older.start_ms, older.end_ms, older.samples) == (0, 10 * STEP_MS, 4)
    assert (newer.start_ms, newer.end_ms, newer.samples) == (10 * STEP_MS, 20 * STEP_MS, 8)
    windows.forget_rechecks(FEED, [older])
    assert windows.reopen(FEED, newer.start_ms, newer.end_ms, done=[newer]) == 10 * STEP_MS
    assert windows.due_rechecks(FEED, 10) == []
    # Two extractors may recount the same at the same time: it is opened, and counted, once.
    assert windows.reopen(FEED, newer.start_ms, newer.end_ms, done=[newer]) is None
    assert windows.reopen(FEED, newer.start_ms, newer.end_ms) == 0


def test_each_recount_has_its_time_and_what_adjoins_becomes_one(
    windows: Windows, clock: FakeClock
) -> None:
    after_seconds = (100, 300)
    for step in (1, 2, 3, 4):
        windows.plan(FEED, 0, step * STEP_MS)
        window = must(live(windows))
        windows.commit(
            FEED,
            window,
            [],
            recheck_after_seconds=after_seconds,
            source_samples=step,
            digest=(2**32 - 1, step),
        )
    clock.ms += 100_000
    for first in windows.due_rechecks(FEED, 10):
        assert (first.round, first.since, first.failures) == (0, 0, 0)
        # As many at a time as are due together; three steps are the most that become one.
        windows.pass_rechecks(FEED, [first], after_seconds, 3)
    assert windows.due_rechecks(FEED, 10) == []
    clock.ms += 199_000
    assert windows.due_rechecks(FEED, 10) == []
    clock.ms += 1_000

    joined, single = windows.due_rechecks(FEED, 10)

    assert joined == Recheck(0, 3 * STEP_MS, 6, (2**32 - 3, 6), round=1)
    assert single == Recheck(3 * STEP_MS, 4 * STEP_MS, 4, (2**32 - 1, 4), round=1)
    windows.pass_rechecks(FEED, [joined, single], after_seconds, 3)
    clock.ms += 10**9
    assert windows.due_rechecks(FEED, 10) == []


def test_a_recheck_that_failed_is_due_later_and_says_how_often(
    windows: Windows, clock: FakeClock
) -> None:
    windows.plan(FEED, 0, STEP_MS)
    windows.commit(FEED, must(live(windows)), [], recheck_after_seconds=(100,))
    clock.ms += 100_000
    for failures in (0, 1, 2):
        (one,) = windows.due_rechecks(FEED, 10)
        assert one.failures == failures
        windows.postpone_rechecks(FEED, [one, one], 50)
        assert windows.due_rechecks(FEED, 10) == []
        clock.ms += 50_000


def test_what_a_recount_opened_again_goes_on_with_the_recounts_that_are_left(
    windows: Windows, clock: FakeClock
) -> None:
    after_seconds = (100, 300)
    windows.plan(FEED, 0, 10 * STEP_MS)
    windows.commit(FEED, must(live(windows)), [], recheck_after_seconds=after_seconds)
    for rounds, wait_seconds in enumerate((100, 200)):
        clock.ms += wait_seconds * 1000
        (one,) = windows.due_rechecks(FEED, 10)
        assert (one.round, one.since) == (rounds, rounds)
        assert windows.reopen(FEED, one.start_ms, one.end_ms, done=[one]) == 10 * STEP_MS
        # What was never extracted adjoins it, and is not taken for it.
        windows.plan(FEED, 0, (11 + rounds) * STEP_MS)
        fresh = must(live(windows))
        assert bounds(fresh) == ((10 + rounds) * STEP_MS, (11 + rounds) * STEP_MS)
        commit(windows, fresh)
        again = must(live(windows))
        assert bounds(again) == (0, 10 * STEP_MS)
        windows.commit(FEED, again, [], recheck_after_seconds=after_seconds)
    clock.ms += 10**9

    assert windows.due_rechecks(FEED, 10) == []


def test_a_query_that_changed_is_not_compared_with_what_it_was(
    windows: Windows, clock: FakeClock
) -> None:
    windows.plan(FEED, 0, STEP_MS)
    windows.commit(FEED, must(live(windows)), [], recheck_after_seconds=(100,))

    windows.plan(CHANGED, 0, STEP_MS, adopt=True)

    clock.ms += 100_000
    assert windows.due_rechecks(CHANGED, 10) == []


def test_what_the_sink_reported_first_counts(windows: Windows) -> None:
    windows.set_sink_watermark("a@hot", 5000)
    windows.set_sink_watermark("a@hot", 9000)
    windows.set_sink_watermark("b@hot", None)

    assert windows.sink_watermarks() == {"a@hot": 5000, "b@hot": None}
