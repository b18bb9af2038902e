"""What is planned, leased, committed and still unsettled, for each feed, kept in Redis.

A feed (query and tier) owns the time from its origin to its head. That time is made of backlog
ranges, open windows (at most a few, cut from the backlog), and windows that are committed; windows
are half-open, ``(start, end]``, aligned and contiguous by construction, because every script that
takes a piece away puts the rest back.

All times are milliseconds since the epoch on Prometheus' clock; leases run by the Redis server's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from common.state.feeds import (
    Feed,
    FeedStatus,
    Gap,
    Range,
    Recheck,
    Staged,
    Window,
    WindowClass,
    feed_status,
    ranges_of,
)
from common.state.feeds_reading import MOST_WINDOWS, read_feeds
from common.state.fields import text_of
from common.state.history import id_of
from common.state.keys import RAW, STREAMS, part_of
from common.state.window_leases import WindowLeases, leased

__all__ = ["Feed", "FeedStatus", "Gap", "Range", "Recheck", "Staged", "Window"]
__all__ += ["WindowClass", "WindowSet"]

# Behind all time that is ever planned.
_END_OF_TIME_MS = 1 << 50
# More than any configuration has.
MOST_RECOUNTS = 1000
# What is raw is expected to take at most so many times more once it is transformed.
MOST_GROWTH = 4.0
# Of each stream, for back-pressure: some milliseconds of Redis' time.
MOST_MEASURED_ENTRIES = 2_000


@dataclass
class WindowSet(WindowLeases):
    """The window set of every feed.

    Every method raises :class:`redis.exceptions.RedisError` when the server cannot be reached.
    """

    def plan(
        self,
        feed: Feed,
        origin_ms: int,
        head_ms: int,
        *,
        adopt: bool = False,
        configuration: str = "",
        backfills: Sequence[str] = (),
        lag_limit_ms: int = 0,
        settle_ms: int = 0,
        settle_why: str = "",
        may_be_unsettled: Sequence[Range] = (),
    ) -> bool:
        """Extend the feed's time to ``head_ms``; a new feed begins at ``origin_ms``.

        False when the feed belongs to another configuration and ``adopt`` is not set; with it, the
        feed and its parts of ``backfills`` become ours, and open windows are cut anew. A
        ``configuration`` that was not in force last is noted (:mod:`common.state.history`).
        ``lag_limit_ms``, ``settle_ms``, ``settle_why``: those of :class:`FeedStatus`.
        ``may_be_unsettled``: what is noted of the feed where so many windows are not settled that
        looking for its own takes too long.
        """
        planned = self._scripts.call(
            "plan",
            [
                *self.keys.of_feed(feed.state_name),
                self.keys.feeds,
                self.keys.history(feed.name),
                self.keys.committed,
                *self.keys.of_parts(part_of(feed.name, id_) for id_ in backfills),
            ],
            feed=feed.name,
            fingerprint=feed.fingerprint,
            adopt=adopt,
            origin_ms=origin_ms,
            head_ms=head_ms,
            configuration=configuration,
            configuration_id=id_of(configuration),
            lag_limit_ms=lag_limit_ms,
            settle_ms=settle_ms,
            settle_why=settle_why,
            most_windows=MOST_WINDOWS,
            may_be_unsettled=may_be_unsettled,
        )
        return bool(planned)

    def close(
        self, feed_name: str, unplanned_seconds: float, reason: str
    ) -> Sequence[Range] | None:
        """Close a feed that nobody planned for a while; ``None`` when somebody did.

        Its backlog is declared a gap and returned as ``(start_ms, end_ms)``.
        """
        keys = self.keys
        backlog = self._scripts.call(
            "close",
            [*keys.of_feed(feed_name), keys.feeds, keys.sink_watermarks],
            feed=feed_name,
            unplanned_ms=int(unplanned_seconds * 1000),
            reason=reason,
        )
        return None if backlog is None else ranges_of(backlog)

    def stage(self, payload: bytes, samples: int, keep_seconds: float) -> Staged:
        """Put a payload aside for a commit; it expires by itself after ``keep_seconds``."""
        key = self.keys.payload(self.key_token())
        keep_ms = int(keep_seconds * 1000)
        self._scripts.call(
            "stage",
            [key, self.keys.staged],
            put={key: payload},
            keep_ms=keep_ms,
            bytes=len(payload),
        )
        return Staged(key, samples, len(payload))

    def hold(self, payload: bytes, samples: int) -> Staged:
        """The same for a payload that stays here until the commit takes it along."""
        return Staged(self.keys.payload(self.key_token()), samples, len(payload), payload)

    def discard(self, staged: Sequence[Staged]) -> int:
        """Remove payloads that are not committed, as far as is known; how many were staged."""
        if not staged:
            return 0
        keys = [self.keys.staged, *(item.key for item in staged)]
        return int(self._scripts.call("discard", keys, bytes=[item.bytes for item in staged]))

    def commit(
        self,
        feed: Feed,
        window: Window,
        staged: Sequence[Staged],
        *,
        recheck_after_seconds: Sequence[float] = (),
        source_samples: int = 0,
        digest: tuple[int, int] = (0, 0),
        dropped: Mapping[str, int] = MappingProxyType({}),
        matched: bool = True,
    ) -> str:
        """Close the window and hand its entries to the raw stream, all or nothing.

        At each of ``recheck_after_seconds`` the window is to be counted again, to be opened again
        if the source does not have ``source_samples`` of this ``digest`` in it any more. A window
        that was opened again goes on with the recounts that are left. ``dropped``: samples by
        reason that the window had beside those staged; they are counted with it. ``matched``:
        whether the query gave anything (:attr:`FeedStatus.empty_ms`).

        ``committed``; ``refused`` when the lease or configuration is not ours any more;
        ``unstaged`` when a staged payload expired; ``wrong_type`` when a key holds something else.
        """
        keys = self.keys
        reply: bytes = self._scripts.call(
            "commit",
            [
                keys.feed(feed.state_name),
                keys.windows(feed.state_name),
                keys.gaps(feed.name),
                keys.rechecks(feed.state_name),
                keys.stream(RAW),
                keys.in_flight(RAW),
                keys.ledger,
                keys.unsettled,
                keys.committed,
                keys.staged,
                *(item.key for item in staged),
                *self._backfill(feed),
                keys.dead_purged,
                *keys.of_seals(),
            ],
            put={item.key: item.held for item in staged if item.held},
            **leased(feed, window),
            feed=feed.name,
            query=feed.query,
            tier=feed.tier,
            kind=feed.kind,
            staged=[(item.samples, item.bytes) for item in staged],
            recheck_after_ms=_ms(recheck_after_seconds),
            source_samples=source_samples,
            digest=digest,
            dropped=dict(dropped),
            matched=matched,
            backfill=bool(feed.backfill),
        )
        return reply.decode()

    def reopen(
        self,
        feed: Feed,
        start_ms: int,
        end_ms: int,
        *,
        extend: bool = False,
        done: Sequence[Recheck] = (),
        recounted: bool = False,
        lease: tuple[str, str] | None = None,
    ) -> int | None:
        """Put ``(start_ms, end_ms]`` back into the backlog; how many ms were not in it or open.

        Only time within the feed, unless ``extend`` moves its origin back to ``start_ms``. The
        same step removes the rechecks in ``done``, whose recounts are not made once more. What was
        ``recounted`` is not counted again. ``None`` when the feed is not ours, or none of ``done``
        waits any more: another extractor has found the same; or when ``lease``, a key and what it
        held, is somebody else's by now.
        """
        return self._reopen(
            feed,
            [] if lease is None else [lease[0]],
            start_ms=start_ms,
            end_ms=end_ms,
            extend=extend,
            reconcile=False,
            done=[recheck.member for recheck in done],
            round=max((one.round + 1 for one in done), default=MOST_RECOUNTS * recounted),
            holder=lease and lease[1],
        )

    def _reopen(self, feed: Feed, more_keys: Sequence[str], **args: Any) -> int | None:
        added: int | None = self._scripts.call(
            "reopen",
            [*self.keys.of_feed(feed.state_name), self.keys.history(feed.name), *more_keys],
            fingerprint=feed.fingerprint,
            **args,
        )
        return added

    def due_rechecks(self, feed: Feed, limit: int) -> list[Recheck]:
        """Committed ranges whose time to be counted again has come, at most ``limit``."""
        key = self.keys.rechecks(feed.name)
        found: Any = self.redis.zrangebyscore(
            key, "-inf", self._scripts.now_ms(), start=0, num=limit
        )
        due = []
        for member in found:
            try:
                recheck = Recheck.parse(text_of(member))
            except ValueError:  # somebody else's
                self.redis.zrem(key, member)
                continue
            due.append(recheck)
            if recheck.member.encode() != member:
                self.redis.zadd(key, {recheck.member: 0})
                self.redis.zrem(key, member)
        return sorted(due)

    def pass_rechecks(
        self,
        feed: Feed,
        done: Sequence[Recheck],
        after_seconds: Sequence[float],
        longest_seconds: float,
    ) -> None:
        """These were counted again, and nothing had changed: until the next recount, if any.

        ``after_seconds``: of each recount since the commit. Ranges that adjoin become one of at
        most ``longest_seconds``.
        """
        self._recheck(
            feed, done, "pass", after_ms=_ms(after_seconds), longest_ms=int(longest_seconds * 1000)
        )

    def postpone_rechecks(
        self, feed: Feed, rechecks: Sequence[Recheck], after_seconds: float, failures: int = 1
    ) -> None:
        """These could not be counted: they are due again after a while, with more failures."""
        after_ms = int(after_seconds * 1000)
        self._recheck(feed, rechecks, "postpone", after_ms=after_ms, failures=failures)

    def _recheck(self, feed: Feed, rechecks: Sequence[Recheck], verb: str, **args: Any) -> None:
        if rechecks:
            keys, members = self.keys.of_feed(feed.name), [one.member for one in rechecks]
            self._scripts.call("recheck", keys, rechecks=members, verb=verb, **args)

    def forget_rechecks(self, feed: Feed, done: Sequence[Recheck]) -> None:
        """These are not counted any more."""
        if done:
            self.redis.zrem(self.keys.rechecks(feed.name), *(one.member for one in done))

    def sink_watermarks(self) -> dict[str, int | None]:
        """What the sink reported of feeds' loaded watermarks, in ms; ``None``: it knows none."""
        found: Any = self.redis.hgetall(self.keys.sink_watermarks)
        return {
            feed.decode(): int(value) if value.isdigit() else None for feed, value in found.items()
        }

    def set_sink_watermark(self, feed_name: str, watermark_ms: int | None) -> None:
        """Remember what the sink reported of a feed, unless that is known already."""
        value = "" if watermark_ms is None else str(watermark_ms)
        self.redis.hsetnx(self.keys.sink_watermarks, feed_name, value)

    def set_reconciled(self, feed: Feed, start_ms: int | None = None) -> int | None:
        """Let the feed begin no later than ``start_ms``, the sink's watermark, if there is one.

        From now on it may replace that; how many ms were put back. ``None`` when the feed is not
        ours, or another extractor has done so: much may be extracted since.
        """
        return self._reopen(
            feed,
            [],
            start_ms=_END_OF_TIME_MS if start_ms is None else start_ms,
            end_ms=0,
            extend=True,
            reconcile=True,
            done=[],
            round=0,
        )

    def pressure(self, high_water_bytes: int, low_water_bytes: int) -> tuple[bool, int]:
        """Whether extraction must pause, and the bytes in flight, as Redis' memory will have them.

        What is not transformed yet counts as if it were: nothing stops it from becoming that.
        """
        keys = self.keys
        paused, in_flight_bytes = self._scripts.call(
            "pressure",
            [keys.back_pressure, keys.staged, *(keys.in_flight(stream) for stream in STREAMS)],
            high_water_bytes=high_water_bytes,
            low_water_bytes=low_water_bytes,
            most_growth=MOST_GROWTH,
            most_entries=MOST_MEASURED_ENTRIES,
        )
        return bool(paused), int(in_flight_bytes)

    def status(self) -> dict[str, FeedStatus]:
        """Every feed, by feed name: at one instant, unless they are very many."""
        found = read_feeds(self.redis, self._scripts, self.keys, self.keys.feeds)
        return {feed: feed_status(feed, one) for feed, one in sorted(found.items())}

    def gaps(self, feed: str) -> list[Gap]:
        """The declared gaps of a feed, oldest declaration first."""
        return [
            Gap(int(gap["s"]), int(gap["e"]), str(gap["reason"]))
            for gap in map(json.loads, self.redis.lrange(self.keys.gaps(feed), 0, -1))
        ]


def _ms(times_seconds: Sequence[float]) -> list[int]:
    return [int(seconds * 1000) for seconds in times_seconds]
