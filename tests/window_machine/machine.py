"""Extractors and stages on one window set and its streams, in any order of what can happen.

Hypothesis plays it (rules, invariants, the shortest example of a failure), and so does
:func:`walk`, which is quicker and goes further: both draw from the same actions.
"""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar, TypeVar, get_args

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from common.state.keys import POINTS, RAW
from common.state.stream import SettleResult, Stream
from common.state.verdict import DeadLetter, Output, Settle
from common.state.windows import Recheck, WindowClass
from tests.window_machine.ledger import (
    FEEDS,
    FIRST_STEP,
    NAMES,
    STEP_MS,
    Books,
    FeedBooks,
    HeldEntry,
    HeldWindow,
    OpenWindow,
    payload_of,
    steps_of,
    units_in,
)
from tests.window_machine.world import (
    ENTRY_LEASE_SECONDS,
    MAX_OPEN,
    PASSING_SECONDS,
    STAGES,
    WINDOW_LEASE_SECONDS,
    World,
)

HORIZON_MS = 4 * STEP_MS

# What actions are drawn from.
BOTH = (False, True)
STREAMS = (RAW, POINTS)
CLASSES = get_args(WindowClass)
# Mostly whoever plans the feed, now and then a worker with another configuration.
STRANGERS = (False, False, False, False, True)
# Mostly who holds something, now and then who believes to.
LATE = (False, False, True)
# What becomes of an entry's samples, in turn.
FATE = ("good", "too", "nan", "bad")
FATES = tuple(fates for length in (1, 2, 3) for fates in itertools.product(FATE, repeat=length))

Method = TypeVar("Method", bound=Callable[..., None])
T = TypeVar("T")


@dataclass(frozen=True)
class Action:
    """Something that happens: the machine's method, when it can, how often, with what."""

    name: str
    when: Callable[[Any], bool]
    weight: int
    domains: dict[str, Sequence[Any]]


ACTIONS: list[Action] = []


def happens(
    when: Callable[[Any], bool] = lambda _: True, *, weight: int = 1, **domains: Sequence[Any]
) -> Callable[[Method], Method]:
    """Make a method an action, and a rule of Hypothesis: each argument is one of its domain."""

    def register(method: Method) -> Method:
        ACTIONS.append(Action(method.__name__, when, weight, domains))
        strategies = {name: st.sampled_from(domain) for name, domain in domains.items()}
        # Its types speak of rules with targets too, and of none without.
        made: Method = precondition(when)(rule(**strategies)(method))  # type: ignore[call-overload]
        return made

    return register


def chosen(items: Sequence[T], ours: Callable[[T], bool], late: bool, which: int) -> T:
    """One that its holder still has, or with ``late`` one that it has lost; else any."""
    fitting = [item for item in items if ours(item) != late] or items
    return fitting[which % len(fitting)]


class WindowMachine(RuleBasedStateMachine):
    """No order of events loses a sample, covers a step twice or never, or lets a zombie through."""

    make_world: ClassVar[Callable[[], World]]

    def __init__(self) -> None:
        super().__init__()
        self.world = type(self).make_world()
        self.books = Books()
        self.readings = itertools.count(1)
        self.workers = itertools.count(1)
        self.tokens: set[str] = set()
        # Whatever was ever in somebody's hands: it may come back at any time.
        self.held_windows: list[HeldWindow] = []
        self.held_entries: list[HeldEntry] = []
        self.remembered: tuple[object, Books] | None = None
        # What undoes much is done rarely, so that there is much to be undone.
        self.closings = self.losses = 0

    # -- planning --------------------------------------------------------------------------------

    @initialize(steps=st.integers(1, 12))
    def begin(self, steps: int) -> None:
        for name in NAMES:
            self.plan(name, steps, stranger=False, adopt=False)

    def config(self, name: str, stranger: bool) -> int:
        """The configuration of the feed's owner, or another one."""
        return (self.books.feeds[name].config or 0) ^ stranger

    @happens(name=NAMES, steps=range(10), stranger=STRANGERS, adopt=BOTH)
    def plan(self, name: str, steps: int, stranger: bool, adopt: bool) -> None:
        feed, config = self.books.feeds[name], self.config(name, stranger)
        head = feed.head + steps
        ours = feed.config in (None, config) or adopt
        planned = self.world.windows.plan(
            FEEDS[name][config], FIRST_STEP * STEP_MS, head * STEP_MS, adopt=adopt
        )
        assert planned == ours
        if not ours:
            return
        if feed.config not in (None, config):
            self.forget_open(name)
        feed.config, feed.planned_ms = config, self.world.now_ms()
        feed.owed.update(range(feed.head + 1, head + 1))
        feed.head = head

    @happens(
        name=NAMES,
        stranger=STRANGERS,
        what=("reopen", "extend", "recheck", "late samples", "close"),
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
                self.recheck(name, self.config(name, stranger), late=what == "late samples")

    def reopen(self, name: str, config: int, first: int, steps: int, extend: bool) -> None:
        """A repair, or time before the origin that turned out to be owed."""
        feed = self.books.feeds[name]
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
        assert added == STEP_MS * self.owe_again(name, start, end)

    def recheck(self, name: str, config: int, late: bool) -> None:
        """Count again what is due; where samples came late, open it again."""
        feed, now_ms = self.books.feeds[name], self.world.now_ms()
        due = self.world.windows.due_rechecks(FEEDS[name][config], 100)
        expected = {key for key, due_ms in feed.rechecks.items() if due_ms <= now_ms}
        assert {(one.start_ms, one.end_ms, one.samples) for one in due} == expected
        if not late:
            self.world.windows.forget_rechecks(FEEDS[name][config], due)
        for one in due:
            if late and not self.open_again(name, config, one):
                continue
            del feed.rechecks[one.start_ms, one.end_ms, one.samples]

    def open_again(self, name: str, config: int, one: Recheck) -> bool:
        added = self.world.windows.reopen(FEEDS[name][config], one.start_ms, one.end_ms, done=[one])
        if self.books.feeds[name].config != config:
            assert added is None
            return False
        first, last = one.start_ms // STEP_MS, one.end_ms // STEP_MS
        assert added == STEP_MS * self.owe_again(name, first, last)
        return True

    def owe_again(self, name: str, first: int, last: int) -> int:
        """Book the steps that a reopening puts back: all that are not owed already."""
        feed = self.books.feeds[name]
        again = [
            step
            for step in range(max(first, feed.origin) + 1, min(last, feed.head) + 1)
            if not feed.present(step)
        ]
        feed.owed.update(again)
        return len(again)

    def close(self, name: str, unplanned_seconds: int) -> None:
        """The query is gone from the configuration."""
        feed = self.books.feeds[name]
        owed = self.world.windows.close(f"{name}@hot", unplanned_seconds, "removed")
        if self.world.now_ms() - feed.planned_ms < unplanned_seconds * 1000:
            assert owed is None
            return
        assert owed is not None
        self.closings += 1
        still = Counter(step for step in feed.owed if feed.present(step))
        assert steps_of(owed) == still
        feed.gone.update(still)
        self.forget_open(name)
        self.books.feeds[name] = FeedBooks(owed=feed.owed, committed=feed.committed, gone=feed.gone)

    def forget_open(self, name: str) -> None:
        found = [id_ for id_, window in self.books.open.items() if window.name == name]
        for id_ in found:
            del self.books.open[id_]

    @property
    def something_owed(self) -> bool:
        """Whether there is anything to extract."""
        return any(
            feed.owed.total() > feed.committed.total() + feed.gone.total()
            for feed in self.books.feeds.values()
        )

    @property
    def something_unsettled(self) -> bool:
        """Whether any sample is in a stream, or in a dead letter."""
        return len(self.books.extracted) > len(self.books.fates)

    # -- extractors ------------------------------------------------------------------------------

    @happens(
        lambda self: self.something_owed,
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
        assert self.books.feeds[name].config == config, "leased by another configuration"
        assert window.token not in self.tokens, "a token came back"
        self.tokens.add(window.token)
        first, last = window.start_ms // STEP_MS, window.end_ms // STEP_MS
        known = self.books.open.get(window.id)
        if known is None:
            assert len(before.open) < MAX_OPEN
            assert 0 < last - first <= longest
            assert not steps_of([(window.start_ms, window.end_ms)]) - steps_of(before.backlog)
            known = self.books.open[window.id] = OpenWindow(name, first, last)
        assert (known.name, known.first, known.last) == (name, first, last)
        assert not known.token or known.deadline_ms <= self.world.now_ms(), "leased to two"
        known.token = window.token
        known.deadline_ms = self.world.now_ms() + WINDOW_LEASE_SECONDS * 1000
        self.held_windows.append(HeldWindow(FEEDS[name][config], window))
        return self.held_windows[-1]

    @happens(
        lambda self: self.something_owed,
        name=NAMES,
        window_class=CLASSES,
        longest=range(1, 6),
        entries=range(1, 4),
        recheck=BOTH,
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
        known = self.books.open.get(held.window.id)
        feed = self.books.feeds[held.feed.query]
        return (
            known is not None
            and known.token == held.window.token
            and feed.config is not None
            and FEEDS[held.feed.query][feed.config] == held.feed
        )

    def read_window(self, held: HeldWindow, entries: int) -> None:
        """Read the window's samples, and stage them; what was staged before is given up."""
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
        self.books.staged.update(staged.key for staged in held.staged)

    @happens(
        lambda self: bool(self.held_windows),
        weight=3,
        late=LATE,
        which=range(10),
        what=("commit", "commit", "expire", "renew", "split", "retry", "fail", "gap", "give up"),
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
                self.split(held, number % (len(held.steps) + 1))
            case "retry":
                self.retry(held, 50 * (number % 2))
            case "fail":
                self.fail(held)
            case "gap":
                self.declare_gap(held, number % (len(held.steps) + 2))
            case _:
                self.give_up(held)

    def give_up(self, held: HeldWindow) -> None:
        """As every extraction does that does not know its commit to have succeeded."""
        if held.staged is None:
            return
        mine = {staged.key for staged in held.staged} & self.books.staged
        assert self.world.windows.discard(held.staged) == len(mine)
        self.books.staged -= mine
        held.staged = None

    def staged_expires(self, held: HeldWindow, which: int) -> None:
        for staged in (held.staged or [])[which : which + 1]:
            if staged.key in self.books.staged:
                self.world.expire(staged)
                self.books.staged.discard(staged.key)

    def commit(self, held: HeldWindow, recheck: bool) -> None:
        if held.staged is None:
            self.read_window(held, 1)
        assert held.staged is not None
        keys = {staged.key for staged in held.staged}
        expected = "committed" if keys <= self.books.staged else "unstaged"
        samples = sum(map(len, held.units))
        status = self.world.windows.commit(
            held.feed,
            held.window,
            held.staged,
            recheck_after_seconds=150 if recheck else 0,
            source_samples=samples,
        )
        assert status == (expected if self.is_ours(held) else "refused")
        if status != "committed":
            return
        feed = self.books.feeds[held.feed.query]
        feed.committed.update(held.steps)
        if recheck:
            bounds = held.window.start_ms, held.window.end_ms
            feed.rechecks[*bounds, samples] = self.world.now_ms() + 150_000
        del self.books.open[held.window.id]
        self.books.staged -= keys
        self.books.extracted.update(unit for part in held.units for unit in part)
        if keys:
            self.books.waiting[held.window.id] = len(keys)
            self.books.bounds[held.window.id] = held.feed.query, held.steps.start - 1

    def renew_window(self, held: HeldWindow) -> None:
        ours = self.is_ours(held)
        assert self.world.windows.renew(held.feed, held.window) == ours
        if ours:
            deadline_ms = self.world.now_ms() + WINDOW_LEASE_SECONDS * 1000
            self.books.open[held.window.id].deadline_ms = deadline_ms

    def split(self, held: HeldWindow, steps: int) -> None:
        middle = held.steps.start - 1 + steps
        possible = self.is_ours(held) and held.steps.start <= middle < held.steps.stop - 1
        assert self.world.windows.split(held.feed, held.window, middle * STEP_MS) == possible
        if possible:
            window = self.books.open.pop(held.window.id)
            for half, bounds in enumerate(((window.first, middle), (middle, window.last)), 1):
                self.books.open[f"{held.window.id}.{half}"] = OpenWindow(window.name, *bounds)

    def retry(self, held: HeldWindow, after_seconds: int) -> None:
        ours = self.is_ours(held)
        assert self.world.windows.retry(held.feed, held.window, after_seconds) == ours
        if ours:
            self.books.open[held.window.id].token = ""

    def fail(self, held: HeldWindow) -> None:
        ours = self.is_ours(held)
        assert self.world.windows.fail(held.feed, held.window, 5, 40) == ours
        if ours:
            del self.books.open[held.window.id]

    def declare_gap(self, held: HeldWindow, steps: int) -> None:
        """Part of it, or all, is gone; the rest is given back, unless its extractor dies first."""
        first, last = held.steps.start - 1, held.steps.stop - 1
        until = min(first + steps, last)
        possible = self.is_ours(held) and steps > 0
        declared = self.world.windows.declare_gap(
            held.feed, held.window, (first + steps) * STEP_MS, "gone"
        )
        assert declared == possible
        if not possible:
            return
        self.books.feeds[held.feed.query].gone.update(range(first + 1, until + 1))
        if until == last:
            del self.books.open[held.window.id]
            return
        self.books.open[held.window.id].first = until
        if until % 2:
            self.retry(held, 0)
        else:
            self.held_windows.remove(held)

    # -- transformers and loaders ----------------------------------------------------------------

    def worker(self, inbound: str) -> tuple[Stream, str]:
        name = f"worker{next(self.workers)}"
        return self.world.stream(inbound, name), name

    def take(self, item: HeldEntry) -> HeldEntry:
        _, inbound, worker, entry = item
        self.books.holders[inbound, entry.id] = worker, self.world.now_ms()
        self.held_entries.append(item)
        return item

    @happens(lambda self: self.something_unsettled, inbound=STREAMS, count=range(1, 4))
    def read(self, inbound: str, count: int) -> None:
        """Whoever reads them may well die, or sleep for long."""
        self.were_read(inbound, count)

    def were_read(self, inbound: str, count: int) -> list[HeldEntry]:
        stream, worker = self.worker(inbound)
        entries = stream.read(count, 0)
        assert all((inbound, entry.id) not in self.books.holders for entry in entries)
        return [self.take((stream, inbound, worker, entry)) for entry in entries]

    @happens(lambda self: bool(self.books.holders), inbound=STREAMS, count=range(1, 4))
    def claim(self, inbound: str, count: int) -> None:
        """What was given back, or held for too long, goes to somebody else."""
        self.claimed(inbound, count)

    def claimed(self, inbound: str, count: int) -> list[HeldEntry]:
        stream, worker = self.worker(inbound)
        claimed = stream.claim(count)
        assert not claimed.deleted
        if any(entry.crashes for entry in claimed.entries):
            assert len(claimed.entries) == 1, "a suspect is handed out alone"
        for entry in claimed.entries:
            holder, ms = self.books.holders[inbound, entry.id]
            until_ms = ms + ENTRY_LEASE_SECONDS * 1000 if holder else ms
            assert until_ms <= self.world.now_ms(), "taken from whoever still had it"
            died = self.books.crashes[inbound, entry.id] + bool(holder)
            assert entry.crashes == died
            self.books.crashes[inbound, entry.id] = died
        return [self.take((stream, inbound, worker, entry)) for entry in claimed.entries]

    def holds(self, item: HeldEntry) -> bool:
        _, inbound, worker, entry = item
        return self.books.holders.get((inbound, entry.id), ("", 0))[0] == worker

    @happens(
        lambda self: bool(self.held_entries),
        weight=3,
        late=LATE,
        which=range(10),
        what=("settle", "settle", "renew", "give back", "fail", "wrong sum"),
        fates=FATES,
        number=range(4),
    )
    def carry_on(
        self, late: bool, which: int, what: str, fates: Sequence[str], number: int
    ) -> None:
        """Whatever can be done with an entry by one who holds it, or only believes to."""
        item = chosen(self.held_entries, self.holds, late, which)
        match what:
            case "settle":
                self.settle(item, fates)
            case "renew":
                self.renew_entry(item)
            case "wrong sum":
                self.settle_with_a_wrong_sum(item, number + 1)
            case _:
                # A worker gives back all that it has in hand.
                for one in [one for one in self.held_entries if one[2] == item[2]]:
                    self.give_back(one, 50 * (number % 2), crashed=what == "fail")

    @happens(lambda self: self.something_unsettled, inbound=STREAMS, count=range(1, 5), fates=FATES)
    def work(self, inbound: str, count: int, fates: Sequence[str]) -> None:
        """The ordinary way of entries."""
        for item in self.claimed(inbound, count) or self.were_read(inbound, count):
            self.settle(item, fates)

    def settle(self, item: HeldEntry, fates: Sequence[str]) -> None:
        """Each sample meets its fate, in turn; the good ones go on, as one output or as two."""
        stream, inbound, _, entry = item
        dealt: dict[str, list[str]] = {fate: [] for fate in FATE}
        for unit, fate in zip(units_in(entry.payload), itertools.cycle(fates), strict=False):
            dealt[fate].append(unit)
        raw = inbound == RAW
        outputs = [part for part in (dealt["good"], dealt["too"]) if part and raw]
        loaded = [] if raw else dealt["good"] + dealt["too"]
        bad = dealt["bad"]
        verdict = Settle(
            outputs=[Output(payload_of(part), len(part)) for part in outputs],
            loaded=len(loaded),
            drops={"nan": len(dealt["nan"])},
            dead=[DeadLetter("rejected", "", payload_of(bad), len(bad))] if bad else [],
        )
        result = stream.settle(entry, verdict, STAGES[inbound])
        assert result is (SettleResult.OK if self.holds(item) else SettleResult.REFUSED)
        if result is not SettleResult.OK:
            return
        del self.books.holders[inbound, entry.id]
        for fate, units in (("loaded", loaded), ("nan", dealt["nan"])):
            assert not set(units) & self.books.fates.keys(), "settled twice"
            self.books.fates.update(dict.fromkeys(units, fate))
        self.settled_of(entry.window_id, len(outputs) - 1)

    def settled_of(self, window_id: str, change: int) -> None:
        """So many entries more of a window wait, if it still waits for any."""
        if window_id in self.books.waiting:
            self.books.waiting[window_id] += change
            if not self.books.waiting[window_id]:
                del self.books.waiting[window_id]

    def settle_with_a_wrong_sum(self, item: HeldEntry, wrong: int) -> None:
        stream, inbound, _, entry = item
        verdict = Settle(loaded=entry.samples + wrong)
        result = stream.settle(entry, verdict, STAGES[inbound])
        assert result is (SettleResult.MISMATCH if self.holds(item) else SettleResult.REFUSED)

    def give_back(self, item: HeldEntry, after_seconds: int, crashed: bool) -> None:
        stream, inbound, _, entry = item
        given = stream.release([entry.id], after_seconds, crashed=crashed)
        assert given == self.holds(item)
        if given:
            until_ms = self.world.now_ms() + after_seconds * 1000
            self.books.holders[inbound, entry.id] = "", until_ms
            self.books.crashes[inbound, entry.id] += crashed

    def renew_entry(self, item: HeldEntry) -> None:
        stream, inbound, worker, entry = item
        lost = stream.renew([entry.id])
        assert lost == ([] if self.holds(item) else [entry.id])
        if not lost:
            self.books.holders[inbound, entry.id] = worker, self.world.now_ms()

    # -- the operator, Redis and time ------------------------------------------------------------

    @happens(lambda self: bool(self.world.letters()), which=range(10), replayed=BOTH, again=BOTH)
    def decide_on_a_letter(self, which: int, replayed: bool, again: bool) -> None:
        letters = self.world.letters()
        letter = letters[which % len(letters)]
        if replayed:
            assert self.world.replay(letter)
            self.settled_of(letter.window_id, 1)
        else:
            assert self.world.purge(letter)
            self.books.fates.update(dict.fromkeys(units_in(letter.payload), "purged"))
        if again:  # another operator has it on the screen
            assert not self.world.purge(letter)
            assert not self.world.replay(letter)

    @happens(lambda self: bool(self.held_windows), seconds=PASSING_SECONDS)
    def time_passes(self, seconds: int) -> None:
        self.world.advance(seconds)

    @happens(
        lambda self: self.losses < 2 and bool(self.books.extracted),
        everything=(False, False, True),
    )
    def redis_file(self, everything: bool) -> None:
        """It is written; next time all that came after is lost, or the file too."""
        if self.remembered is None:
            self.remembered = self.world.remember(), copy.deepcopy(self.books)
            return
        remembered, books = self.remembered
        if len(self.books.extracted) < len(books.extracted) + 5:
            return
        self.losses += 1
        self.remembered = None
        if everything:
            self.world.lose_everything()
            self.books = Books()
        else:
            self.world.roll_back(remembered)
            self.books = books

    # -- what must always hold -------------------------------------------------------------------

    @invariant()
    def the_ledger_balances_and_says_what_happened(self) -> None:
        audit = self.world.audit()
        assert (audit.imbalance_samples, audit.lost_samples) == (0, 0)
        assert all(depth.unaccounted_entries == 0 for depth in audit.streams.values())
        fates = Counter(self.books.fates.values())
        total = audit.total
        assert total.extracted == len(self.books.extracted)
        assert total.loaded == fates["loaded"]
        assert Counter(total.dropped) == Counter({k: fates[k] for k in ("nan", "purged")})

    @invariant()
    def every_sample_is_in_one_place(self) -> None:
        """In a stream, in a dead letter, or settled; never in two of them, never in none."""
        payloads = [*self.world.payloads(RAW), *self.world.payloads(POINTS)]
        payloads += [letter.payload for letter in self.world.letters()]
        found = Counter(unit for payload in payloads for unit in units_in(payload))
        found.update(self.books.fates.keys())
        assert found == Counter(self.books.extracted)

    @invariant()
    def every_step_is_covered_once(self) -> None:
        """What is owed is in the backlog or open, once; the rest is committed or a gap."""
        status = self.world.windows.status()
        assert status.keys() == {
            f"{n}@hot" for n, b in self.books.feeds.items() if b.config is not None
        }
        for name, feed in self.books.feeds.items():
            found = status.get(f"{name}@hot")
            owed = {step: feed.present(step) for step in feed.owed}
            assert set(owed.values()) <= {0, 1}
            if found is None:
                assert not any(owed.values())
                continue
            assert (found.origin_ms, found.head_ms) == (feed.origin * STEP_MS, feed.head * STEP_MS)
            assert steps_of([*found.backlog, *found.open]) == Counter(
                {s: n for s, n in owed.items() if n}
            )
            assert all(a[1] < b[0] for a, b in itertools.pairwise(found.backlog))
            assert all(first < last for first, last in found.backlog)
            assert list(found.open) == sorted(
                (window.first * STEP_MS, window.last * STEP_MS)
                for window in self.books.open.values()
                if window.name == name
            )
            # From the origin on, there is no step that nobody ever owed.
            assert all(feed.owed[step] for step in range(feed.origin + 1, feed.head + 1))
            gaps = self.world.windows.gaps(f"{name}@hot")
            declared = steps_of((gap.start_ms, gap.end_ms) for gap in gaps)
            assert declared.keys() == {step for step, times in feed.gone.items() if times}

    @invariant()
    def no_watermark_passes_what_is_open_or_unsettled(self) -> None:
        assert self.world.unsettled() == self.books.waiting.keys()
        for feed, status in self.world.windows.status().items():
            name = status.query
            books = self.books.feeds[name]
            owed = [step - 1 for step in books.owed if books.present(step)]
            unsettled = [
                first
                for window_id, (of, first) in self.books.bounds.items()
                if of == name and window_id in self.books.waiting
            ]
            watermark = min([books.head, *owed])
            assert status.watermark_ms == watermark * STEP_MS, feed
            assert status.loaded_watermark_ms == min([watermark, *unsettled]) * STEP_MS

    def check(self) -> None:
        """All of it."""
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
        assert not self.books.waiting
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
