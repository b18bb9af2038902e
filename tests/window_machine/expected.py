"""What the machine expects to be true, unit by unit and step by step.

A unit is a sample: a line of a payload that says which feed and step it is of, and which reading.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

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
    # (stream, entry) → who holds it, since when; "" = released, until when.
    holders: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    crashes: Counter[tuple[str, str]] = field(default_factory=Counter)


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
