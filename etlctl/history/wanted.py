"""What of a range of time a backfill is to extract of a feed, and what not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from common.errors import EtlError
from common.state.backfills import Part, history
from common.state.feeds import FeedStatus, Range
from etlctl.history.again import NOT_KEPT, LeftOut, first_whole_ms, known_feed, take_out
from services.extractor.windows import Plan, ceil_to, floor_to

OWN = "at or after the feed's origin, so that it is extracted anyway (`etlctl extract again`)"
LOADED = "loaded already (--again extracts it anew)"
COMING = "another backfill extracts it"


@dataclass(frozen=True, slots=True)
class Wanted:
    """``ranges`` of the plan's feed are to be extracted, in order."""

    plan: Plan
    ranges: Sequence[Range]
    left_out: Sequence[LeftOut]

    @property
    def is_too_old(self) -> bool:
        """Whether the source has nothing of it."""
        return not self.ranges and {left.why for left in self.left_out} == {NOT_KEPT}


def wanted_of(
    plans: Iterable[Plan],
    feeds: Mapping[str, FeedStatus],
    parts: Mapping[str, Sequence[Part]],
    bounds: tuple[int, int | None],
    lowest_ms: int,
    *,
    again: bool = False,
) -> list[Wanted]:
    """What to extract of each plan's feed before its origin.

    ``parts`` are those of running, paused and finished backfills, by feed. ``bounds`` in ms, the
    end not before the origin if it is None. ``lowest_ms``: the oldest time that the source keeps; 0
    where that is not known. What is loaded is left out, unless ``again``.

    Raises :class:`~common.errors.EtlError`, with a line for each feed that cannot have a backfill.
    """
    found, problems = [], []
    for plan in plans:
        name = plan.feed.name
        try:
            feed = known_feed(plan, feeds.get(name))
        except EtlError as error:
            problems.append(str(error))
            continue
        if not feed.reconciled:
            problems.append(
                f"{name}: its watermark was not read from the sink yet; is a loader up?"
            )
            continue
        found.append(_wanted(plan, feed, parts.get(name, ()), bounds, lowest_ms, again=again))
    if problems:
        raise EtlError("\n".join(problems))
    return found


def _wanted(
    plan: Plan,
    feed: FeedStatus,
    parts: Sequence[Part],
    bounds: tuple[int, int | None],
    lowest_ms: int,
    *,
    again: bool,
) -> Wanted:
    start_ms = floor_to(bounds[0], plan.step_ms)
    end_ms = feed.origin_ms if bounds[1] is None else ceil_to(bounds[1], plan.step_ms)
    taken = [
        ([(feed.origin_ms, max(end_ms, feed.origin_ms))], OWN),
        ([(0, first_whole_ms(plan, lowest_ms))], NOT_KEPT),
        ([range_ for part in parts for range_ in part.coming], COMING),
        ([] if again else [*history(feed, parts), *feed.below], LOADED),
    ]
    return Wanted(plan, *take_out((start_ms, max(start_ms, end_ms)), taken))
