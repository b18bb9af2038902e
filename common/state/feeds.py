"""A feed, its windows, and what is known of it at one instant.

A feed (query and tier) owns the time from its origin to its head. All times are milliseconds since
the epoch on Prometheus' clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from common.state.keys import feed_of, part_of, split_feed

# A query that has matched no series for so long is worth a word: a target that went away, a rule
# that cannot match, a selector for another Prometheus.
EMPTY_SECONDS = 3600.0

WindowClass = Literal["live", "catchup"]
Range = tuple[int, int]  # start and end in ms


@dataclass(frozen=True, slots=True)
class Feed:
    """A query in a tier, under one configuration; or its part of the backfill of that id."""

    query: str
    tier: str
    kind: str
    fingerprint: str
    backfill: str = ""

    @property
    def name(self) -> str:
        """``query@tier``."""
        return feed_of(self.query, self.tier)

    @property
    def state_name(self) -> str:
        """What its windows are kept under."""
        return part_of(self.name, self.backfill) if self.backfill else self.name

    @property
    def labels(self) -> dict[str, Any]:
        """Of its metrics and events."""
        return {"query": self.query, "tier": self.tier}


@dataclass(frozen=True, slots=True)
class Window:
    """A leased window ``(start_ms, end_ms]``; ``token`` proves that the lease is ours."""

    id: str
    start_ms: int
    end_ms: int
    token: str
    attempts: int
    window_class: WindowClass


# A field of this class has the type's name.
Payload = bytes


@dataclass(frozen=True, slots=True)
class Staged:
    """A payload that waits under its own key for the window's commit, or here if it is held."""

    key: str
    samples: int
    bytes: int
    held: Payload = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """A feed at one instant; its ranges are ``(start_ms, end_ms)``.

    ``deferred``: what of the backlog could not be extracted by itself, and is tried again now and
    then. ``unsettled``: committed since the origin, and not settled; ``below``: the same of before
    the origin, by a backfill. ``reopened``: what was put back into the backlog, or may have been
    written over, since the verifier saw it last, as Redis keeps it. ``attempts``: how often
    extracting failed since it last succeeded, of the feed or of what is deferred.
    ``empty_since_ms``: up to where the query has matched series, or where its present configuration
    began. ``backfilled``: its configured backfill was begun. ``lag_limit_ms``: how far what is
    loaded lies behind now at most where all goes as it should, as the extractor says; 0 = nobody
    has said. ``settle_ms``: how long its samples are left to settle, and ``settle_why`` that is;
    empty = nobody has said.
    """

    query: str
    tier: str
    fingerprint: str
    origin_ms: int
    head_ms: int
    backlog: Sequence[Range]
    open: Sequence[Range]
    unsettled: Sequence[Range]
    attempts: int
    planned_ms: int
    gaps: int
    reconciled: bool = False
    deferred: Sequence[Range] = ()
    empty_since_ms: int = 0
    below: Sequence[Range] = ()
    backfilled: bool = False
    reopened: str = ""
    lag_limit_ms: int = 0
    settle_ms: int = 0
    settle_why: str = ""

    @property
    def name(self) -> str:
        """``query@tier``."""
        return feed_of(self.query, self.tier)

    @property
    def labels(self) -> dict[str, Any]:
        """Of its metrics and events."""
        return {"query": self.query, "tier": self.tier}

    @property
    def watermark_ms(self) -> int:
        """Everything up to here is committed (or a declared gap)."""
        return min([self.head_ms, *(start for start, _ in (*self.backlog, *self.open))])

    @property
    def loaded_watermark_ms(self) -> int:
        """Everything up to here is settled: loaded, or accounted for otherwise."""
        return min([self.watermark_ms, *(start for start, _ in self.unsettled)])

    def lag_ms(self, now_ms: int) -> int:
        """Age at ``now_ms`` of what is loaded."""
        return max(0, now_ms - self.loaded_watermark_ms)

    def is_behind(self, now_ms: int) -> bool:
        """Whether that is older than it is where all goes as it should."""
        return 0 < self.lag_limit_ms < self.lag_ms(now_ms)

    @property
    def empty_ms(self) -> int:
        """How long the query has matched no series, up to the newest time that is extracted."""
        extracted_ms = self.head_ms
        for start_ms, end_ms in sorted((*self.backlog, *self.open), reverse=True):
            if end_ms < extracted_ms:
                break
            extracted_ms = start_ms
        return max(0, extracted_ms - self.empty_since_ms)


@dataclass(frozen=True, slots=True, order=True)
class Recheck:
    """A committed range that is to be counted again, and what the source had of it then.

    ``digest``: of its samples, two sums modulo 2^32; zeros where they are only counted.
    ``round``: how many recounts it had; ``since``: how many of them before it was committed, more
    than 0 if one of them opened it again. ``failures``: how often the next one failed so far.
    """

    start_ms: int
    end_ms: int
    samples: int
    digest: tuple[int, int] = (0, 0)
    round: int = 0
    since: int = 0
    failures: int = 0

    @property
    def member(self) -> str:
        """How it is written in Redis."""
        numbers = (self.start_ms, self.end_ms, self.samples, *self.digest, self.round, self.since)
        return " ".join(map(str, (*numbers, self.failures)))

    @classmethod
    def parse(cls, member: str) -> Recheck:
        """The reverse; raises :class:`ValueError` for what is no recheck.

        An older version wrote the first three numbers alone.
        """
        start_ms, end_ms, samples, *more = map(int, member.split(" "))
        low, high, round_, since, failures = more or (0,) * 5
        return cls(start_ms, end_ms, samples, (low, high), round_, since, failures)


@dataclass(frozen=True, slots=True)
class Gap:
    """Time ``(start_ms, end_ms]`` that can never be extracted, and why."""

    start_ms: int
    end_ms: int
    reason: str


def feed_status(feed: str, found: Mapping[str, Any]) -> FeedStatus:
    """The status of ``feed`` as ``feeds.lua`` reports it."""
    fields: dict[str, str] = found["fields"]
    query, tier = split_feed(feed)
    head_ms = int(fields.get("head_ms", 0))
    origin_ms, committed = int(fields.get("origin_ms", head_ms)), ranges_of(found["unsettled"])
    return FeedStatus(
        query=query,
        tier=tier,
        fingerprint=fields.get("fingerprint", ""),
        origin_ms=origin_ms,
        head_ms=head_ms,
        backlog=ranges_of(found["backlog"]),
        open=ranges_of(found["open"]),
        unsettled=[range_ for range_ in committed if range_[1] > origin_ms],
        attempts=max(int(fields.get(name, 0)) for name in ("attempts", "deferred_attempts")),
        planned_ms=int(fields.get("planned_ms", 0)),
        gaps=int(found["gaps"]),
        reconciled=fields.get("reconciled") == "1",
        deferred=ranges_of(found["deferred"]),
        empty_since_ms=int(fields.get("empty_since_ms", head_ms)),
        below=[range_ for range_ in committed if range_[1] <= origin_ms],
        backfilled="backfilled" in fields,
        reopened=fields.get("reopened", ""),
        lag_limit_ms=int(fields.get("lag_limit_ms", 0)),
        settle_ms=int(fields.get("settle_ms", 0)),
        settle_why=fields.get("settle_why", ""),
    )


def empty_queries(feeds: Mapping[str, FeedStatus]) -> list[str]:
    """Names of the feeds whose query has matched no series for longer than ``EMPTY_SECONDS``."""
    return [name for name, feed in feeds.items() if feed.empty_ms > EMPTY_SECONDS * 1000]


def ranges_of(found: Any) -> list[Range]:
    """Ranges as a script replies them, in order; how many recounts they had is left out."""
    return sorted((int(range_[0]), int(range_[1])) for range_ in found)
