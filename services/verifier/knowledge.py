"""What Redis knows that explains a missing point: windows, gaps, dead letters."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from redis import Redis

from common.errors import WireError
from common.samples.batch import Origin, SampleBatch
from common.samples.inflate import GZIP_MAGIC, inflate, lines_bytes_max
from common.samples.line_names import FIELD
from common.samples.rollup import sample_field
from common.state.backfills import Backfills, Part, history
from common.state.dead_letters.counted import counted
from common.state.dead_letters.kept import DeadLetters
from common.state.dead_letters.payloads import with_payloads
from common.state.dead_letters.purged import LATEST_MS, extent_of, purged
from common.state.fields import text_of
from common.state.history import Change, changes_of
from common.state.keys import Keys, feed_of
from common.state.ranges import without
from common.state.windows import FeedStatus, Recheck, WindowSet
from services.verifier.expect import Identify, expect
from services.verifier.explain import EVERYWHERE, PURGED, UNREADABLE, Allowance, Facts, Range
from services.verifier.points import SeriesKey
from services.verifier.rollup import mapped
from services.verifier.source import SourceSeries

_FOREVER_MS = 2**62

# Timestamps of the dead-lettered points, and how many samples lie in unreadable dead letters.
_Dead = tuple[dict[SeriesKey, NDArray[np.int64]], int]


class Knowledge:
    """What the pipeline knows about its own work; here only how long the sink keeps points.

    ``forgotten_up_to_ms`` gives the time up to which the sink has deleted them; 0 if it does not.
    """

    def __init__(self, forgotten_up_to_ms: Callable[[], int] = lambda: 0) -> None:
        self._forgotten_up_to_ms = forgotten_up_to_ms

    def pending(self, query: str) -> Mapping[str, Sequence[Range]]:
        """By reason, where points of the query may rightly not have arrived yet."""
        return {}

    def origin_ms(self, query: str) -> int:
        """The beginning of what was extracted of the query; 0 where that is not known."""
        return 0

    def begin_ms(self, query: str) -> int:
        """The same, with what backfills have before it."""
        return self.origin_ms(query)

    def recounts(self, query: str) -> Sequence[Recheck]:
        """Committed ranges that are to be compared with the source again."""
        return ()

    def changes(self, query: str) -> Sequence[Change]:
        """Which configurations of the query were in force, oldest first."""
        return ()

    def facts(self, query: str) -> Facts:
        """Everything else that explains missing points of the query."""
        return Facts({"beyond_retention": [Range(0, self._forgotten_up_to_ms())]})


class RedisKnowledge(Knowledge):
    """Reads the window set and the dead letters of one tier.

    ``identify`` gives, by query, the transform of dead letters that were never transformed.
    Every method raises :class:`redis.exceptions.RedisError` when the server cannot be reached.
    """

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        tier: str,
        identify: Mapping[str, Identify],
        forgotten_up_to_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        super().__init__(forgotten_up_to_ms)
        self._redis = redis
        self._keys = keys
        self._windows = WindowSet(redis, keys)
        self._backfills = Backfills(redis, keys)
        self._tier = tier
        self._identify = identify
        self._dead_known: dict[str, tuple[tuple[int, bytes], _Dead]] = {}

    def feed(self, query: str) -> FeedStatus | None:
        """The feed of a query, None where nothing was ever planned."""
        return self._windows.status().get(feed_of(query, self._tier))

    def origin_ms(self, query: str) -> int:
        """The beginning of what was extracted of the query; 0 where that is not known."""
        feed = self.feed(query)
        return feed.origin_ms if feed else 0

    def begin_ms(self, query: str) -> int:
        """The same, with what backfills have before it."""
        starts_ms = [part.start_ms for part in self._parts(query)]
        return min([self.origin_ms(query), *starts_ms])

    def pending(self, query: str) -> Mapping[str, Sequence[Range]]:
        """Where points may still be on their way (``in_flight``) or were not extracted yet.

        A query that Redis does not know excuses nothing: Redis may have lost everything.
        """
        parts = self._parts(query)
        feed = self.feed(query)
        if feed is None:
            return {}
        in_flight = [*feed.open, *feed.unsettled, *feed.below]
        coming = [*feed.backlog, (feed.head_ms, _FOREVER_MS)]
        for part in parts:
            in_flight += part.open
            coming += part.waiting
        return {
            "in_flight": [Range(*bounds) for bounds in in_flight],
            "not_extracted": [Range(*bounds) for bounds in coming],
        }

    def _parts(self, query: str) -> list[Part]:
        """Its parts of backfills. Read before the feed, which may join them meanwhile."""
        name = feed_of(query, self._tier)
        return [part for part in self._backfills.parts() if part.feed == name]

    def recounts(self, query: str) -> Sequence[Recheck]:
        """Committed ranges that are to be compared with the source again, in order."""
        key = self._keys.rechecks(feed_of(query, self._tier))
        found: Any = self._redis.zrange(key, 0, -1)
        return sorted(filter(None, map(_recheck, map(text_of, found))))

    def changes(self, query: str) -> Sequence[Change]:
        """Which configurations of the query were in force, oldest first."""
        return changes_of(self._redis, self._keys, feed_of(query, self._tier))

    def facts(self, query: str) -> Facts:
        """Gaps, the time before the first window, what the sink has deleted, dead letters, kept
        or purged.
        """
        parts = self._parts(query)
        feed = self.feed(query)
        gaps = self._windows.gaps(feed_of(query, self._tier))
        ranges = {
            "gap": [Range(gap.start_ms, gap.end_ms) for gap in gaps],
            "before_origin": [
                Range(*bounds) for bounds in without([(0, feed.origin_ms)], history(feed, parts))
            ]
            if feed
            else [],
            **super().facts(query).ranges,
        }
        feed_name = feed_of(query, self._tier)
        allowances = [
            Allowance(
                PURGED, EVERYWHERE if end_ms == LATEST_MS else Range(start_ms, end_ms), points
            )
            for start_ms, end_ms, points in purged(self._redis, self._keys, feed_name)
        ]
        # Of those that were only counted the windows are known.
        only_counted = Counter[Range]()
        for letters in counted(self._redis, self._keys):
            if letters.feed == feed_name:
                for start_ms, end_ms, samples in letters.windows:
                    only_counted[Range(start_ms, end_ms)] += samples
        allowances += [Allowance(UNREADABLE, *one) for one in only_counted.items()]
        return Facts(ranges, *self._dead(query), allowances=allowances)

    def _dead(self, query: str) -> _Dead:
        """Points in the dead letters of a query; read again only when there are others."""
        newest: Any = self._redis.xrevrange(self._keys.dead, count=1)
        length = int(self._redis.xlen(self._keys.dead))
        state = (length, newest[0][0] if newest else b"")
        known = self._dead_known.get(query)
        if known and known[0] == state:
            return known[1]
        times: dict[SeriesKey, list[int]] = {}
        unreadable = 0
        feed = feed_of(query, self._tier)
        ours = (one for one in DeadLetters(self._redis, self._keys) if one.feed == feed)
        for letter, payload in with_payloads(self._redis, self._keys, ours):
            points = list(self._points(query, payload or b"", letter.samples))
            for series, timestamp_ms in points:
                times.setdefault(series, []).append(timestamp_ms)
            if not points:
                unreadable += extent_of(payload or b"", letter.samples).points
        dead = {series: np.array(found, dtype=np.int64) for series, found in times.items()}
        self._dead_known[query] = state, (dead, unreadable)
        return dead, unreadable

    def _points(self, query: str, payload: bytes, claimed: int) -> Iterator[tuple[SeriesKey, int]]:
        """The points in a payload: refused lines, or samples as they were extracted."""
        try:
            batch = SampleBatch.decode(payload, claimed)
        except WireError:
            yield from points_of_lines(payload, claimed, rolled=self._tier != "hot")
            return
        identify = self._identify.get(query)
        if identify is None:
            return
        samples = batch.samples
        for labels, start, end in zip(samples.series, samples.starts, samples.ends, strict=True):
            try:
                series = SourceSeries(
                    json.loads(labels), samples.timestamps_ms[start:end], samples.values[start:end]
                )
            except (ValueError, RecursionError):
                continue
            for key, column in expect([series], identify).points.items():
                yield from _points_of(key, column.timestamps_ms, batch.origin)


def _points_of(
    key: SeriesKey, times_ms: NDArray[np.int64], origin: Origin
) -> Iterator[tuple[SeriesKey, int]]:
    """The points that samples of a series were to become."""
    if origin.rollup is not None:
        resolution_ms = origin.rollup.resolution_ms
        ends_ms = np.unique(-(-times_ms // resolution_ms) * resolution_ms)
        key = mapped(key)
        times_ms = ends_ms[(ends_ms > origin.start_ms) & (ends_ms <= origin.end_ms)]
    for time_ms in times_ms.tolist():
        yield key, time_ms


def _recheck(member: str) -> Recheck | None:
    try:
        return Recheck.parse(member)
    except ValueError:  # somebody else's
        return None


# Parts of a line (InfluxDB line protocol): a measurement goes up to an unescaped comma or space, a
# tag's key or value ends at an unescaped equals sign too.
_MEASUREMENT = re.compile(r"(?:\\.|[^\\, ]|\\$)*", re.DOTALL)
_TAG_PART = re.compile(r"(?:\\.|[^\\, =]|\\$)*", re.DOTALL)
_ESCAPED_IN_MEASUREMENT = re.compile(r"\\([, ])")
_ESCAPED = re.compile(r"\\([, =])")
_TIMES_MS = range(-(2**63), 2**63)


def points_of_lines(
    payload: bytes, samples: int, *, rolled: bool = False
) -> Iterator[tuple[SeriesKey, int]]:
    """Series and timestamp (ms) of every line that can be read; the payload may be gzip.

    ``samples`` is how many it says that it holds; ``rolled``: its fields are aggregates.
    """
    if payload.startswith(GZIP_MAGIC):
        try:
            payload = inflate(payload, lines_bytes_max(samples))
        except WireError:
            return
    for line in payload.split(b"\n"):
        try:
            yield _point_of_line(line.decode("utf-8"), rolled)
        except ValueError:
            continue


def _point_of_line(line: str, rolled: bool) -> tuple[SeriesKey, int]:
    head, _, timestamp = line.rpartition(" ")
    escaped, position = _part(_MEASUREMENT, head, 0)
    measurement = _ESCAPED_IN_MEASUREMENT.sub(r"\1", escaped)
    tags = {}
    while position < len(head) and head[position] == ",":
        name, position = _part(_TAG_PART, head, position + 1)
        if head[position : position + 1] != "=":
            raise ValueError("a tag without a value")
        value, position = _part(_TAG_PART, head, position + 1)
        tags[_ESCAPED.sub(r"\1", name)] = _ESCAPED.sub(r"\1", value)
    if not measurement or head[position : position + 1] != " ":
        raise ValueError("no line protocol")
    name, _ = _part(_TAG_PART, head, position + 1)
    field = _ESCAPED.sub(r"\1", name)
    if rolled:
        field = sample_field(field) or FIELD
    timestamp_ms = int(timestamp)
    if timestamp_ms not in _TIMES_MS:
        raise ValueError("no time that a point can have")
    return SeriesKey.of(measurement, tags, field), timestamp_ms


def _part(pattern: re.Pattern[str], text: str, position: int) -> tuple[str, int]:
    match = pattern.match(text, position)
    assert match  # it matches the empty text
    return match[0], match.end()
