"""Feeds: planned, taken over, reopened, rechecked, closed."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize

from common.state.windows import Recheck
from tests.window_machine.actions import BOTH, STRANGERS, happens
from tests.window_machine.expected import (
    FEEDS,
    FIRST_STEP,
    NAMES,
    RECHECK_SECONDS,
    STEP_MS,
    Expected,
    ExpectedFeed,
    HeldEntry,
    HeldWindow,
    steps_of,
)
from tests.window_machine.world import World


class FeedActions(RuleBasedStateMachine):
    """What happens to feeds, and what the whole machine remembers."""

    make_world: ClassVar[Callable[[], World]]

    def __init__(self) -> None:
        super().__init__()
        self.world = type(self).make_world()
        self.expected = Expected()
        self.readings = itertools.count(1)
        self.workers = itertools.count(1)
        self.tokens: set[str] = set()
        # Whatever was ever in somebody's hands: it may come back at any time.
        self.held_windows: list[HeldWindow] = []
        self.held_entries: list[HeldEntry] = []
        self.remembered: tuple[object, Expected] | None = None
        # What undoes much is done rarely, so that there is much to be undone.
        self.closings = self.losses = 0

    @initialize(steps=st.integers(1, 12))
    def begin(self, steps: int) -> None:
        for name in NAMES:
            self.plan(name, steps, stranger=False, adopt=False)

    def config(self, name: str, stranger: bool) -> int:
        """The configuration of the feed's owner, or another one."""
        return (self.expected.feeds[name].config or 0) ^ stranger

    @happens(name=NAMES, steps=range(10), stranger=STRANGERS, adopt=BOTH)
    def plan(self, name: str, steps: int, stranger: bool, adopt: bool) -> None:
        feed, config = self.expected.feeds[name], self.config(name, stranger)
        head = feed.head + steps
        ours = feed.config in (None, config) or adopt
        planned = self.world.windows.plan(
            FEEDS[name][config], FIRST_STEP * STEP_MS, head * STEP_MS, adopt=adopt
        )
        assert planned == ours
        if not ours:
            return
        if feed.config not in (None, config):
            self.remove_open(name)
            feed.rechecks.clear()
        feed.config, feed.planned_ms = config, self.world.now_ms()
        feed.planned.update(range(feed.head + 1, head + 1))
        feed.head = head

    @happens(
        name=NAMES,
        stranger=STRANGERS,
        what=("reopen", "extend", "recheck", *["late samples"] * 3, "postpone", "close"),
        first=range(-6, 20),
        steps=range(12),
    )
    def repair(self, name: str, stranger: bool, what: str, first: int, steps: int) -> None:
        """Whatever can be done to a feed as a whole."""
        match what:
            case "reopen" | "extend":
                self.reopen(name, self.config(name, stranger), first, steps, what == "extend")
            case "close":
                if self.closings < 2:
                    self.close(name, 100 * steps)
            case _:
                self.recheck(name, self.config(name, stranger), what)

    def reopen(self, name: str, config: int, first: int, steps: int, extend: bool) -> None:
        """A repair, or time before the origin that is to be extracted after all."""
        feed = self.expected.feeds[name]
        start, end = FIRST_STEP + first, FIRST_STEP + first + steps
        if extend:
            end = max(end, feed.origin)
        added = self.world.windows.reopen(
            FEEDS[name][config], start * STEP_MS, end * STEP_MS, extend=extend
        )
        if feed.config != config:
            assert added is None
            return
        if extend:
            feed.origin = min(feed.origin, start)
        assert added == STEP_MS * self.plan_again(name, start, end)

    def recheck(self, name: str, config: int, what: str) -> None:
        """Count again what is due; where samples came late, open it again."""
        feed, now_ms, windows = self.expected.feeds[name], self.world.now_ms(), self.world.windows
        due = windows.due_rechecks(FEEDS[name][config], 100)
        assert set(due) == {one for one, due_ms in feed.rechecks.items() if due_ms <= now_ms}
        if what == "recheck":
            # Nothing is counted together, so that each can be told from the others.
            windows.pass_rechecks(FEEDS[name][config], due, RECHECK_SECONDS, 0)
        elif what == "postpone":
            windows.postpone_rechecks(FEEDS[name][config], due, 50)
        for one in due:
            if what == "late samples" and not self.open_again(name, config, one):
                continue
            due_ms = feed.rechecks.pop(one)
            if what == "postpone":
                feed.rechecks[replace(one, failures=one.failures + 1)] = now_ms + 50_000
            elif what == "recheck" and one.round == 0:
                first_seconds, second_seconds = RECHECK_SECONDS
                later = replace(one, round=1, failures=0)
                feed.rechecks[later] = due_ms + (second_seconds - first_seconds) * 1000

    def open_again(self, name: str, config: int, one: Recheck) -> bool:
        added = self.world.windows.reopen(FEEDS[name][config], one.start_ms, one.end_ms, done=[one])
        if self.expected.feeds[name].config != config:
            assert added is None
            return False
        first, last = one.start_ms // STEP_MS, one.end_ms // STEP_MS
        assert added == STEP_MS * self.plan_again(name, first, last, one.round + 1)
        return True

    def plan_again(self, name: str, first: int, last: int, rounds: int = 0) -> int:
        """Count the steps that a reopening puts back: all that are not to be extracted already."""
        feed = self.expected.feeds[name]
        again = [
            step
            for step in range(max(first, feed.origin) + 1, min(last, feed.head) + 1)
            if not feed.present(step)
        ]
        feed.planned.update(again)
        feed.rounds.update({step: rounds - feed.rounds[step] for step in again})
        return len(again)

    def close(self, name: str, unplanned_seconds: int) -> None:
        """The query was removed from the configuration."""
        feed = self.expected.feeds[name]
        backlog = self.world.windows.close(f"{name}@hot", unplanned_seconds, "removed")
        if self.world.now_ms() - feed.planned_ms < unplanned_seconds * 1000:
            assert backlog is None
            return
        assert backlog is not None
        self.closings += 1
        still = Counter(step for step in feed.planned if feed.present(step))
        assert steps_of(backlog) == still
        feed.gaps.update(still)
        self.remove_open(name)
        self.expected.feeds[name] = ExpectedFeed(
            planned=feed.planned, committed=feed.committed, gaps=feed.gaps
        )

    def remove_open(self, name: str) -> None:
        found = [id_ for id_, window in self.expected.open.items() if window.name == name]
        for id_ in found:
            del self.expected.open[id_]

    @property
    def something_to_extract(self) -> bool:
        """Whether there is anything to extract."""
        return any(
            feed.planned.total() > feed.committed.total() + feed.gaps.total()
            for feed in self.expected.feeds.values()
        )

    @property
    def something_unsettled(self) -> bool:
        """Whether any sample is in a stream, or in a dead letter."""
        return len(self.expected.extracted) > len(self.expected.outcomes)
