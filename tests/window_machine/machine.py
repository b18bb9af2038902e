"""Extractors and stages on one window set and its streams, in any order of what can happen.

Hypothesis plays it (rules, invariants, the shortest example of a failure), and so does
:func:`walk`, which is quicker and goes further: both draw from the same actions.
"""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Callable
from random import Random

from hypothesis.stateful import invariant

from common.state.keys import POINTS, RAW
from tests.window_machine.actions import ACTIONS, BOTH, happens
from tests.window_machine.expected import NAMES, STEP_MS, Expected, steps_of, units_in
from tests.window_machine.stages import StageActions
from tests.window_machine.world import PASSING_SECONDS


class WindowMachine(StageActions):
    """No order of events loses a sample, covers a step twice or never, or lets a zombie through."""

    @happens(
        lambda self: bool(self.world.dead_letters()), which=range(10), replayed=BOTH, again=BOTH
    )
    def decide_on_a_dead_letter(self, which: int, replayed: bool, again: bool) -> None:
        letters = self.world.dead_letters()
        letter = letters[which % len(letters)]
        if replayed:
            assert self.world.replay(letter)
            self.settled_of(letter.window_id, 1)
        else:
            assert self.world.purge(letter)
            self.expected.outcomes.update(dict.fromkeys(units_in(letter.payload), "purged"))
        if again:  # another operator has it on the screen
            assert not self.world.purge(letter)
            assert not self.world.replay(letter)

    @happens(lambda self: bool(self.held_windows), seconds=PASSING_SECONDS)
    def time_passes(self, seconds: int) -> None:
        self.world.advance(seconds)

    @happens(
        lambda self: self.losses < 2 and bool(self.expected.extracted),
        everything=(False, False, True),
    )
    def redis_file(self, everything: bool) -> None:
        """It is written; next time all that came after is lost, or the file too."""
        if self.remembered is None:
            self.remembered = self.world.remember(), copy.deepcopy(self.expected)
            return
        remembered, expected = self.remembered
        if len(self.expected.extracted) < len(expected.extracted) + 5:
            return
        self.losses += 1
        self.remembered = None
        if everything:
            self.world.lose_everything()
            self.expected = Expected()
        else:
            self.world.roll_back(remembered)
            self.expected = expected

    # -- what must always hold -------------------------------------------------------------------

    @invariant()
    def the_ledger_balances_and_says_what_happened(self) -> None:
        audit = self.world.audit()
        assert (audit.imbalance_samples, audit.lost_samples) == (0, 0)
        assert all(depth.unaccounted_entries == 0 for depth in audit.streams.values())
        outcomes = Counter(self.expected.outcomes.values())
        total = audit.total
        assert total.extracted == len(self.expected.extracted)
        assert total.loaded == outcomes["loaded"]
        assert Counter(total.dropped) == Counter({k: outcomes[k] for k in ("nan", "purged")})

    @invariant()
    def every_sample_is_in_one_place(self) -> None:
        """In a stream, in a dead letter, or settled; never in two of them, never in none."""
        payloads = [*self.world.payloads(RAW), *self.world.payloads(POINTS)]
        payloads += [letter.payload for letter in self.world.dead_letters()]
        found = Counter(unit for payload in payloads for unit in units_in(payload))
        found.update(self.expected.outcomes.keys())
        assert found == Counter(self.expected.extracted)

    @invariant()
    def every_step_is_covered_once(self) -> None:
        """What is missing is in the backlog or open, once; the rest is committed or a gap."""
        status = self.world.windows.status()
        assert status.keys() == {
            f"{n}@hot" for n, b in self.expected.feeds.items() if b.config is not None
        }
        for name, feed in self.expected.feeds.items():
            found = status.get(f"{name}@hot")
            backlog = {step: feed.present(step) for step in feed.planned}
            assert set(backlog.values()) <= {0, 1}
            if found is None:
                assert not any(backlog.values())
                continue
            assert (found.origin_ms, found.head_ms) == (feed.origin * STEP_MS, feed.head * STEP_MS)
            assert steps_of([*found.backlog, *found.open]) == Counter(
                {s: n for s, n in backlog.items() if n}
            )
            assert all(a[1] < b[0] for a, b in itertools.pairwise(found.backlog))
            assert all(first < last for first, last in found.backlog)
            assert list(found.open) == sorted(
                (window.first * STEP_MS, window.last * STEP_MS)
                for window in self.expected.open.values()
                if window.name == name
            )
            # From the origin on, there is no step that nobody ever planned.
            assert all(feed.planned[step] for step in range(feed.origin + 1, feed.head + 1))
            gaps = self.world.windows.gaps(f"{name}@hot")
            declared = steps_of((gap.start_ms, gap.end_ms) for gap in gaps)
            assert declared.keys() == {step for step, times in feed.gaps.items() if times}

    @invariant()
    def no_watermark_passes_what_is_open_or_unsettled(self) -> None:
        assert self.world.unsettled() == self.expected.waiting.keys()
        for feed, status in self.world.windows.status().items():
            name = status.query
            expected = self.expected.feeds[name]
            backlog = [step - 1 for step in expected.planned if expected.present(step)]
            unsettled = [
                first
                for window_id, (of, first) in self.expected.bounds.items()
                if of == name and window_id in self.expected.waiting
            ]
            watermark = min([expected.head, *backlog])
            assert status.watermark_ms == watermark * STEP_MS, feed
            assert status.loaded_watermark_ms == min([watermark, *unsettled]) * STEP_MS

    @invariant()
    def every_window_is_sealed_as_it_was_loaded(self) -> None:
        assert self.world.seals() == self.expected.seals

    @invariant()
    def every_recount_that_is_to_come_has_its_time(self) -> None:
        for name, feed in self.expected.feeds.items():
            assert self.world.rechecks(f"{name}@hot") == feed.rechecks, name

    def check(self) -> None:
        """All of it."""
        self.every_window_is_sealed_as_it_was_loaded()
        self.every_recount_that_is_to_come_has_its_time()
        self.the_ledger_balances_and_says_what_happened()
        self.every_sample_is_in_one_place()
        self.every_step_is_covered_once()
        self.no_watermark_passes_what_is_open_or_unsettled()

    # -- how it ends -----------------------------------------------------------------------------

    def teardown(self) -> None:
        """However it went: patient workers bring everything to its end."""
        for _ in range(500):
            if not (self.extract_one() or self.stage_one(RAW) or self.stage_one(POINTS)):
                break
        else:
            raise AssertionError("it never ends")
        for name, status in self.world.windows.status().items():
            assert (list(status.backlog), list(status.open)) == ([], []), name
            assert status.loaded_watermark_ms == status.head_ms
        self.every_sample_is_in_one_place()
        assert not self.expected.waiting
        audit = self.world.audit()
        assert (audit.total.in_flight, audit.imbalance_samples) == (0, 0)

    def extract_one(self) -> bool:
        self.world.advance(10_000)
        return any(self.extracted(name, "live", 5, 1, recheck=False) for name in NAMES)

    def stage_one(self, inbound: str) -> bool:
        items = self.claimed(inbound, 5) or self.were_read(inbound, 5)
        for item in items:
            self.settle(item, ["good"])
        return bool(items)


def walk(make: Callable[[], WindowMachine], seed: int, steps: int) -> None:
    """Let so many things happen, at random, and see it to its end.

    Raises :class:`AssertionError`, with what had happened, when anything did not hold.
    """
    random, machine = Random(seed), make()
    weights = [action.weight for action in ACTIONS]
    happened: list[str] = []
    try:
        machine.begin(random.randrange(1, 13))
        while len(happened) < steps:
            (action,) = random.choices(ACTIONS, weights)
            if not action.when(machine):
                continue
            drawn = {name: random.choice(domain) for name, domain in action.domains.items()}
            happened.append(f"{action.name}({drawn})")
            getattr(machine, action.name)(**drawn)
            machine.check()
        machine.teardown()
    except AssertionError as error:
        story = "\n".join(happened)
        raise AssertionError(f"seed {seed}, step {len(happened)}: {error}\n{story}") from error


def notices(make: Callable[[], WindowMachine], seed: int, most_walks: int) -> bool:
    """Whether a walk fails: the one of ``seed``, else one of the first ``most_walks``."""
    for one in dict.fromkeys((seed, *range(most_walks))):
        try:
            walk(make, one, steps=60)
        except AssertionError:
            return True
    return False
