"""What a commit counts beside its entries, on real Redis and on the twin in memory."""

from __future__ import annotations

import pytest

from common.state.feeds import EMPTY_SECONDS, empty_queries
from common.state.windows import Feed
from tests.integration.state.worlds import FEED, STEP_MS, Windows, World, commit, live, must

CHANGED = Feed("q", "hot", "expr", "f2")
EMPTY_STEPS = round(EMPTY_SECONDS * 1000) // STEP_MS


def commit_empty(windows: Windows, feed: Feed = FEED) -> None:
    while window := live(windows, feed, longest_ms=10**9):
        assert windows.commit(feed, window, [], matched=False) == "committed"


def empty_steps(windows: Windows) -> int:
    return windows.status()[FEED.name].empty_ms // STEP_MS


@pytest.mark.parametrize("samples", [0, 7])
def test_what_no_entry_holds_is_extracted_and_dropped_at_once(world: World, samples: int) -> None:
    windows = world.windows()
    windows.plan(FEED, 0, 20 * STEP_MS)
    for _ in range(2):
        staged = [windows.stage(b"p", samples, 60)] if samples else []
        window = must(live(windows))
        dropped = {"native_histogram": 5, "other": 1}
        assert windows.commit(FEED, window, staged, dropped=dropped) == "committed"
        assert windows.commit(FEED, window, staged, dropped=dropped) == "refused"

    audit = world.audit()
    account = audit.accounts[FEED.name]
    assert account.extracted == 2 * (samples + 6)
    assert account.dropped == {"native_histogram": 10, "other": 2}
    assert (account.in_flight, audit.imbalance_samples) == (2 * samples, 0)
    assert len(windows.status()[FEED.name].unsettled) == (2 if samples else 0)


def test_a_query_that_never_matches_is_empty_since_its_origin(windows: Windows) -> None:
    windows.plan(FEED, 5 * STEP_MS, (5 + EMPTY_STEPS) * STEP_MS)
    assert empty_steps(windows) == 0, "nothing is extracted yet"
    commit_empty(windows)

    assert empty_steps(windows) == EMPTY_STEPS
    assert empty_queries(windows.status()) == []
    windows.plan(FEED, 5 * STEP_MS, (6 + EMPTY_STEPS) * STEP_MS)
    commit_empty(windows)
    assert empty_queries(windows.status()) == [FEED.name]


def test_older_windows_that_match_do_not_hide_newer_ones_that_do_not(windows: Windows) -> None:
    windows.plan(FEED, 0, 20 * STEP_MS)
    newest, older = must(live(windows)), must(live(windows))
    commit(windows, older)
    assert empty_steps(windows) == 0, "the newest is not extracted yet"

    windows.commit(FEED, newest, [], matched=False)

    assert empty_steps(windows) == 10


def test_an_older_window_says_nothing_of_a_newer_one_that_matches(windows: Windows) -> None:
    windows.plan(FEED, 0, 20 * STEP_MS)
    newest, older = must(live(windows)), must(live(windows))
    commit(windows, newest)
    windows.commit(FEED, older, [], matched=False)

    assert empty_steps(windows) == 0


def test_what_waits_in_the_past_hides_nothing(windows: Windows) -> None:
    """A stretch that cannot be read stays in the backlog; the rest is extracted."""
    windows.plan(FEED, 0, 10 * STEP_MS)
    windows.defer(FEED, must(live(windows)), 60, 60)
    windows.plan(FEED, 0, 30 * STEP_MS)
    commit_empty(windows)

    assert empty_steps(windows) == 30


def test_a_changed_query_begins_anew(windows: Windows) -> None:
    windows.plan(FEED, 0, 10 * STEP_MS)
    commit_empty(windows)
    windows.plan(CHANGED, 0, 13 * STEP_MS, adopt=True)
    commit_empty(windows, CHANGED)

    assert empty_steps(windows) == 3
