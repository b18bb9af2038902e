"""What is known of one feed's time, of one range."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from common.state.backfills import Part, history
from common.state.feeds import FeedStatus, Gap, Range
from common.state.keys import feed_of
from common.state.proven import FeedProof
from common.state.ranges import clipped, merged, without


class Samples(NamedTuple):
    """So many samples, or points, of ``(start_ms, end_ms]``."""

    start_ms: int
    end_ms: int
    number: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What Redis knows of a feed, of all time.

    ``planned`` is the time that it owns, with what backfills have loaded or will; empty where
    nobody has planned it. ``deferred`` is no part of ``backlog`` here. Of the samples in dead
    letters, and of those that were purged from them, ``timeless`` are those of which nobody knows
    when they lie.
    """

    planned: Sequence[Range] = ()
    open: Sequence[Range] = ()
    backlog: Sequence[Range] = ()
    deferred: Sequence[Range] = ()
    gaps: Sequence[Gap] = ()
    proven: Sequence[Range] = ()
    differing: Sequence[Samples] = ()
    dead: list[Samples] = field(default_factory=list)
    purged: Sequence[Samples] = ()
    timeless_dead: int = 0
    timeless_purged: int = 0

    def with_windows(
        self, feed: FeedStatus, parts: Sequence[Part], proof: FeedProof | None
    ) -> Facts:
        """With what the window set and the verifier know; ``parts`` are its backfills'."""
        proven = proof and proof.proven
        open_ = [range_ for part in parts for range_ in part.open]
        waiting = [range_ for part in parts for range_ in part.waiting]
        coming = [*feed.below, *open_, *waiting]
        return replace(
            self,
            planned=merged([*history(feed, parts), *coming, (feed.origin_ms, feed.head_ms)]),
            open=[*feed.open, *feed.unsettled, *feed.below, *open_],
            backlog=without([*feed.backlog, *waiting], feed.deferred),
            deferred=feed.deferred,
            proven=proven.compared if proven else (),
            differing=[Samples(*one[:3]) for one in proven.differing] if proven else [],
        )


@dataclass(frozen=True, slots=True)
class FeedCoverage:
    """One feed in ``(start_ms, end_ms]``; its ranges are in order and do not touch.

    ``loaded``: what was extracted there is in the sink, or accounted for otherwise; ``proven``: the
    verifier has compared it with the source and found no difference; ``sealed``: the sink holds
    seals of it (None: the sink could not be asked). A gap is time that was never loaded; one that
    was loaded after all, and sealed, is none, nor is one that is to be extracted again. All four
    are without what the sink has deleted by its retention, ``expired``.
    """

    query: str
    tier: str
    start_ms: int
    end_ms: int
    planned: list[Range]
    expired: list[Range]
    loaded: list[Range]
    proven: list[Range]
    sealed: list[Range] | None
    open: list[Range]
    backlog: list[Range]
    deferred: list[Range]
    gaps: list[Gap]
    differing: list[Samples]
    dead: list[Samples]
    purged: list[Samples]
    timeless_dead: int = 0
    timeless_purged: int = 0

    @property
    def name(self) -> str:
        """``query@tier``."""
        return feed_of(self.query, self.tier)

    @classmethod
    def of(
        cls,
        query: str,
        tier: str,
        facts: Facts,
        sealed: Sequence[Range] | None,
        *,
        start_ms: int,
        end_ms: int,
        kept_from_ms: int,
    ) -> FeedCoverage:
        """Put together what is known. The sink keeps what lies after ``kept_from_ms``."""

        def of_range(ranges: Iterable[Range]) -> list[Range]:
            return clipped(ranges, start_ms, end_ms)

        def kept(ranges: Iterable[Range]) -> list[Range]:
            return clipped(ranges, max(start_ms, kept_from_ms), end_ms)

        seals = sealed or ()
        planned = list(facts.planned)
        waiting = [*facts.open, *facts.backlog, *facts.deferred]
        declared = [(gap.start_ms, gap.end_ms) for gap in facts.gaps]
        gaps = without(declared, [*seals, *waiting])
        missing = [*waiting, *gaps]
        return cls(
            query=query,
            tier=tier,
            start_ms=start_ms,
            end_ms=end_ms,
            planned=of_range(planned),
            expired=clipped(merged([*planned, *seals]), start_ms, min(end_ms, kept_from_ms)),
            loaded=kept(without([*planned, *seals], missing)),
            proven=kept(without(facts.proven, [*missing, *(one[:2] for one in facts.differing)])),
            sealed=None if sealed is None else kept(without(sealed, waiting)),
            open=of_range(facts.open),
            backlog=of_range(facts.backlog),
            deferred=of_range(facts.deferred),
            gaps=_gaps(facts.gaps, kept(gaps)),
            differing=_of_range(facts.differing, start_ms, end_ms),
            dead=_of_range(facts.dead, start_ms, end_ms),
            purged=_of_range(facts.purged, start_ms, end_ms),
            timeless_dead=facts.timeless_dead,
            timeless_purged=facts.timeless_purged,
        )


def _gaps(declared: Iterable[Gap], left: Sequence[Range]) -> list[Gap]:
    """What is ``left`` of the gaps, each with its reason."""
    return sorted(
        (
            Gap(start_ms, end_ms, gap.reason)
            for gap in declared
            for one in left
            for start_ms, end_ms in clipped([one], gap.start_ms, gap.end_ms)
        ),
        key=lambda gap: gap.start_ms,
    )


def _of_range(samples: Iterable[Samples], start_ms: int, end_ms: int) -> list[Samples]:
    """Those with a part in ``(start_ms, end_ms]``, whole; those that touch as one."""
    found: list[Samples] = []
    for one in sorted(samples):
        if one.end_ms <= start_ms or one.start_ms >= end_ms:
            continue
        if found and one.start_ms <= found[-1].end_ms:
            last = found.pop()
            one = Samples(last.start_ms, max(last.end_ms, one.end_ms), last.number + one.number)
        found.append(one)
    return found
