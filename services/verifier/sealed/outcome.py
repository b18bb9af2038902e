"""What the comparison of sealed windows found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from services.verifier.sealed.holding import Span
from services.verifier.verdict import EXIT_CODES, Verdict, worst


class Kind(StrEnum):
    """What became of a window. The sink has for it …"""

    INTACT = "intact"  # exactly the points that were loaded
    ALTERED = "altered"  # as many, others
    THINNED = "thinned"  # fewer
    DELETED = "deleted"  # none of them
    EXTRA = "extra"  # more
    EXPIRED = "expired"  # what its retention left
    REPLACED = "replaced"  # what was loaded again, of a part of it
    UNTOLD = "untold"  # points that may be other queries'
    UNREADABLE = "unreadable"  # a seal that says nothing


DAMAGE = (Kind.ALTERED, Kind.THINNED, Kind.DELETED, Kind.EXTRA)
UNCHECKED = (Kind.REPLACED, Kind.UNTOLD, Kind.UNREADABLE)


@dataclass(slots=True)
class Windows:
    """Windows of one kind, each the next one's neighbour: ``(start_ms, end_ms]``, in points."""

    kind: Kind
    start_ms: int
    end_ms: int
    windows: int = 1
    sealed: int = 0
    found: int = 0


@dataclass(slots=True)
class QueryOutcome:
    """``unsealed`` is time of the range that no seal speaks of. ``points`` were checked.

    ``elsewhere``: how many were found only in another bucket than their series is written to; with
    ``elsewhere_at_most`` some of them may be another query's.
    """

    query: str
    start_ms: int | None = None
    end_ms: int | None = None
    windows: Counter[Kind] = field(default_factory=Counter)
    points: int = 0
    found: list[Windows] = field(default_factory=list)
    unsealed: list[Span] = field(default_factory=list)
    elsewhere: int = 0
    elsewhere_at_most: bool = False

    def add(self, kind: Kind, start_ms: int, end_ms: int, sealed: int = 0, found: int = 0) -> None:
        """Count a window; those of one kind must come in order."""
        self.windows[kind] += 1
        if kind is Kind.INTACT:
            self.points += sealed
            return
        last = next((one for one in reversed(self.found) if one.kind is kind), None)
        if last is None or last.end_ms != start_ms:
            last = Windows(kind, start_ms, end_ms, windows=0)
            self.found.append(last)
        last.end_ms = end_ms
        last.windows += 1
        last.sealed += sealed
        last.found += found

    def add_unsealed(self, start_ms: int, end_ms: int) -> None:
        """Note time that no seal speaks of, in order; none where it is empty."""
        if start_ms < end_ms:
            if self.unsealed and self.unsealed[-1][1] == start_ms:
                start_ms, _ = self.unsealed.pop()
            self.unsealed.append((start_ms, end_ms))

    @property
    def damaged(self) -> int:
        """Windows that are not what was loaded."""
        return sum(self.windows[kind] for kind in DAMAGE)

    def verdicts(self) -> Iterator[Verdict]:
        """Everything that must be said."""
        if self.damaged:
            yield Verdict.DIFFERENT
        if self.unsealed or any(self.windows[kind] for kind in UNCHECKED):
            yield Verdict.INCOMPLETE
        if not self.points and not self.damaged:
            yield Verdict.NOTHING_TO_COMPARE

    @property
    def verdict(self) -> Verdict:
        """The gravest of them."""
        return worst(self.verdicts())


@dataclass(frozen=True, slots=True)
class SealedOutcome:
    """``retired`` are queries that have seals and are not configured (any more).

    ``notes`` are for the operator, each the end of a line.
    """

    queries: list[QueryOutcome]
    retired: list[str] = field(default_factory=list)
    notes: Sequence[str] = ()

    @property
    def verdict(self) -> Verdict:
        """The gravest: equal only if every query has points, and every window is intact."""
        if not self.queries:
            return Verdict.NOTHING_TO_COMPARE
        return worst(one.verdict for one in self.queries)

    @property
    def verdicts(self) -> frozenset[Verdict]:
        """Everything that must be said."""
        if not self.queries:
            return frozenset({Verdict.NOTHING_TO_COMPARE})
        return frozenset(said for one in self.queries for said in one.verdicts())


@dataclass(frozen=True, slots=True)
class SealedOutcomes:
    """What was found in each tier."""

    by_tier: Mapping[str, SealedOutcome]

    @property
    def verdict(self) -> Verdict:
        """The gravest of them."""
        return worst(one.verdict for one in self.by_tier.values())

    def exit_code(self, accepted: frozenset[Verdict] = frozenset()) -> int:
        """That of the gravest verdict that is not ``accepted``."""
        said = frozenset[Verdict]().union(*(one.verdicts for one in self.by_tier.values()))
        return EXIT_CODES[worst(said - accepted)]
