"""Backfills: time before a feed's origin that is extracted behind all that is live, kept in Redis.

A backfill has a part for each feed, which has a window set of its own: what is still to be
extracted of it never holds the feed's watermark. What is loaded right before the feed's origin is
joined: the feed begins earlier then. What was left out (cancelled, or deleted by the source) is no
gap of the feed: before its origin nothing was promised.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Literal

from redis import Redis

from common.state.again import backfill_fields, backfill_id
from common.state.feeds import Feed, FeedStatus, Range, feed_status, ranges_of
from common.state.feeds_reading import MOST_WINDOWS, read_feeds
from common.state.fields import text_of
from common.state.keys import STREAMS, Keys, part_of
from common.state.ranges import length_ms, merged, without
from common.state.scripts import Scripts
from common.state.windows import WindowSet

Order = Literal["newest", "oldest"]
State = Literal["running", "paused", "cancelled", "done"]
# Backfills that are done or cancelled, and are still listed.
KEPT_BACKFILLS = 50
# Entries of both streams that are in flight before no more of a backfill is extracted: live ones
# come after them.
MOST_ENTRIES_AHEAD = 16
# What ``configured`` ones are named by.
CONFIGURED = "auto"

_ID = re.compile(r"[A-Za-z0-9-]{1,40}")
_PART = re.compile(r"([\w:]+(?:@\w+){1,2})\+([A-Za-z0-9-]{1,40})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Part:
    """One feed's part of a backfill; its ranges are ``(start_ms, end_ms)``.

    ``left_out`` is no part of it: other backfills have it, the source had deleted it, or it was
    cancelled.
    """

    backfill: str
    feed: str
    fingerprint: str
    start_ms: int
    end_ms: int
    waiting: Sequence[Range]
    open: Sequence[Range]
    left_out: Sequence[Range]
    attempts: int

    @property
    def name(self) -> str:
        """What it is kept under."""
        return part_of(self.feed, self.backfill)

    @property
    def coming(self) -> list[Range]:
        """What is still to be extracted, in order."""
        return merged([*self.waiting, *self.open])

    @property
    def extracted(self) -> list[Range]:
        """What was extracted, in order."""
        return without([(self.start_ms, self.end_ms)], [*self.coming, *self.left_out])

    def of(self, feed: Feed) -> Feed:
        """``feed``, as the window set is told to work on this part of it."""
        return replace(feed, backfill=self.backfill)


@dataclass(frozen=True, slots=True)
class Backfill:
    """A backfill of ``(from_ms, to_ms]``.

    ``total_ms``: of all its feeds, of which ``gap_ms`` were not there (any more) and
    ``cancelled_ms`` will not be extracted. ``samples``: that were extracted. ``rate``: at most so
    many samples in a second; 0 = no limit. ``parts``: of feeds that have not joined theirs.
    """

    id: str
    state: State
    created_ms: int
    from_ms: int
    to_ms: int
    order: Order
    rate: float
    total_ms: int
    samples: int
    gap_ms: int
    cancelled_ms: int
    feeds: Sequence[str]
    parts: Sequence[Part]

    @property
    def coming_ms(self) -> int:
        """How much is still to be extracted."""
        return sum(length_ms(part.coming) for part in self.parts)

    @property
    def extracted_ms(self) -> int:
        """How much was extracted."""
        left_ms = self.gap_ms + self.cancelled_ms + self.coming_ms
        return max(0, self.total_ms - left_ms)


@dataclass
class Backfills:
    """All backfills of a pipeline.

    ``now_ms`` replaces the server's clock in tests. Every method raises
    :class:`redis.exceptions.RedisError` when the server cannot be reached.
    """

    redis: Redis
    keys: Keys
    _: KW_ONLY
    now_ms: Callable[[], int] | None = None
    new_id: Callable[[], str] = backfill_id

    def __post_init__(self) -> None:
        self._scripts = Scripts(self.redis, self.now_ms)

    def create(
        self,
        ranges: Mapping[Feed, Sequence[Range]],
        from_ms: int,
        to_ms: int,
        *,
        order: Order = "newest",
        rate: float = 0.0,
        configured: bool = False,
        lease: tuple[str, str] | None = None,
    ) -> tuple[str, dict[str, int]]:
        """Begin a backfill of these ranges, as far as they lie before their feed's origin.

        Its id, and how many ms of each feed were taken; a feed that belongs to another
        configuration, or whose watermark in the sink is not known yet, is left out. A
        ``configured`` one is begun once for each feed. ``lease``: as of :func:`extract_again`.
        """
        self._forget()
        keys = self.keys
        id_ = f"{CONFIGURED}-{self.new_id()}" if configured else self.new_id()
        feeds = [feed.name for feed, wanted in ranges.items() if wanted]
        fields = backfill_fields(feeds, from_ms, to_ms, order, rate)
        taken = {}
        for feed, wanted in ranges.items():
            if not wanted:
                continue
            part = part_of(feed.name, id_)
            taken_ms = self._scripts.call(
                "backfill/create",
                [
                    keys.feed(feed.name),
                    keys.history(feed.name),
                    *keys.of_backfill(id_, part),
                    *([] if lease is None else [lease[0]]),
                ],
                fingerprint=feed.fingerprint,
                id=id_,
                part=part,
                ranges=wanted,
                fields=fields,
                configured=configured,
                holder=lease and lease[1],
            )
            if taken_ms is not None:
                taken[feed.name] = int(taken_ms)
        return id_, taken

    def parts(self) -> list[Part]:
        """Every part that its feed has not joined, by name."""
        keys = self.keys
        if not self.redis.scard(keys.backfill_parts):
            return []
        found = read_feeds(self.redis, self._scripts, keys, keys.backfill_parts)
        return [part for name, one in sorted(found.items()) if (part := _part(name, one))]

    def all(self) -> list[Backfill]:
        """Every backfill, oldest first."""
        members: Any = self.redis.smembers(self.keys.backfill_ids)
        stored = {}
        for id_ in filter(_ID.fullmatch, map(text_of, members)):
            fields: Any = self.redis.hgetall(self.keys.backfill(id_))
            stored[id_] = {text_of(name): text_of(value) for name, value in fields.items()}
        # Read last: one that began meanwhile would seem to be done.
        parts = self.parts()
        found = [
            _backfill(id_, fields, [part for part in parts if part.backfill == id_])
            for id_, fields in stored.items()
            if fields
        ]
        return sorted(found, key=lambda one: (one.created_ms, one.id))

    def change(self, id_: str, state: State) -> bool:
        """Pause (``paused``), resume (``running``) or cancel a backfill; False where it is none."""
        parts = [part.name for part in self.parts() if part.backfill == id_]
        keys = [self.keys.backfill(id_), self.keys.backfill_parts, *self.keys.of_parts(parts)]
        return bool(self._scripts.call("backfill/change", keys, state=state, parts=parts))

    def gives_way(self) -> bool:
        """Whether so much is in flight that more of a backfill would keep live samples waiting."""
        entries = sum(int(self.redis.xlen(self.keys.stream(stream))) for stream in STREAMS)
        return entries >= MOST_ENTRIES_AHEAD

    def join(
        self, feed_name: str, parts: Iterable[Part], may_be_unsettled: Sequence[Range]
    ) -> int | None:
        """Let the feed begin with what is loaded right before it; its new origin in ms, if any.

        ``parts`` are all of that feed. Those that are in the feed then are forgotten.
        ``may_be_unsettled`` counts where so many windows are not settled that Redis would serve
        nobody else for too long: ranges, of what was read after the parts, in which all of the feed
        lies that is committed, and not settled.
        """
        keys, names = self.keys, [part.name for part in parts]
        origin_ms: int | None = self._scripts.call(
            "backfill/join",
            [keys.feed(feed_name), keys.committed, keys.backfill_parts, *keys.of_parts(names)],
            feed=feed_name,
            parts=names,
            most_windows=MOST_WINDOWS,
            may_be_unsettled=may_be_unsettled,
        )
        return origin_ms

    def close(self, part: Part, unplanned_seconds: float) -> bool:
        """Forget a part whose feed nobody planned for a while; whether it was forgotten.

        What was still to be extracted of it counts as cancelled.
        """
        keys = self.keys
        closed = self._scripts.call(
            "close",
            [
                *keys.of_feed(part.name),
                keys.backfill_parts,
                keys.sink_watermarks,
                keys.backfill(part.backfill),
            ],
            feed=part.name,
            unplanned_ms=int(unplanned_seconds * 1000),
        )
        return closed is not None

    def _forget(self) -> None:
        """Forget the oldest of those that are over."""
        over = [one for one in self.all() if not one.parts and one.state in ("done", "cancelled")]
        for one in over[:-KEPT_BACKFILLS]:
            self.redis.srem(self.keys.backfill_ids, one.id)
            self.redis.delete(self.keys.backfill(one.id))


def history(feed: FeedStatus, parts: Iterable[Part]) -> list[Range]:
    """What backfills have loaded of a feed before its origin; ``parts`` are those of that feed."""
    parts = list(parts)
    coming = [range_ for part in parts for range_ in part.coming]
    extracted = [range_ for part in parts for range_ in part.extracted]
    return without(extracted, [*coming, *feed.below, (feed.origin_ms, 2**62)])


def extract_again(
    windows: WindowSet,
    feed: Feed,
    ranges: Iterable[Range],
    lease: tuple[str, str] | None = None,
) -> int | None:
    """Put time that is loaded back, to be extracted again; how many ms were not waiting already.

    What lies before the feed's origin becomes another backfill. Late samples are looked for in
    live windows as before, but not again in what is extracted again: that is compared with the
    source. ``None`` when the feed is not ours, or when ``lease``, a key and what it held, is
    somebody else's by now.
    """
    backfills = Backfills(windows.redis, windows.keys, now_ms=windows.now_ms)
    # Read before the feed, which may join them meanwhile.
    coming = [one for part in backfills.parts() if part.feed == feed.name for one in part.coming]
    if (status := windows.status().get(feed.name)) is None:
        return None
    ranges = merged(ranges)
    own = without(ranges, [(0, status.origin_ms)])
    added = [windows.reopen(feed, *range_, recounted=True, lease=lease) for range_ in own]
    if older := without(ranges, [*own, *coming]):
        _, taken = backfills.create({feed: older}, older[0][0], older[-1][1], lease=lease)
        added.append(taken.get(feed.name))
        # It may have joined its feed since that was read: then it is no backfill's any more.
        added += [windows.reopen(feed, *range_, recounted=True, lease=lease) for range_ in older]
    return None if None in added else sum(filter(None, added))


def by_feed(parts: Iterable[Part], feeds: Collection[str] = ()) -> dict[str, list[Part]]:
    """Parts by the name of their feed."""
    found: dict[str, list[Part]] = {feed: [] for feed in feeds}
    for part in parts:
        found.setdefault(part.feed, []).append(part)
    return found


def _part(name: str, found: Mapping[str, Any]) -> Part | None:
    named = _PART.fullmatch(name)
    if named is None or not found["fields"]:
        return None
    status = feed_status(named[1], found)
    left_out = json.loads(found["fields"].get("left_out", "[]"))
    return Part(
        backfill=named[2],
        feed=named[1],
        fingerprint=status.fingerprint,
        start_ms=status.origin_ms,
        end_ms=status.head_ms,
        waiting=status.backlog,
        open=status.open,
        left_out=ranges_of(left_out),
        attempts=status.attempts,
    )


def _backfill(id_: str, fields: Mapping[str, str], parts: Sequence[Part]) -> Backfill:
    def number(name: str) -> int:
        return int(float(fields.get(name, 0)))

    state = fields.get("state", "running")
    if state != "cancelled" and not any(part.coming for part in parts):
        state = "done"
    return Backfill(
        id=id_,
        state=state,  # type: ignore[arg-type]
        created_ms=number("created_ms"),
        from_ms=number("from_ms"),
        to_ms=number("to_ms"),
        order="oldest" if fields.get("order") == "oldest" else "newest",
        rate=float(fields.get("rate", 0)),
        total_ms=number("total_ms"),
        samples=number("samples"),
        gap_ms=number("gap_ms"),
        cancelled_ms=number("cancelled_ms"),
        feeds=tuple(json.loads(fields.get("feeds", "[]"))),
        parts=parts,
    )
