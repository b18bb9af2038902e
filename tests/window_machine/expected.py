"""What the machine expects to be true, unit by unit and step by step.

A unit is a sample: a line of a payload that says which feed and step it is of, and which reading.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

from common.samples.seal import Digest
from common.state.stream import RedisStream
from common.state.verdict import Entry
from common.state.windows import Feed, Recheck, Staged, Window

STEP_MS = 1_000
# When committed windows are counted again.
RECHECK_SECONDS = (150, 400)
FIRST_STEP = 100

NAMES = ("a", "b")
FEEDS = {
    name: tuple(Feed(name, "hot", "expr", f"config{number}") for number in range(2))
    for name in NAMES
}


@dataclass
class OpenWindow:
    """An open window as it should be."""

    name: str
    first: int  # steps; the window holds those after `first`, up to `last`
    last: int
    window_class: str
    token: str = ""
    deadline_ms: int = 0


@dataclass
class ExpectedFeed:
    """A feed as it should be: how often each step was planned, committed, declared a gap."""

    config: int | None = None  # whose it is; None: not planned
    origin: int = FIRST_STEP
    head: int = FIRST_STEP
    planned_ms: int = 0
    planned: Counter[int] = field(default_factory=Counter)
    committed: Counter[int] = field(default_factory=Counter)
    gaps: Counter[int] = field(default_factory=Counter)
    rechecks: dict[Recheck, int] = field(default_factory=dict)  # by when
    # Steps that a recount opened again → how many recounts they had.
    rounds: Counter[int] = field(default_factory=Counter)

    def present(self, step: int) -> int:
        """How often a step should be in the backlog or open: once or not at all."""
        return self.planned[step] - self.committed[step] - self.gaps[step]


@dataclass
class Expected:
    """What Redis should hold."""

    feeds: dict[str, ExpectedFeed] = field(
        default_factory=lambda: {name: ExpectedFeed() for name in NAMES}
    )
    open: dict[str, OpenWindow] = field(default_factory=dict)
    staged: set[str] = field(default_factory=set)
    extracted: set[str] = field(default_factory=set)  # units
    outcomes: dict[str, str] = field(default_factory=dict)  # unit → loaded, nan, inf, purged
    # Committed windows → how many of their entries are not settled; their feed and first step.
    waiting: dict[str, int] = field(default_factory=dict)
    bounds: dict[str, tuple[str, int]] = field(default_factory=dict)
    # Committed windows → the place of their seal, what was loaded of them; the latest of a place.
    places: dict[str, tuple[str, int]] = field(default_factory=dict)
    loaded: dict[str, Digest] = field(default_factory=dict)
    latest: dict[tuple[str, int], str] = field(default_factory=dict)
    # The same of what was replayed of a settled window.
    replayed: dict[tuple[str, int], tuple[str, Digest | None]] = field(default_factory=dict)
    seals: dict[tuple[str, int, bool], Digest | None] = field(default_factory=dict)
    # (stream, entry) → who holds it, since when; "" = released, until when.
    holders: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    crashes: Counter[tuple[str, str]] = field(default_factory=Counter)

    def commit(self, window_id: str, feed: str, end_ms: int, entries: int) -> None:
        """A window is committed: it seals its place, and no other that has the same one does."""
        place = self.places[window_id] = feed, end_ms
        self.latest[place] = window_id
        self.loaded[window_id] = Digest()
        self.replayed.pop(place, None)
        if not entries:
            self.seals[*place, False] = Digest()

    def settle(self, window_id: str, units: Iterable[str], *, replay: bool) -> None:
        """Units of a window were loaded, after all of it had been settled if it is a replay."""
        place, units = self.places[window_id], list(units)
        if replay and units:
            known, found = self.replayed.get(place, (window_id, Digest()))
            both = found + digest_of(units) if found and known == window_id else None
            self.replayed[place] = window_id, both
            self.seals[*place, True] = both
        elif not replay:
            self.loaded[window_id] += digest_of(units)
            if window_id not in self.waiting and self.latest[place] == window_id:
                self.seals[*place, False] = self.loaded[window_id]


@dataclass
class HeldWindow:
    """A window in the hands of an extractor, which may have died or may be late."""

    feed: Feed
    window: Window
    staged: list[Staged] | None = None
    units: list[list[str]] = field(default_factory=list)

    @property
    def steps(self) -> range:
        return range(self.window.start_ms // STEP_MS + 1, self.window.end_ms // STEP_MS + 1)


# The worker's stream, which one, its name, the entry.
HeldEntry = tuple[RedisStream, str, str, Entry]


def units_in(payload: bytes) -> list[str]:
    """The samples of a payload, which a replay may have compressed."""
    if payload.startswith(b"\x1f\x8b"):
        payload = gzip.decompress(payload)
    return payload.decode().splitlines()


def digest_of(units: Iterable[str]) -> Digest:
    """A digest of units as good as any."""
    found = Digest()
    for unit in units:
        hashed = blake2b(unit.encode(), digest_size=16).digest()
        found += Digest(1, (int.from_bytes(hashed[:8]), int.from_bytes(hashed[8:])))
    return found


def payload_of(units: Iterable[str]) -> bytes:
    """The reverse."""
    return "".join(f"{unit}\n" for unit in units).encode()


def steps_of(ranges: Iterable[tuple[int, int]]) -> Counter[int]:
    """How often each step is in the ranges, which are in ms."""
    return Counter(
        step
        for start_ms, end_ms in ranges
        for step in range(start_ms // STEP_MS + 1, end_ms // STEP_MS + 1)
    )
