"""A feed's coverage as cells of a day or an hour, in rows of a month or a day, all in UTC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

from common.state.feeds import Range
from common.state.ranges import merged, overlaps, without
from common.state.status.coverage import FeedCoverage

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
# Of a longer range, a cell is a day.
HOURS_UP_TO_MS = 14 * DAY_MS


class State(Enum):
    """What a cell shows, and what it means. Of what is in a cell, the first one is shown."""

    DIFFERS = ("!", "differs from the source")
    GAP = ("G", "a gap: the source had deleted it before it was extracted")
    DEAD = ("D", "has dead letters")
    PURGED = ("-", "has dead letters that were purged")
    DEFERRED = ("W", "cannot be extracted at present, and waits")
    BACKLOG = ("B", "backlog, not extracted yet")
    OPEN = ("O", "being extracted or loaded")
    LOADED = ("L", "loaded")
    SEALED = ("S", "loaded and sealed")
    PROVEN = ("P", "loaded and proven")
    WHOLE = ("#", "loaded, proven and sealed")
    EXPIRED = ("X", "deleted by the sink's retention")
    NOTHING = (".", "nothing planned")

    def __init__(self, sign: str, words: str) -> None:
        self.sign = sign
        self.words = words


@dataclass(frozen=True, slots=True)
class Row:
    """A month of days or a day of hours; a cell that lies outside of the range is None."""

    label: str
    cells: Sequence[State | None]

    @property
    def only(self) -> State | None:
        """The state of all of its cells, if they have one."""
        first = self.cells[0]
        return first if all(cell is first for cell in self.cells) else None


def cell_ms(start_ms: int, end_ms: int) -> int:
    """How long a cell is that shows a part of ``(start_ms, end_ms]``."""
    return HOUR_MS if end_ms - start_ms <= HOURS_UP_TO_MS else DAY_MS


def rows(feed: FeedCoverage) -> Iterator[Row]:
    """The calendar of ``feed``."""
    state_of = _States(feed)
    unit_ms = cell_ms(feed.start_ms, feed.end_ms)
    row_ms = _row_start_ms(feed.start_ms, unit_ms)
    while row_ms < feed.end_ms:
        next_ms = _next_row_ms(row_ms, unit_ms)
        yield Row(
            f"{_utc(row_ms):{'%Y-%m-%d' if unit_ms == HOUR_MS else '%Y-%m'}}",
            [state_of(cell, cell + unit_ms) for cell in range(row_ms, next_ms, unit_ms)],
        )
        row_ms = next_ms


class _States:
    """Tells the state of each cell of a feed."""

    def __init__(self, feed: FeedCoverage) -> None:
        self._range = (feed.start_ms, feed.end_ms)
        self._expired, self._loaded = feed.expired, feed.loaded
        self._shown: Sequence[tuple[State, list[Range]]] = [
            (State.DIFFERS, merged(one[:2] for one in feed.differing)),
            (State.GAP, merged((gap.start_ms, gap.end_ms) for gap in feed.gaps)),
            (State.DEAD, merged(one[:2] for one in feed.dead)),
            (State.PURGED, merged(one[:2] for one in feed.purged)),
            (State.DEFERRED, feed.deferred),
            (State.BACKLOG, feed.backlog),
            (State.OPEN, feed.open),
        ]
        self._unproven = without(feed.loaded, feed.proven)
        self._unsealed = without(feed.loaded, feed.sealed or ())

    def __call__(self, start_ms: int, end_ms: int) -> State | None:
        start_ms, end_ms = max(start_ms, self._range[0]), min(end_ms, self._range[1])
        if start_ms >= end_ms:
            return None
        for state, ranges in self._shown:
            if overlaps(ranges, start_ms, end_ms):
                return state
        if overlaps(self._loaded, start_ms, end_ms):
            proven = not overlaps(self._unproven, start_ms, end_ms)
            sealed = not overlaps(self._unsealed, start_ms, end_ms)
            if proven:
                return State.WHOLE if sealed else State.PROVEN
            return State.SEALED if sealed else State.LOADED
        return State.EXPIRED if overlaps(self._expired, start_ms, end_ms) else State.NOTHING


def _row_start_ms(time_ms: int, unit_ms: int) -> int:
    first = _utc(time_ms).replace(hour=0, minute=0, second=0, microsecond=0)
    return _ms(first if unit_ms == HOUR_MS else first.replace(day=1))


def _next_row_ms(row_ms: int, unit_ms: int) -> int:
    if unit_ms == HOUR_MS:
        return row_ms + DAY_MS
    return _ms((_utc(row_ms) + timedelta(days=31)).replace(day=1))


def _utc(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms // 1_000, UTC)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000
