"""Extractors: they lease windows, read, commit, split, fail, die and wake up late."""

from __future__ import annotations

from typing import get_args

from common.state.windows import Recheck, WindowClass
from tests.window_machine.actions import CLASSES, LATE, MOSTLY, STRANGERS, chosen, happens
from tests.window_machine.expected import (
    FEEDS,
    NAMES,
    RECHECK_SECONDS,
    STEP_MS,
    HeldWindow,
    OpenWindow,
    payload_of,
    steps_of,
)
from tests.window_machine.feeds import FeedActions
from tests.window_machine.world import MAX_OPEN, WINDOW_LEASE_SECONDS

HORIZON_MS = 4 * STEP_MS


class ExtractorActions(FeedActions):
    """What extractors do with windows."""

    @happens(
        lambda self: self.something_to_extract,
        name=NAMES,
        stranger=STRANGERS,
        window_class=CLASSES,
        longest=range(1, 6),
    )
    def lease(self, name: str, stranger: bool, window_class: WindowClass, longest: int) -> None:
        """Whoever leases it may well die, or sleep for long."""
        self.leased(name, self.config(name, stranger), window_class, longest)

    def leased(
        self, name: str, config: int, window_class: WindowClass, longest: int
    ) -> HeldWindow | None:
        before = self.world.windows.status().get(f"{name}@hot")
        window = self.world.windows.lease(
            FEEDS[name][config], window_class, HORIZON_MS, longest * STEP_MS
        )
        if window is None:
            return None
        assert before is not None
        assert self.expected.feeds[name].config == config, "leased by another configuration"
        assert window.token not in self.tokens, "a token came back"
        self.tokens.add(window.token)
        first, last = window.start_ms // STEP_MS, window.end_ms // STEP_MS
        known = self.expected.open.get(window.id)
        if known is None:
            # What is open in one class takes no place of the other.
            of_class = [
                one
                for one in self.expected.open.values()
                if (one.name, one.window_class) == (name, window_class)
            ]
            assert len(of_class) < MAX_OPEN
            steps = steps_of([(window.start_ms, window.end_ms)])
            deferred = steps_of(before.deferred)
            assert not steps - steps_of(before.backlog)
            if steps & deferred:
                assert not steps - deferred, "what is deferred is tried by itself"
                assert window_class == "catchup"
            else:
                assert 0 < last - first <= longest
            known = self.expected.open[window.id] = OpenWindow(name, first, last, window_class)
        assert (known.name, known.first, known.last) == (name, first, last)
        assert not known.token or known.deadline_ms <= self.world.now_ms(), "leased to two"
        known.token = window.token
        known.deadline_ms = self.world.now_ms() + WINDOW_LEASE_SECONDS * 1000
        self.held_windows.append(HeldWindow(FEEDS[name][config], window))
        return self.held_windows[-1]

    @happens(
        lambda self: self.something_to_extract,
        name=NAMES,
        window_class=CLASSES,
        longest=range(1, 6),
        entries=range(1, 4),
        recheck=MOSTLY,
    )
    def extract(
        self, name: str, window_class: WindowClass, longest: int, entries: int, recheck: bool
    ) -> None:
        """The ordinary way of a window."""
        self.extracted(name, window_class, longest, entries, recheck)

    def extracted(
        self, name: str, window_class: WindowClass, longest: int, entries: int, recheck: bool
    ) -> bool:
        classes = sorted(get_args(WindowClass), key=lambda found: found != window_class)
        leased = (self.leased(name, self.config(name, False), one, longest) for one in classes)
        held = next((held for held in leased if held is not None), None)
        if held is None:
            return False
        self.read_window(held, entries)
        self.commit(held, recheck)
        return True

    def is_ours(self, held: HeldWindow) -> bool:
        known = self.expected.open.get(held.window.id)
        feed = self.expected.feeds[held.feed.query]
        return (
            known is not None
            and known.token == held.window.token
            and feed.config is not None
            and FEEDS[held.feed.query][feed.config] == held.feed
        )

    def read_window(self, held: HeldWindow, entries: int) -> None:
        """Read the window's samples, and stage them; what was staged before is released up."""
        self.give_up(held)
        reading = next(self.readings)
        found = [
            f"{held.feed.query} {step} {number} {reading}"
            for step in held.steps
            for number in range(step * 7 % 4)
        ]
        held.units = [part for part in (found[n::entries] for n in range(entries)) if part]
        held.staged = [
            self.world.windows.stage(payload_of(units), len(units), 10**6) for units in held.units
        ]
        self.expected.staged.update(staged.key for staged in held.staged)

    @happens(
        lambda self: bool(self.held_windows),
        weight=3,
        late=LATE,
        which=range(10),
        what=(
            "commit",
            "commit",
            "expire",
            "renew",
            "split",
            "retry",
            "fail",
            "defer",
            "gap",
            "give up",
        ),
        number=range(7),
    )
    def go_on(self, late: bool, which: int, what: str, number: int) -> None:
        """Whatever can be done with a window by one who holds it, or only believes to."""
        held = chosen(self.held_windows, self.is_ours, late, which)
        match what:
            case "commit":
                self.commit(held, recheck=number > 2)
            case "expire":
                self.read_window(held, 1 + number % 3)
                self.staged_expires(held, number % 3)
                self.commit(held, recheck=False)
            case "renew":
                self.renew_window(held)
            case "split":
                self.split(held, number % (len(held.steps) + 1), held_back=number > 4)
            case "retry":
                self.retry(held, 50 * (number % 2))
            case "fail":
                self.fail(held)
            case "defer":
                self.defer(held)
            case "gap":
                self.declare_gap(held, number % (len(held.steps) + 2))
            case _:
                self.give_up(held)

    def give_up(self, held: HeldWindow) -> None:
        """As every extraction does that does not know its commit to have succeeded."""
        if held.staged is None:
            return
        mine = {staged.key for staged in held.staged} & self.expected.staged
        assert self.world.windows.discard(held.staged) == len(mine)
        self.expected.staged -= mine
        held.staged = None

    def staged_expires(self, held: HeldWindow, which: int) -> None:
        for staged in (held.staged or [])[which : which + 1]:
            if staged.key in self.expected.staged:
                self.world.expire(staged)
                self.expected.staged.discard(staged.key)

    def commit(self, held: HeldWindow, recheck: bool) -> None:
        if held.staged is None:
            self.read_window(held, 1)
        assert held.staged is not None
        keys = {staged.key for staged in held.staged}
        expected = "committed" if keys <= self.expected.staged else "unstaged"
        samples = sum(map(len, held.units))
        status = self.world.windows.commit(
            held.feed,
            held.window,
            held.staged,
            recheck_after_seconds=RECHECK_SECONDS if recheck else (),
            source_samples=samples,
            digest=(samples, 7),
        )
        assert status == (expected if self.is_ours(held) else "refused")
        if status != "committed":
            return
        feed = self.expected.feeds[held.feed.query]
        feed.committed.update(held.steps)
        for step in held.steps:  # what is extracted after all is no gap
            feed.planned[step] -= feed.gaps.pop(step, 0)
        found = {feed.rounds[step] for step in held.steps}
        assert len(found) == 1, "recounted and fresh time in one window"
        (rounds,) = found
        if recheck and rounds < len(RECHECK_SECONDS):
            bounds = held.window.start_ms, held.window.end_ms
            one = Recheck(*bounds, samples, (samples, 7), rounds, rounds)
            wait_seconds = RECHECK_SECONDS[rounds] - (0, *RECHECK_SECONDS)[rounds]
            feed.rechecks[one] = self.world.now_ms() + wait_seconds * 1000
        del self.expected.open[held.window.id]
        self.expected.staged -= keys
        self.expected.extracted.update(unit for part in held.units for unit in part)
        end_ms = held.window.end_ms
        self.expected.commit(held.window.id, f"{held.feed.query}@hot", end_ms, len(keys))
        if keys:
            self.expected.waiting[held.window.id] = len(keys)
            self.expected.bounds[held.window.id] = held.feed.query, held.steps.start - 1

    def renew_window(self, held: HeldWindow) -> None:
        ours = self.is_ours(held)
        assert self.world.windows.renew(held.feed, held.window) == ours
        if ours:
            deadline_ms = self.world.now_ms() + WINDOW_LEASE_SECONDS * 1000
            self.expected.open[held.window.id].deadline_ms = deadline_ms

    def split(self, held: HeldWindow, steps: int, *, held_back: bool) -> None:
        middle = held.steps.start - 1 + steps
        possible = self.is_ours(held) and held.steps.start <= middle < held.steps.stop - 1
        hold = (5, 40) if held_back else None
        assert self.world.windows.split(held.feed, held.window, middle * STEP_MS, hold) == possible
        if possible:
            window = self.expected.open.pop(held.window.id)
            for half, bounds in enumerate(((window.first, middle), (middle, window.last)), 1):
                self.expected.open[f"{held.window.id}.{half}"] = OpenWindow(
                    window.name, *bounds, window.window_class
                )

    def retry(self, held: HeldWindow, after_seconds: int) -> None:
        ours = self.is_ours(held)
        assert self.world.windows.retry(held.feed, held.window, after_seconds) == ours
        if ours:
            self.expected.open[held.window.id].token = ""

    def fail(self, held: HeldWindow) -> None:
        ours = self.is_ours(held)
        assert self.world.windows.fail(held.feed, held.window, 5, 40) == ours
        if ours:
            del self.expected.open[held.window.id]

    def defer(self, held: HeldWindow) -> None:
        ours = self.is_ours(held)
        assert self.world.windows.defer(held.feed, held.window, 5, 40) == ours
        if ours:
            del self.expected.open[held.window.id]

    def declare_gap(self, held: HeldWindow, steps: int) -> None:
        """Part or all of it no longer exists; the rest is released, unless its extractor dies."""
        first, last = held.steps.start - 1, held.steps.stop - 1
        until = min(first + steps, last)
        possible = self.is_ours(held) and steps > 0
        declared = self.world.windows.declare_gap(
            held.feed, held.window, (first + steps) * STEP_MS, "no longer kept"
        )
        assert declared == possible
        if not possible:
            return
        self.expected.feeds[held.feed.query].gaps.update(range(first + 1, until + 1))
        if until == last:
            del self.expected.open[held.window.id]
            return
        self.expected.open[held.window.id].first = until
        if until % 2:
            self.retry(held, 0)
        else:
            self.held_windows.remove(held)
