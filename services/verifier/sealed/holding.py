"""Which seals hold, where windows were loaded more than once."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from services.verifier.sealed.seals import Page, Seal

Span = tuple[int, int]


@dataclass(slots=True)
class Covered:
    """Time that is covered: ranges ``(start_ms, end_ms]`` in order that do not touch."""

    starts_ms: list[int] = field(default_factory=list)
    ends_ms: list[int] = field(default_factory=list)

    def add(self, start_ms: int, end_ms: int) -> tuple[bool, bool]:
        """Cover a range; whether any of it was covered before, and whether all of it was."""
        first = bisect_right(self.ends_ms, start_ms)
        behind = bisect_left(self.starts_ms, end_ms)
        some = behind > first
        whole = some and self.starts_ms[first] <= start_ms and end_ms <= self.ends_ms[first]
        if not whole:
            # Those that it only touches become one with it.
            first = bisect_left(self.ends_ms, start_ms)
            behind = bisect_right(self.starts_ms, end_ms)
            if behind > first:
                start_ms = min(start_ms, self.starts_ms[first])
                end_ms = max(end_ms, self.ends_ms[behind - 1])
            self.starts_ms[first:behind] = [start_ms]
            self.ends_ms[first:behind] = [end_ms]
        return some, whole

    def gaps(self, start_ms: int, end_ms: int) -> Iterator[Span]:
        """The ranges within ``(start_ms, end_ms]`` that are not covered."""
        for covered_start_ms, covered_end_ms in zip(self.starts_ms, self.ends_ms, strict=True):
            if start_ms < min(covered_start_ms, end_ms):
                yield start_ms, min(covered_start_ms, end_ms)
            start_ms = max(start_ms, covered_end_ms)
        if start_ms < end_ms:
            yield start_ms, end_ms


@dataclass(frozen=True, slots=True)
class Holding:
    """``windows`` (in order, no two overlap) can be checked.

    ``partial``: windows of which only a part was loaded again since, so that their seals say
    nothing any more. What was loaded again as a whole is in neither.
    """

    windows: list[Seal]
    partial: list[Seal]
    covered: Covered


def stretches(pages: Iterable[Page], longest_ms: int) -> Iterator[tuple[Holding, int]]:
    """What holds of windows that end in one stretch of time, and where that ends; all in order.

    No window is longer than ``longest_ms``, so one is judged once everything that ends so long
    after it has been read, and kept until nothing is left that may overlap it. ``covered`` is right
    from the end of the stretch before to the end of this one.
    """
    windows: list[Seal] = []
    replays: list[Seal] = []
    judged_ms = 0
    for page in pages:
        windows += page.windows
        replays += page.replays
        to_ms = page.read_to_ms - (0 if page.last else longest_ms)
        # To judge often what is kept for long would cost the square of it.
        if not page.last and to_ms < judged_ms + longest_ms:
            continue
        held = holding(windows, replays)
        inside, partial = (
            [one for one in found if judged_ms < one.end_ms <= to_ms]
            for found in (held.windows, held.partial)
        )
        yield Holding(inside, partial, held.covered), to_ms
        judged_ms = to_ms
        kept_ms = min((one.start_ms for one in windows if one.end_ms > to_ms), default=to_ms)
        windows = [one for one in windows if one.end_ms > min(kept_ms, to_ms)]
        replays = [one for one in replays if one.end_ms > to_ms]


def holding(windows: Iterable[Seal], replays: Iterable[Seal]) -> Holding:
    """The newest seal of any time holds.

    What was replayed adds to the seal of exactly that window, unless that is newer.
    """
    held, partial, covered = [], [], Covered()
    for seal in sorted(windows, key=lambda seal: (-seal.sealed_ms, seal.end_ms)):
        some, whole = covered.add(seal.start_ms, seal.end_ms)
        if not some:
            held.append(seal)
        elif not whole:
            partial.append(seal)
    later = {(seal.start_ms, seal.end_ms): seal for seal in replays}
    held = [_with(seal, later.get((seal.start_ms, seal.end_ms))) for seal in held]
    in_order = sorted(held, key=lambda seal: seal.end_ms)
    return Holding(in_order, sorted(partial, key=lambda seal: seal.end_ms), covered)


def _with(seal: Seal, replayed: Seal | None) -> Seal:
    if replayed is None or replayed.sealed_ms < seal.sealed_ms:
        return seal
    # Of another extraction: nobody knows what of it is among the seal's own points.
    if seal.digest is None or replayed.digest is None or replayed.window != seal.window:
        return replace(seal, digest=None)
    digest = seal.digest + replayed.digest
    return replace(seal, digest=digest, replayed_ms=replayed.sealed_ms)
