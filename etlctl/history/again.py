"""Have ranges of time extracted again, and wait until they are loaded.

The extractor takes a range that is put back into its feed's backlog. Only what the source still has
all of is put back: of the rest a gap would be declared, although it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from redis.exceptions import RedisError

from common.config import Settings
from common.errors import ConfigError, EtlError
from common.state.backfills import Backfills, by_feed, extract_again, history
from common.state.feeds import FeedStatus, Range
from common.state.keys import feed_of
from common.state.ranges import clipped, length_ms, merged, without
from common.state.seals import windows_without_seal
from common.state.windows import Window, WindowSet
from etlctl.times import Clock, rfc3339
from services.extractor.windows import Plan, ceil_to, floor_to, plans_of
from services.verifier.sealed.seals import SealReader
from services.verifier.sealed.windows import whole_windows
from services.verifier.sink.read import Sink

POLL_SECONDS = 0.5

BEFORE_ORIGIN = "before the first window of the feed"
AFTER_HEAD = "not planned yet: it will be extracted by itself"
FOREIGN = "another configuration is in force; use that of the extractor"
CLOSED = "samples of another replica than was read could come to stand beside it"
NOT_KEPT = "the source no longer has all that the query looks at"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Time ``(start_ms, end_ms]`` that cannot be extracted again, and why."""

    start_ms: int
    end_ms: int
    why: str


@dataclass(frozen=True, slots=True)
class Opened:
    """What was put back of a feed. ``added_ms``: how much of it was not waiting already."""

    query: str
    tier: str
    ranges: Sequence[Range]
    left_out: Sequence[LeftOut]
    added_ms: int


def chosen(settings: Settings, names: Collection[str], tiers: Collection[str]) -> list[Plan]:
    """The plans of these queries in these tiers; of all of them where none is named.

    Raises :class:`~common.errors.ConfigError` for a name that is not configured.
    """
    plans = plans_of(settings)
    for option, wanted, known in (
        ("--query", names, {plan.feed.query for plan in plans}),
        ("--tier", tiers, {plan.feed.tier for plan in plans}),
    ):
        if unknown := sorted(set(wanted) - known - {plan.query.metric for plan in plans}):
            raise ConfigError(
                f"{option} {', '.join(unknown)}: is not configured; there are"
                f" {', '.join(sorted(known))}"
            )
    found = [
        plan
        for plan in plans
        if (not names or plan.feed.query in names or plan.query.metric in names)
        and (not tiers or plan.feed.tier in tiers)
    ]
    if not found:
        raise ConfigError(f"--tier {', '.join(tiers)}: holds none of {', '.join(names)}")
    return found


def known_feed(plan: Plan, status: FeedStatus | None) -> FeedStatus:
    """The status of the plan's feed.

    Raises :class:`~common.errors.EtlError` where it is not there, or is another configuration's.
    """
    if status is None:
        raise EtlError(f"{plan.feed.name}: was never planned; is its extractor running?")
    if status.fingerprint != plan.feed.fingerprint:
        raise EtlError(f"{plan.feed.name}: {FOREIGN}")
    return status


def open_again(
    windows: WindowSet,
    plan: Plan,
    ranges: Iterable[Range],
    lowest_ms: int,
    closed: Sequence[Range] = (),
) -> Opened:
    """Put ranges back into the backlog of a feed, each widened to whole steps.

    What backfills have loaded before the feed's origin is extracted again by another backfill.
    ``lowest_ms``: the oldest time that the source keeps; 0 where that is not known. ``closed``: for
    what another replica of it would be read than before. Raises what :func:`known_feed` raises.
    """
    feed = plan.feed
    # Read before the feed, which may join them meanwhile.
    parts = by_feed(Backfills(windows.redis, windows.keys).parts(), [feed.name])[feed.name]
    status = known_feed(plan, windows.status().get(feed.name))
    coming = [range_ for part in parts for range_ in part.coming]
    older = [*history(status, parts), *status.below, *coming]
    opened: list[Range] = []
    left_out: list[LeftOut] = []
    for wanted in ranges:
        found, left = _within(plan, status, older, wanted, lowest_ms, closed)
        opened += found
        left_out += left
    opened = merged(opened)
    added_ms = extract_again(windows, feed, opened)
    if added_ms is None:
        raise EtlError(f"{feed.name}: {FOREIGN}")
    return Opened(feed.query, feed.tier, opened, left_out, added_ms)


def whole(
    windows: WindowSet, plan: Plan, sink: Sink, ranges: Iterable[Range], lowest_ms: int
) -> list[Range]:
    """Ranges of the plan's feed, widened to whole windows, as far as these are known.

    Raises :class:`~common.errors.SinkError` and :class:`redis.exceptions.RedisError`.
    """
    feed, keys = plan.feed, windows.keys
    # First: what is written meanwhile is in the sink then.
    unsealed = windows_without_seal(windows.redis, keys, feed.name)
    reader = SealReader(sink, keys.namespace, feed.query, feed.tier)
    return whole_windows(reader, ranges, first_whole_ms(plan, lowest_ms), unsealed)


def _within(
    plan: Plan,
    status: FeedStatus,
    older: Sequence[Range],
    wanted: Range,
    lowest_ms: int,
    closed: Sequence[Range],
) -> tuple[list[Range], list[LeftOut]]:
    """What of a range can be extracted again, and what not; ``older``: what backfills have."""
    start_ms, end_ms = floor_to(wanted[0], plan.step_ms), ceil_to(wanted[1], plan.step_ms)
    # What the extractor would declare a gap of it.
    window = Window("", start_ms, end_ms, "", 0, "catchup")
    gap_ms = plan.expired_until_ms(window, status.origin_ms, lowest_ms or None) or 0
    first_ms = first_whole_ms(plan, lowest_ms)
    origin = (0, status.origin_ms)
    return take_out(
        (start_ms, end_ms),
        [
            ([*without([(0, gap_ms)], [origin]), *clipped([(0, first_ms)], *origin)], NOT_KEPT),
            (without([origin], older), BEFORE_ORIGIN),
            (closed, CLOSED),
            ([(status.head_ms, max(status.head_ms, end_ms))], AFTER_HEAD),
        ],
    )


def first_whole_ms(plan: Plan, lowest_ms: int) -> int:
    """From where on the source has all that the plan's query looks at; 0 = always."""
    return max(0, plan.first_ms(plan.needs().whole_from_ms(lowest_ms))) if lowest_ms else 0


def take_out(
    range_: Range, taken: Iterable[tuple[Iterable[Range], str]]
) -> tuple[list[Range], list[LeftOut]]:
    """What is left of a range; and what is not, for the first reason that it lies in."""
    ranges, left_out = merged([range_]), []
    for what, why in taken:
        rest = without(ranges, what)
        left_out += [LeftOut(*one, why) for one in without(ranges, rest)]
        ranges = rest
    return ranges, left_out


def waiting_ms(windows: WindowSet, opened: Iterable[Opened]) -> int:
    """How much of what was put back is not loaded yet, in ms."""
    # Before the feeds: what is committed meanwhile is seen twice, and not never.
    parts = by_feed(Backfills(windows.redis, windows.keys).parts())
    status = windows.status()
    total_ms = 0
    for one in opened:
        name = feed_of(one.query, one.tier)
        coming = [range_ for part in parts.get(name, ()) for range_ in part.coming]
        if feed := status.get(name):
            coming += [*feed.backlog, *feed.deferred, *feed.open, *feed.unsettled, *feed.below]
        total_ms += sum(length_ms(clipped(coming, *range_)) for range_ in merged(one.ranges))
    return total_ms


def wait_until_loaded(
    windows: WindowSet,
    opened: Sequence[Opened],
    most_seconds: float,
    progress: Callable[[int], None] = lambda left_ms: None,
    clock: Clock | None = None,
    on_trouble: Callable[[RedisError], None] | None = None,
) -> bool:
    """Whether all that was put back was loaded (or accounted for otherwise) in time.

    ``progress`` gets how much is still to come, in ms. A Redis that is away is waited for where
    there is ``on_trouble`` to say so; else its error is raised.
    """
    clock = clock or Clock()
    until = clock.monotonic() + most_seconds
    while True:
        try:
            left_ms = waiting_ms(windows, opened)
            progress(left_ms)
            if not left_ms:
                return True
        except RedisError as error:
            if on_trouble is None:
                raise
            on_trouble(error)
        if clock.monotonic() >= until:
            return False
        clock.sleep(POLL_SECONDS)


def lines(opened: Iterable[Opened]) -> list[str]:
    """What was put back and what was not, a line each."""
    said = []
    for one in opened:
        name = f"{one.query}@{one.tier}"
        said += [f"{name}: {rfc3339(s)} to {rfc3339(e)} is extracted again" for s, e in one.ranges]
        said += [
            f"{name}: {rfc3339(left.start_ms)} to {rfc3339(left.end_ms)} is not extracted again:"
            f" {left.why}"
            for left in one.left_out
        ]
    return said
