"""Fills Redis through the real scripts, many commands at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import Any, TypeVar

from redis import Redis

from common.samples.seal import Digest
from common.state.feeds import Feed, Recheck, Staged, Window
from common.state.keys import POINTS, RAW, Keys
from common.state.scripts import Scripts
from common.state.stream import RedisStream
from common.state.verdict import Output, Settle
from common.state.windows import WindowSet

INTERVAL_MS = 15_000
ORIGIN_MS = 1_700_000_000_000 // INTERVAL_MS * INTERVAL_MS
# When the recounts of settled windows are due: not while this runs.
FAR_MS = 4_000_000_000_000
STAGED_MS = 600_000
# One series of 20 samples, packed: how large a payload is does not matter to the scripts.
PAYLOAD = bytes(range(200))
SAMPLES = 20
RECHECK_AFTER_SECONDS = (3_600.0, 21_600.0, 86_400.0)
_AT_ONCE = 500

_T = TypeVar("_T")


class Queued(Exception):
    """The command is in the pipeline; nobody has its reply yet."""


class QueuedScripts(Scripts):
    """Puts scripts into a pipeline of Redis commands."""

    def __init__(self, redis: Redis) -> None:
        self.pipe = redis.pipeline(transaction=False)
        super().__init__(self.pipe)

    def call(
        self,
        name: str,
        keys: Sequence[str],
        payloads: Sequence[bytes] = (),
        put: Mapping[str, bytes] = MappingProxyType({}),
        **args: Any,
    ) -> Any:
        """Queue the script."""
        for key, payload in put.items():
            self.pipe.set(key, payload)
        super().call(name, keys, payloads, **args)
        raise Queued


@dataclass(frozen=True, slots=True)
class Size:
    """What is put into Redis. ``windows`` are committed in all, ``entries`` of them in flight."""

    feeds: int
    windows: int
    entries: int


class Filler:
    """The pipeline of ``size`` in Redis, as after an hour without a sink."""

    def __init__(self, redis: Redis, keys: Keys, size: Size) -> None:
        self.redis, self.keys, self.size = redis, keys, size
        self.feeds = [feed_of(number) for number in range(size.feeds)]
        self.windows = WindowSet(redis, keys)
        self._queued = QueuedScripts(redis)
        self._windows = WindowSet(redis, keys, max_open=_AT_ONCE)
        self._windows._scripts = self._queued
        self.head_ms = ORIGIN_MS

    def fill(self, say: Callable[[str], None]) -> None:
        """All of it."""
        settled, in_flight = self.size.windows - self.size.entries, self.size.entries
        say(f"{self.size.feeds} feeds, {settled} windows that were settled")
        border_ms = ORIGIN_MS + -(-settled // self.size.feeds) * INTERVAL_MS
        self.plan(border_ms, adopt=True)
        self._settled(settled)
        say(f"{in_flight} windows of one entry each")
        self.head_ms = border_ms + -(-in_flight // self.size.feeds) * INTERVAL_MS
        self.plan(self.head_ms)
        self._commit(in_flight)
        transformed_entries = in_flight // 10
        say(f"{transformed_entries} entries to the stream points")
        self._transform(transformed_entries)

    def _settled(self, count: int) -> None:
        """What windows leave behind that were settled, and whose seals no sink has taken yet."""
        pipe, text = self.redis.pipeline(transaction=False), Digest().text
        for number, feed in enumerate(self.feeds):
            of_feed = range(number, count, len(self.feeds))
            bounds = [
                (ORIGIN_MS + i * INTERVAL_MS, ORIGIN_MS + (i + 1) * INTERVAL_MS)
                for i in range(len(of_feed))
            ]
            pipe.hset(self.keys.feed(feed.name), "ranges", "[]")
            if not bounds:
                continue
            members = [Recheck(start, end, SAMPLES).member for start, end in bounds]
            due = [
                f"{start} {SAMPLES} {text} {end} w{i}-x" for i, (start, end) in enumerate(bounds)
            ]
            fields = [f"{feed.name} {end}" for _, end in bounds]
            pipe.zadd(self.keys.rechecks(feed.name), {m: FAR_MS + i for i, m in enumerate(members)})
            pipe.hset(self.keys.seals_due, mapping=dict(zip(fields, due, strict=True)))
            if len(pipe) >= _AT_ONCE:
                pipe.execute()
        pipe.execute()

    def plan(self, head_ms: int, *, adopt: bool = False) -> None:
        """Plan every feed up to ``head_ms``."""
        for some in _some(self.feeds):
            self._run(
                partial(
                    self._windows.plan,
                    feed,
                    ORIGIN_MS,
                    head_ms,
                    adopt=adopt,
                    configuration='{"kind":"select","text":"x"}' if adopt else "",
                    lag_limit_ms=60_000,
                )
                for feed in some
            )

    def _commit(self, count: int) -> None:
        for some in _some(self.feeds[number % len(self.feeds)] for number in range(count)):
            leased = self._run(
                partial(self._windows.lease, feed, "catchup", 0, INTERVAL_MS) for feed in some
            )
            keys = [self.keys.payload(self.windows.key_token()) for _ in some]
            staged = [Staged(key, SAMPLES, len(PAYLOAD)) for key in keys]
            self._run(partial(self._stage, one) for one in staged)
            replies = self._run(
                partial(
                    self._windows.commit,
                    feed,
                    _window(window),
                    [one],
                    recheck_after_seconds=RECHECK_AFTER_SECONDS,
                    source_samples=SAMPLES,
                )
                for feed, window, one in zip(some, leased, staged, strict=True)
            )
            assert set(replies) == {b"committed"}, set(replies)

    def _stage(self, one: Staged) -> None:
        keys = [one.key, self.keys.staged]
        put = {one.key: PAYLOAD}
        self._queued.call("stage", keys, put=put, keep_ms=STAGED_MS, bytes=len(PAYLOAD))

    def _transform(self, count: int) -> None:
        stream = RedisStream(self.redis, self.keys, RAW, "filler", outbound=POINTS)
        stream.ensure()
        RedisStream(self.redis, self.keys, POINTS, "filler").ensure()
        queued = RedisStream(self.redis, self.keys, RAW, "filler", outbound=POINTS)
        queued._scripts = self._queued
        left = count
        while left > 0:
            entries = stream.read(min(_AT_ONCE, left), 0.001)
            replies = self._run(
                partial(queued.settle, entry, transformed(), "transformer") for entry in entries
            )
            assert set(replies) == {b"ok"}, set(replies)
            left -= len(entries)

    def _run(self, calls: Iterable[Callable[[], Any]]) -> list[Any]:
        for call in calls:
            with suppress(Queued):
                call()
        replies = self._queued.pipe.execute()
        return [reply for reply in replies if reply is not True]  # those of SET


def transformed() -> Settle:
    """What becomes of an entry in the transformer."""
    return Settle(outputs=(Output(PAYLOAD, SAMPLES, Digest()),))


def feed_of(number: int, configuration: str = "1") -> Feed:
    """A feed; three tiers of each query."""
    tier = ("hot", "warm", "cold")[number % 3]
    return Feed(f"query_{number // 3:05d}", tier, "select", f"fingerprint-{configuration}")


def _some(items: Iterable[_T]) -> Iterator[list[_T]]:
    rest = iter(items)
    while some := list(islice(rest, _AT_ONCE)):
        yield some


def _window(leased: list[Any]) -> Window:
    id_, start_ms, end_ms, token, attempts = leased
    return Window(id_.decode(), start_ms, end_ms, token.decode(), attempts, "catchup")
