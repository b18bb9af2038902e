"""Points that the sink does not keep: known before they are posted, or refused as too old."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf

from common.config.load import Tier
from common.state.fields import count_of
from common.state.verdict import PUSHED, Entry
from services.loader import payload
from services.loader.influx import InfluxSink
from services.loader.lines import Lines, LineStatus
from services.loader.retention_cache import UnknownRetention

# No InfluxDB can be set to delete sooner than after an hour; the rest is for clocks that differ.
# What it refuses as too old though it is younger is refused in error: its clock may be ahead.
YOUNG_SECONDS = 3000.0

# Of what was pushed nothing says how far apart its lines are; requests are of minutes.
_PUSHED_MAX_MS = 2 * 86_400_000


@dataclass(frozen=True, slots=True)
class TooOld:
    """Tells by what the configuration says of a tier, and else by what the sink says."""

    tiers: Mapping[str, Tier]
    sink: InfluxSink
    unknown_retention: UnknownRetention
    wall_clock: Callable[[], float]

    def mark(self, entry: Entry, bucket: str) -> Lines | None:
        """The entry's lines, those marked that the tier does not keep; None if it looks young.

        Every series of a window spans the same time, so an entry whose first line is young enough
        holds at most a few old ones; those the sink will name. One that forgets them without a word
        gets none: there every line is looked at, unless the whole window is young enough.
        """
        silent_seconds = self.sink.silent_retention_seconds(bucket)
        self.unknown_retention.report(self.sink.retention_unknown)
        kept_seconds = min(self.tiers[entry.tier].retention_seconds or inf, silent_seconds or inf)
        if kept_seconds == inf:
            return None
        keep_from_ms = int((self.wall_clock() - kept_seconds) * 1000)
        if silent_seconds is None:
            first_ms = payload.first_timestamp_ms(entry.payload)
            is_young = first_ms is None or first_ms >= keep_from_ms
        else:
            is_young = _earliest_ms(entry) >= keep_from_ms
        if is_young:
            return None
        lines = Lines(payload.decode(entry.payload, entry.samples))
        lines.expire_before(keep_from_ms)
        return lines if LineStatus.EXPIRED in lines.status else None

    def refused_in_error(self, entry: Entry, lines: Lines) -> bool:
        """Whether the sink refused lines as too old that are not.

        Those that it refused rightly need no dead letter where somebody said how long it keeps
        points.
        """
        kept_seconds = self.tiers[entry.tier].retention_seconds
        if kept_seconds is None:
            return False
        young_from_seconds = self.wall_clock() - min(kept_seconds, YOUNG_SECONDS)
        in_error = lines.any_expired_after(int(young_from_seconds * 1000))
        lines.without_message(LineStatus.EXPIRED)
        return in_error


def _earliest_ms(entry: Entry) -> float:
    """The earliest time that a line of the entry can have; minus infinity where nothing says it."""
    if entry.window_id == PUSHED:
        first_ms = payload.first_timestamp_ms(entry.payload)
        return -inf if first_ms is None else first_ms - _PUSHED_MAX_MS
    is_said = count_of(entry.fields.get(b"end_ms"))  # older versions do not
    return count_of(entry.fields.get(b"start_ms")) + 1 if is_said else -inf
