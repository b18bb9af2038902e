"""What is measured: each thing that the services do with Redis, in the full state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from redis import Redis

from common.errors import EtlError
from common.samples.seal import Digest
from common.state.backfills import Backfills
from common.state.keys import POINTS, RAW, Keys
from common.state.ledger import Ledger
from common.state.seals import Seals
from common.state.stream import RedisStream
from common.state.verdict import Settle
from common.state.windows import WindowSet
from devtools.scaling.fill import (
    INTERVAL_MS,
    ORIGIN_MS,
    PAYLOAD,
    RECHECK_AFTER_SECONDS,
    SAMPLES,
    Filler,
    feed_of,
    transformed,
)
from services.exporter.redis_source import RedisSource

# A name for the reader, how often it is called, and the call.
Step = tuple[str, int, Callable[[], object]]
_HIGH_WATER_BYTES = 256 << 20
_HORIZON_MS = 300_000


class ReadingFailedError(EtlError):
    """What etl-metrics reads could not be read."""


def steps(redis: Redis, keys: Keys, filler: Filler) -> Iterator[Step]:
    """All steps; each changes little of what there is."""
    windows = WindowSet(redis, keys)
    raw = RedisStream(redis, keys, RAW, "worker", outbound=POINTS)
    points = RedisStream(redis, keys, POINTS, "worker")
    numbers, heads = count(), count(filler.head_ms + INTERVAL_MS, INTERVAL_MS)
    feeds = filler.feeds

    def plan() -> None:
        assert windows.plan(feeds[next(numbers) % len(feeds)], ORIGIN_MS, filler.head_ms)

    def extract() -> None:
        head_ms = next(heads)
        feed = feeds[head_ms // INTERVAL_MS % len(feeds)]
        windows.plan(feed, ORIGIN_MS, head_ms)
        window = windows.lease(feed, "live", _HORIZON_MS, INTERVAL_MS)
        assert window is not None
        staged = [windows.stage(PAYLOAD, SAMPLES, 60.0)]
        assert windows.renew(feed, window)
        done = windows.commit(
            feed,
            window,
            staged,
            recheck_after_seconds=RECHECK_AFTER_SECONDS,
            source_samples=SAMPLES,
        )
        assert done == "committed", done

    def settle(stream: RedisStream, verdict: Settle) -> Callable[[], None]:
        def one() -> None:
            (entry,) = stream.read(1, 0.001)
            assert stream.renew([entry.id]) == []
            assert stream.settle(entry, verdict, "stage").value == "ok"

        return one

    loaded = Settle(loaded=SAMPLES, digest=Digest(SAMPLES, (1, 2)))
    seals = Seals(redis, keys)

    def change() -> None:
        number = next(numbers)
        configuration = f'{{"kind": "select", "text": "{number}"}}'
        feed = feed_of(number % len(feeds), str(number))
        windows.plan(feed, ORIGIN_MS, filler.head_ms, adopt=True, configuration=configuration)

    backfills, oldest = Backfills(redis, keys), (ORIGIN_MS - INTERVAL_MS, ORIGIN_MS)
    windows.set_reconciled(feeds[0])
    backfills.create({feeds[0]: [oldest]}, *oldest)
    parts = backfills.parts()

    def join() -> None:
        assert backfills.join(feeds[0].name, parts, [oldest]) is None

    yield "plan a feed", 100, plan
    yield "plan, lease, stage and commit a live window", 40, extract
    yield "read, renew and settle an entry of raw", 40, settle(raw, transformed())
    yield "read, renew and settle an entry of points", 40, settle(points, loaded)
    yield "claim while all that is delivered waits", 1, lambda: points.claim(8)
    yield "join what a backfill has loaded", 1, join
    yield "back-pressure", 1, lambda: windows.pressure(_HIGH_WATER_BYTES, _HIGH_WATER_BYTES // 2)
    yield "the audit", 1, lambda: Ledger(redis, keys).audit()
    yield "the state of all feeds", 1, windows.status
    yield "one reading of etl-metrics", 1, lambda: _source(redis, keys).step(lambda: True)
    yield "a page of seals", 1, lambda: next(seals.pages())
    yield "a feed under a new configuration", 1, change


def deliver(redis: Redis, keys: Keys, entries: int) -> None:
    """Some entries of ``points`` are pending, and wait to be tried again."""
    stream = RedisStream(redis, keys, POINTS, "filler")
    while entries > 0:
        ids = [entry.id for entry in stream.read(min(500, entries), 0.001)]
        stream.release(ids, after_seconds=3_600.0)
        entries -= len(ids)


def _source(redis: Redis, keys: Keys) -> RedisSource:
    def set_ready(check: str, ok: bool, detail: str) -> None:
        if not ok or detail:
            raise ReadingFailedError(f"{check}: {detail}")

    return RedisSource(
        redis, keys, _Silent(), set_ready, poll_seconds=5.0, worker_silent_seconds=60.0
    )


class _Silent:
    def emit(self, event: str, /, **fields: Any) -> None:
        raise ReadingFailedError(f"{event}: {fields}")
