"""One contract for the window set, held to by real Redis and by the one in memory.

No gap, no overlap, whoever crashes, splits or wakes up late.
"""

from __future__ import annotations

import pytest

from common.state.windows import Feed, Window
from tests.integration.state.worlds import (
    FEED,
    STEP_MS,
    FakeClock,
    Windows,
    World,
    bounds,
    commit,
    live,
    must,
)

CHANGED = Feed("q", "hot", "expr", "f2")


def test_newest_first_and_no_more_than_the_longest(windows: Windows) -> None:
    windows.plan(FEED, 0, 25 * STEP_MS)

    cut = [bounds(must(live(windows))) for _ in range(3)]

    assert cut == [(15 * STEP_MS, 25 * STEP_MS), (5 * STEP_MS, 15 * STEP_MS), (0, 5 * STEP_MS)]
    assert live(windows) is None


def test_live_and_catch_up_divide_the_backlog_at_the_horizon(windows: Windows) -> None:
    windows.plan(FEED, 0, 100 * STEP_MS)

    fresh = must(windows.lease(FEED, "live", 5 * STEP_MS, 10 * STEP_MS))
    old = [must(windows.lease(FEED, "catchup", 5 * STEP_MS, 40 * STEP_MS)) for _ in range(2)]

    assert bounds(fresh) == (95 * STEP_MS, 100 * STEP_MS)
    # At multiples of its length.
    assert [*map(bounds, old)] == [(80 * STEP_MS, 95 * STEP_MS), (40 * STEP_MS, 80 * STEP_MS)]
    assert windows.lease(FEED, "live", 5 * STEP_MS, 10 * STEP_MS) is None


def test_a_query_may_be_named_as_a_recording_rule(windows: Windows) -> None:
    feed = Feed("job:up:sum", "hot", "expr", "f1")
    windows.plan(feed, 0, 20 * STEP_MS)

    assert commit(windows, must(live(windows, feed)), feed=feed) == "committed"

    status = windows.status()["job:up:sum@hot"]
    assert (status.backlog, len(status.unsettled)) == ([(0, 10 * STEP_MS)], 1)


def test_planning_again_changes_nothing_and_heads_never_go_back(windows: Windows) -> None:
    windows.plan(FEED, 0, 10 * STEP_MS)
    windows.plan(FEED, 5 * STEP_MS, 10 * STEP_MS)
    windows.plan(FEED, 0, 5 * STEP_MS)

    status = windows.status()["q@hot"]

    assert (status.origin_ms, status.head_ms, status.backlog) == (
        0,
        10 * STEP_MS,
        [(0, 10 * STEP_MS)],
    )


def test_a_feed_is_behind_where_what_is_loaded_is_older_than_its_limit(windows: Windows) -> None:
    windows.plan(FEED, 0, 10 * STEP_MS)
    unlimited = windows.status()[FEED.name]
    windows.plan(FEED, 0, 10 * STEP_MS, lag_limit_ms=5_000)

    limited = windows.status()[FEED.name]

    assert (limited.lag_limit_ms, limited.lag_ms(5_000)) == (5_000, 5_000)
    assert not limited.is_behind(5_000)
    assert limited.is_behind(5_001)
    assert not unlimited.is_behind(10**12)


def test_a_backlog_of_any_length_is_one_range(windows: Windows) -> None:
    for head in range(1, 500):
        windows.plan(FEED, 0, head * STEP_MS)

    assert windows.status()["q@hot"].backlog == [(0, 499 * STEP_MS)]


def test_an_expired_lease_is_leased_again_and_the_first_owner_cannot_commit(
    windows: Windows, clock: FakeClock
) -> None:
    windows.plan(FEED, 0, 5 * STEP_MS)
    first = must(live(windows))
    assert live(windows) is None
    clock.ms += 61_000

    second = must(live(windows))

    assert bounds(second) == bounds(first)
    assert second.token != first.token
    assert commit(windows, first) == "refused"
    assert not windows.renew(FEED, first)
    assert not windows.split(FEED, first, 2 * STEP_MS)
    assert commit(windows, second) == "committed"
    assert commit(windows, second) == "refused"


def test_a_renewed_lease_does_not_expire(windows: Windows, clock: FakeClock) -> None:
    windows.plan(FEED, 0, 5 * STEP_MS)
    window = must(live(windows))
    for _ in range(5):
        clock.ms += 50_000
        assert windows.renew(FEED, window)

    assert live(windows) is None
    assert commit(windows, window) == "committed"


def test_a_commit_counts_and_delivers_and_the_watermarks_follow(
    windows: Windows, world: World
) -> None:
    windows.plan(FEED, 0, 20 * STEP_MS)
    newer, older = must(live(windows)), must(live(windows))

    commit(windows, newer, samples=7)
    status = windows.status()["q@hot"]
    assert (status.watermark_ms, status.loaded_watermark_ms) == (0, 0)

    commit(windows, older, samples=3)
    status = windows.status()["q@hot"]
    assert (status.watermark_ms, status.loaded_watermark_ms) == (20 * STEP_MS, 0)
    assert world.entries() == 2
    audit = world.audit()
    assert audit.accounts["q@hot"].extracted == audit.accounts["q@hot"].in_flight == 10
    assert audit.imbalance_samples == 0
    assert audit.staged_bytes == 0


def test_an_empty_window_commits_without_entries(windows: Windows) -> None:
    windows.plan(FEED, 0, 5 * STEP_MS)

    assert commit(windows, must(live(windows)), samples=0) == "committed"

    assert windows.status()["q@hot"].loaded_watermark_ms == 5 * STEP_MS


def test_a_commit_without_its_payload_changes_nothing(windows: Windows, world: World) -> None:
    windows.plan(FEED, 0, 5 * STEP_MS)
    window = must(live(windows))
    staged = [windows.stage(b"a", 1, 60), windows.stage(b"b", 1, 60)]
    world.delete_payload(staged[1].key)

    assert windows.commit(FEED, window, staged) == "unstaged"

    assert world.entries() == 0
    assert commit(windows, window) == "committed"


def test_staged_payloads_vanish_by_themselves_and_committed_ones_stay(
    windows: Windows, world: World
) -> None:
    windows.plan(FEED, 0, 5 * STEP_MS)
    window = must(live(windows))
    kept, left = windows.stage(b"kept", 1, 60), windows.stage(b"left", 1, 60)
    assert world.expires(left.key)

    windows.commit(FEED, window, [kept])

    assert not world.expires(kept.key)
    assert world.payload(kept.key) == b"kept"
    assert windows.discard([left]) == 1
    assert world.payload(left.key) is None


def test_what_is_held_goes_along_with_the_commit(windows: Windows, world: World) -> None:
    windows.plan(FEED, 0, 5 * STEP_MS)
    window = must(live(windows))
    held = windows.hold(b"held", 2)
    assert world.payload(held.key) is None
    assert windows.discard([held]) == 0

    assert windows.commit(FEED, window, [windows.stage(b"staged", 1, 60), held]) == "committed"

    assert world.payload(held.key) == b"held"
    assert not world.expires(held.key)
    audit = world.audit()
    assert (audit.accounts["q@hot"].extracted, audit.imbalance_samples) == (3, 0)
    again = windows.hold(b"held", 2)
    assert windows.commit(FEED, window, [again]) == "refused"
    assert world.payload(again.key) is None or world.expires(again.key)


def test_discarding_what_was_committed_after_all_changes_nothing(
    windows: Windows, world: World
) -> None:
    windows.plan(FEED, 0, 5 * STEP_MS)
    window = must(live(windows))
    staged = [windows.stage(b"kept", 1, 60)]
    assert windows.commit(FEED, window, staged) == "committed"

    assert windows.discard(staged) == 0

    assert world.payload(staged[0].key) == b"kept"
    assert world.audit().imbalance_samples == 0


def test_a_split_puts_two_windows_in_its_place(windows: Windows) -> None:
    windows.plan(FEED, 0, 10 * STEP_MS)
    window = must(live(windows))

    assert windows.split(FEED, window, 4 * STEP_MS)

    halves = [bounds(must(live(windows))), bounds(must(live(windows)))]
    assert halves == [(4 * STEP_MS, 10 * STEP_MS), (0, 4 * STEP_MS)]
    assert commit(windows, window) == "refused"


@pytest.mark.parametrize("middle", [0, 10 * STEP_MS, 11 * STEP_MS])
def test_a_split_outside_the_window_is_refused(windows: Windows, middle: int) -> None:
    windows.plan(FEED, 0, 10 * STEP_MS)
    window = must(live(windows))

    assert not windows.split(FEED, window, middle)

    assert commit(windows, window) == "committed"


def test_a_window_tried_again_waits(windows: Windows, clock: FakeClock) -> None:
    windows.plan(FEED, 0, 5 * STEP_MS)
    windows.retry(FEED, must(live(windows)), after_seconds=10)
    assert live(windows) is None
    clock.ms += 11_000

    assert must(live(windows)).attempts == 1


def test_a_failing_feed_waits_longer_each_time_and_others_go_on(
    windows: Windows, clock: FakeClock
) -> None:
    other = Feed("other", "hot", "expr", "f1")
    windows.plan(FEED, 0, 5 * STEP_MS)
    windows.plan(other, 0, 5 * STEP_MS)
    waits = []
    for _ in range(4):
        windows.fail(FEED, must(live(windows)), 10, 35)
        waited = 0
        while (again := live(windows)) is None:
            clock.ms += 1000
            waited += 1
        waits.append(waited)
        windows.retry(FEED, again, 0)

    assert waits == [10, 20, 35, 35]
    assert must(live(windows, other)).end_ms == 5 * STEP_MS


def test_a_changed_query_is_cut_anew_and_the_old_one_cannot_commit(windows: Windows) -> None:
    windows.plan(FEED, 0, 10 * STEP_MS)
    old = must(live(windows, longest_ms=5 * STEP_MS))
    assert not windows.plan(CHANGED, 0, 12 * STEP_MS)

    assert windows.plan(CHANGED, 0, 12 * STEP_MS, adopt=True)

    assert commit(windows, old) == "refused"
    assert live(windows) is None
    new = must(live(windows, CHANGED, longest_ms=100 * STEP_MS))
    assert bounds(new) == (0, 12 * STEP_MS)


def test_open_windows_are_bounded(world: World) -> None:
    windows = world.windows(max_open=3)
    windows.plan(FEED, 0, 100 * STEP_MS)

    leased = [live(windows, longest_ms=STEP_MS) for _ in range(5)]

    assert [window is None for window in leased] == [False, False, False, True, True]


def test_a_worker_from_before_redis_lost_everything_holds_nothing(world: World) -> None:
    windows = world.windows()
    windows.plan(FEED, 0, 10 * STEP_MS)
    before = must(live(windows))
    world.lose_everything()
    windows = world.windows()
    windows.plan(FEED, 0, 10 * STEP_MS)
    after = must(live(windows, longest_ms=2 * STEP_MS))

    assert commit(windows, before) == "refused"
    assert not windows.retry(FEED, before, 0)

    assert commit(windows, after) == "committed"


def test_what_is_leased_within_bounds_lies_within_and_the_rest_is_left(windows: Windows) -> None:
    windows.plan(FEED, 0, 100 * STEP_MS)
    within = 20 * STEP_MS, 45 * STEP_MS

    cut = [bounds(must(windows.lease(FEED, "catchup", 0, 10 * STEP_MS, within))) for _ in range(3)]

    assert cut == [
        (40 * STEP_MS, 45 * STEP_MS),
        (30 * STEP_MS, 40 * STEP_MS),
        (20 * STEP_MS, 30 * STEP_MS),
    ]
    assert windows.lease(FEED, "catchup", 0, 10 * STEP_MS, within) is None
    backlog = windows.status()["q@hot"].backlog
    assert backlog == [(0, 20 * STEP_MS), (45 * STEP_MS, 100 * STEP_MS)]


def test_a_window_that_is_open_is_leased_within_bounds_only_if_it_lies_there(
    windows: Windows,
) -> None:
    windows.plan(FEED, 0, 10 * STEP_MS)
    window = must(windows.lease(FEED, "catchup", 0, 10 * STEP_MS))
    assert windows.retry(FEED, window, 0)

    def lease(start: int) -> Window | None:
        bounds_ms = start * STEP_MS, 10 * STEP_MS
        return windows.lease(FEED, "catchup", 0, 10 * STEP_MS, bounds_ms)

    assert lease(1) is None
    assert bounds(must(lease(0))) == (0, 10 * STEP_MS)


def test_a_piece_that_fails_after_another_was_extracted_is_backlog_too(
    windows: Windows, clock: FakeClock
) -> None:
    """A worker that is slow with it keeps its lease, so others go on meanwhile."""
    windows.plan(FEED, 0, 4 * STEP_MS)
    for _ in range(2):
        window = must(windows.lease(FEED, "catchup", 0, 2 * STEP_MS))
        assert windows.defer(FEED, window, 10, 10)
    clock.advance(11)
    slow = must(windows.lease(FEED, "catchup", 0, 2 * STEP_MS))
    clock.advance(59)
    assert windows.renew(FEED, slow)
    clock.advance(2)
    other = must(windows.lease(FEED, "catchup", 0, 2 * STEP_MS))
    assert commit(windows, other) == "committed"

    assert windows.fail(FEED, slow, 10, 10)

    status = windows.status()["q@hot"]
    assert (status.deferred, status.backlog) == ([], [bounds(slow)])
    clock.advance(11)
    assert bounds(must(windows.lease(FEED, "catchup", 0, 2 * STEP_MS))) == bounds(slow)


def test_what_is_deferred_is_not_tried_beside_others(windows: Windows) -> None:
    windows.plan(FEED, 0, 10 * STEP_MS)
    assert windows.defer(FEED, must(windows.lease(FEED, "catchup", 0, 10 * STEP_MS)), 0, 0)

    assert windows.lease(FEED, "catchup", 0, 10 * STEP_MS, (0, 10 * STEP_MS)) is None
    assert windows.lease(FEED, "catchup", 0, 10 * STEP_MS) is not None


def test_a_window_that_is_released_is_as_it_was(windows: Windows) -> None:
    windows.plan(FEED, 0, 10 * STEP_MS)
    assert windows.retry(FEED, must(windows.lease(FEED, "catchup", 0, 10 * STEP_MS)), 0)
    leased = must(windows.lease(FEED, "catchup", 0, 10 * STEP_MS))

    assert windows.release(FEED, leased)

    again = must(windows.lease(FEED, "catchup", 0, 10 * STEP_MS))
    assert (again.id, again.attempts) == (leased.id, 1)
    assert not windows.release(FEED, leased), "it is somebody else's by now"
