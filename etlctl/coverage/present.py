"""Coverage as a calendar in the terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

from common.durations import format_duration
from common.state.feeds import Range
from common.state.ranges import length_ms, without
from common.state.status.coverage import FeedCoverage, Samples
from common.state.status.findings import Finding
from etlctl.coverage.cells import HOUR_MS, Row, State, cell_ms, rows
from etlctl.coverage.findings import count
from etlctl.times import rfc3339

if TYPE_CHECKING:
    from rich.text import Text

EXAMPLES_MAX = 3
# Rows in a row of one and the same state are told, not drawn, from here on.
_ALIKE_MIN = 3
_LABEL_CHARS = 12
_INDENT = "  "

_STYLES = {
    State.DIFFERS: "bold red",
    State.GAP: "bold red",
    State.DEAD: "red",
    State.PURGED: "magenta",
    State.DEFERRED: "bold yellow",
    State.BACKLOG: "yellow",
    State.OPEN: "yellow",
    State.LOADED: "cyan",
    State.SEALED: "green",
    State.PROVEN: "green",
    State.WHOLE: "bold green",
    State.EXPIRED: "dim",
    State.NOTHING: "dim",
}


def calendar(feed: FeedCoverage) -> tuple[list[Text], set[State]]:
    """The lines of a feed's calendar, at most 80 characters wide, and which states they show."""
    from rich.text import Text

    group = 6 if cell_ms(feed.start_ms, feed.end_ms) == HOUR_MS else 10
    first, cells = (0, 24) if group == 6 else (1, 30)
    ruler = "".join(f"{number + first:02d}".ljust(group + 1) for number in range(0, cells, group))
    lines = [Text(_INDENT + " " * _LABEL_CHARS + ruler.rstrip(), style="dim")]
    shown: set[State] = set()
    for state, found in groupby(rows(feed), key=lambda row: row.only or id(row)):
        alike = list(found)
        for row in alike[:1] if len(alike) >= _ALIKE_MIN else alike:
            lines.append(_drawn(row, group))
            shown.update(cell for cell in row.cells if cell)
        if len(alike) >= _ALIKE_MIN and isinstance(state, State):
            line = Text(_INDENT + " " * _LABEL_CHARS)
            line.append(state.sign, style=_STYLES[state])
            lines.append(line.append(f" up to {alike[-1].label}"))
    return lines, shown


def legend(shown: Iterable[State]) -> Iterator[Text]:
    """What the signs mean, of those that were used; the first one wins within a cell."""
    from rich.text import Text

    used = set(shown)
    for state in State:
        if state in used:
            yield Text(_INDENT).append(state.sign, style=_STYLES[state]).append(f" {state.words}")


def summary(feed: FeedCoverage) -> str:
    """One line: how much of it there is."""
    gaps = [(gap.start_ms, gap.end_ms) for gap in feed.gaps]
    kept = without([*feed.planned, *feed.loaded, *gaps], feed.expired)
    if not kept:
        return f"{feed.name}: {'all of it has expired' if feed.expired else 'no window yet'}"
    said = f"{feed.name}: loaded {_duration(feed.loaded)} of {_duration(kept)}"
    sealed = "unknown" if feed.sealed is None else _duration(feed.sealed)
    said += f", proven {_duration(feed.proven)}, sealed {sealed}"
    return said


def examples(feed: FeedCoverage) -> Iterator[str]:
    """Where something is missing, at most three ranges of a kind."""
    kinds: Mapping[str, Sequence[str]] = {
        "differs": [f"{_span(*one[:2])}: {count(one.number, 'point')}" for one in feed.differing],
        "gap": [f"{_span(gap.start_ms, gap.end_ms)}: {gap.reason}" for gap in feed.gaps],
        "dead letters": [_samples(one) for one in feed.dead],
        "purged": [_samples(one) for one in feed.purged],
        "waits": [_span(*one) for one in feed.deferred],
        "backlog": [_span(*one) for one in feed.backlog],
    }
    for kind, found in kinds.items():
        yield from (f"{_INDENT}{kind}: {one}" for one in found[:EXAMPLES_MAX])
        if len(found) > EXAMPLES_MAX:
            yield f"{_INDENT}{kind}: {len(found) - EXAMPLES_MAX} more ranges"


def as_json(
    feeds: Sequence[FeedCoverage],
    found: Sequence[Finding],
    unread: Mapping[str, str],
    bounds: Range,
) -> dict[str, Any]:
    """Everything with its exact ranges ``(from_ms, to_ms]``, in ms since the epoch.

    ``well`` is None where it cannot be told. ``unread``: tier → why its seals could not be read.
    """
    return {
        "from_ms": bounds[0],
        "to_ms": bounds[1],
        "well": False if found else None if unread else True,
        "findings": [asdict(one) for one in found],
        "sink_errors": dict(unread),
        "feeds": [_feed_json(feed) for feed in feeds],
    }


def _feed_json(feed: FeedCoverage) -> dict[str, Any]:
    layers = {
        "planned": feed.planned,
        "loaded": feed.loaded,
        "proven": feed.proven,
        "sealed": feed.sealed,
        "open": feed.open,
        "backlog": feed.backlog,
        "deferred": feed.deferred,
        "expired": feed.expired,
    }
    return {
        "query": feed.query,
        "tier": feed.tier,
        **{name: ranges and [_bounds(*one) for one in ranges] for name, ranges in layers.items()},
        "gaps": [_bounds(gap.start_ms, gap.end_ms) | {"reason": gap.reason} for gap in feed.gaps],
        "differing": [_bounds(*one[:2]) | {"points": one.number} for one in feed.differing],
        "dead_lettered": [_bounds(*one[:2]) | {"samples": one.number} for one in feed.dead],
        "dead_lettered_samples_without_time": feed.timeless_dead,
        "purged": [_bounds(*one[:2]) | {"samples": one.number} for one in feed.purged],
        "purged_samples_without_time": feed.timeless_purged,
    }


def _drawn(row: Row, group: int) -> Text:
    from rich.text import Text

    line = Text(_INDENT + row.label.ljust(_LABEL_CHARS))
    for index, cell in enumerate(row.cells):
        # The 31st day stands with the ten before it.
        if index and index % group == 0 and index < 30:
            line.append(" ")
        line.append(cell.sign if cell else " ", style=_STYLES[cell] if cell else "")
    line.rstrip()
    return line


def _samples(one: Samples) -> str:
    return f"{_span(*one[:2])}: {count(one.number, 'sample')}"


def _bounds(start_ms: int, end_ms: int) -> dict[str, Any]:
    return {"from_ms": start_ms, "to_ms": end_ms}


def _span(start_ms: int, end_ms: int) -> str:
    return f"{rfc3339(start_ms)} to {rfc3339(end_ms)}"


def _duration(ranges: Iterable[Range]) -> str:
    return format_duration(length_ms(ranges) // 1_000 * 1_000)
