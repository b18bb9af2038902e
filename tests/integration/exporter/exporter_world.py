"""A pipeline in Redis for tests of etl-metrics, and a source that reads it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import redis

from common.state.connection.redis_client import connect
from common.state.keys import POINTS, RAW, Keys
from common.state.stream import RedisStream
from common.state.verdict import DeadLetter, Output, Settle
from common.state.windows import Feed, WindowSet
from services.exporter.reading import Reading
from services.exporter.redis_source import RedisSource
from tests.support.captured_log import CapturedLog

FEED = Feed("q", "hot", "select", "f1")
OTHER_FEED = Feed("r", "warm", "expr", "f1")
# Its samples are of 1970.
_NEVER_BEHIND_MS = 10**13


def populate(client: redis.Redis, keys: Keys) -> None:
    """Two feeds with 100 and 40 samples.

    Of the first, 40 wait as raw samples and 60 were transformed: 5 of those dropped, 7 became a
    dead letter, 18 loaded, 30 wait as points in a loader's hands. Of the second, one window is
    open, and its 40 samples wait as raw ones.
    """
    windows = WindowSet(client, keys)
    windows.plan(FEED, 0, 180_000, lag_limit_ms=_NEVER_BEHIND_MS)
    for samples in (30, 30, 40):
        window = windows.lease(FEED, "live", 10**9, 60_000)
        assert window is not None
        assert windows.commit(FEED, window, [windows.stage(b"x", samples, 60)]) == "committed"
    raw = RedisStream(client, keys, RAW, "transformer-a", outbound=POINTS)
    raw.ensure()
    for drops, dead in ((5, 7), (0, 0)):
        (entry,) = raw.read(1, 1.0)
        letters = [DeadLetter("rejected", "words", b"payload", dead)] if dead else []
        rest = Output(b"y", entry.samples - drops - dead)
        verdict = Settle(outputs=[rest], drops={"nan": drops} if drops else {}, dead=letters)
        raw.settle(entry, verdict, "transformer")
    points = RedisStream(client, keys, POINTS, "loader-a")
    points.ensure()
    first, _ = points.read(2, 1.0)
    points.settle(first, Settle(loaded=18), "loader")
    windows.set_reconciled(FEED)

    windows.plan(OTHER_FEED, 0, 240_000)
    window = windows.lease(OTHER_FEED, "live", 10**9, 60_000)
    assert window is not None
    assert windows.commit(OTHER_FEED, window, [windows.stage(b"x", 40, 60)]) == "committed"
    assert windows.lease(OTHER_FEED, "live", 10**9, 60_000) is not None


class Rig:
    """A source over a Redis, and what it said."""

    def __init__(
        self,
        url: str,
        keys: Keys,
        password: str | None = None,
        *,
        poll_seconds: float = 10.0,
        timeout_seconds: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
        show: Callable[[Reading, float], None] = lambda reading, valid_seconds: None,
    ) -> None:
        self.log = CapturedLog(secrets=[password or ""])
        self.ready: dict[str, tuple[bool, str]] = {}
        self.source = RedisSource(
            connect(url, password, socket_timeout_seconds=timeout_seconds),
            keys,
            self.log,
            self.set_ready,
            poll_seconds=poll_seconds,
            worker_silent_seconds=60,
            clock=clock,
            show=show,
        )

    def set_ready(self, name: str, ok: bool, detail: str) -> None:
        self.ready[name] = (ok, detail)

    def step(self) -> float:
        return self.source.step(lambda: True)

    def series(self, name: str) -> dict[tuple[str, ...], float]:
        """The series of a metric by their labels' values, in the table's order."""
        page = self.source.page()
        assert page is not None
        return page.values.get(name, {})

    def value(self, name: str, *labels: str) -> float | None:
        return self.series(name).get(labels)

    @property
    def names(self) -> set[str]:
        page = self.source.page()
        assert page is not None
        return set(page.values)

    @property
    def events(self) -> list[dict[str, Any]]:
        return self.log.lines

    def close(self) -> None:
        self.source.close()
