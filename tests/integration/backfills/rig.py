"""A feed and backfills of it, on real Redis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from redis import Redis

from common.state.backfills import Backfill, Backfills, Part
from common.state.feeds import Feed, FeedStatus, Range
from common.state.stream import RedisStream
from common.state.verdict import Settle
from common.state.windows import Window, WindowSet
from tests.integration.state.worlds import (
    FEED,
    STEP_MS,
    FakeClock,
    RedisWorld,
    bounds,
    commit,
    must,
)

ORIGIN_MS = 100 * STEP_MS
HEAD_MS = 110 * STEP_MS
ALL = (0, ORIGIN_MS)


class Rig:
    """A feed that is reconciled, and backfills of it."""

    def __init__(self, redis: Redis) -> None:
        self.clock = FakeClock()
        self.world = RedisWorld(redis, self.clock)
        self.redis, self.keys = redis, self.world.keys
        self.windows: WindowSet = self.world.windows()
        self.stream: RedisStream = self.world.stream("worker")
        self._ids = iter(range(10**6))
        self.backfills = Backfills(
            redis, self.keys, now_ms=self.clock, new_id=lambda: f"b{next(self._ids)}"
        )
        self.windows.plan(FEED, ORIGIN_MS, HEAD_MS)
        self.windows.set_reconciled(FEED)

    def begin(self, *ranges: Range, feed: Feed = FEED, **args: Any) -> str:
        id_, _ = self.backfills.create({feed: ranges or [ALL]}, *ALL, **args)
        return id_

    def lease(self, id_: str, steps: int = 10, feed: Feed = FEED) -> Window | None:
        part = replace(feed, backfill=id_)
        return self.windows.lease(part, "catchup", 0, steps * STEP_MS)

    def extract(self, id_: str, steps: int = 10, samples: int = 1) -> Range:
        window = must(self.lease(id_, steps))
        assert commit(self.windows, window, samples, replace(FEED, backfill=id_)) == "committed"
        return bounds(window)

    def settle(self) -> None:
        while entries := self.stream.read(100, 0.0):
            for entry in entries:
                assert self.stream.settle(entry, Settle(loaded=entry.samples), "loader")

    @property
    def feed(self) -> FeedStatus:
        return self.windows.status()[FEED.name]

    def part(self, id_: str) -> Part:
        (part,) = (part for part in self.backfills.parts() if part.backfill == id_)
        return part

    def one(self, id_: str) -> Backfill:
        (found,) = (one for one in self.backfills.all() if one.id == id_)
        return found

    def join(self) -> int | None:
        parts, feed = self.backfills.parts(), self.feed
        coming = [range_ for part in parts for range_ in part.coming]
        return self.backfills.join(FEED.name, parts, [*coming, *feed.below, *feed.unsettled])
