"""A pipeline's Redis for the contract tests: a real server, and the twins in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from redis import Redis

from common.state.keys import GROUP, POINTS, RAW, Keys
from common.state.ledger import Audit, Ledger
from common.state.stream import RELEASED, RedisStream
from common.state.windows import Feed, Window, WindowSet
from tests.doubles.memory_broker import MemoryBroker
from tests.doubles.memory_feeds import MemoryFeeds
from tests.doubles.memory_stream import MemoryStream
from tests.doubles.memory_windows import MemoryWindowSet

Windows = WindowSet | MemoryWindowSet

FEED = Feed("q", "hot", "expr", "f1")
STEP_MS = 1000
ENTRY_LEASE_SECONDS = 10.0
WINDOW_LEASE_SECONDS = 60.0


class FakeClock:
    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.ms

    def advance(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)


class World(Protocol):
    clock: FakeClock

    def windows(self, max_open: int = 100) -> Windows: ...
    def stream(self, consumer: str, inbound: str = RAW, max_dead: int = 100) -> RedisStream: ...
    def audit(self) -> Audit: ...
    def entries(self) -> int: ...
    def unsettled(self) -> int: ...
    def payload(self, key: str) -> bytes | None: ...
    def expires(self, key: str) -> bool: ...
    def expire_leases(self) -> None: ...
    def delete_entry(self, id_: str) -> None: ...
    def delete_payload(self, key: str) -> None: ...
    def delete_record(self, id_: str) -> None: ...
    def delete_records(self) -> None: ...
    def acknowledge(self, id_: str) -> None: ...
    def lose_everything(self) -> None: ...


class MemoryWorld:
    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.lose_everything()

    def windows(self, max_open: int = 100) -> MemoryWindowSet:
        return MemoryWindowSet(
            self.broker, self.feeds, lease_seconds=WINDOW_LEASE_SECONDS, max_open=max_open
        )

    def stream(self, consumer: str, inbound: str = RAW, max_dead: int = 100) -> MemoryStream:
        return MemoryStream(
            self.broker,
            inbound,
            consumer,
            outbound=POINTS if inbound == RAW else None,
            lease_seconds=ENTRY_LEASE_SECONDS,
            dead_letters_max_entries=max_dead,
        )

    def audit(self) -> Audit:
        return self.broker.audit()

    def entries(self) -> int:
        return len(self.broker.state(RAW).entries)

    def unsettled(self) -> int:
        return len(self.broker.unsettled)

    def payload(self, key: str) -> bytes | None:
        return self.broker.payloads.get(key)

    def expires(self, key: str) -> bool:
        return key in self.broker.staged

    def expire_leases(self) -> None:
        self.clock.advance(ENTRY_LEASE_SECONDS + 1)

    def delete_entry(self, id_: str) -> None:
        del self.broker.state(RAW).entries[id_]

    def delete_payload(self, key: str) -> None:
        del self.broker.payloads[key]

    def delete_record(self, id_: str) -> None:
        del self.broker.state(RAW).in_flight[id_]

    def delete_records(self) -> None:
        self.broker.state(RAW).in_flight.clear()

    def acknowledge(self, id_: str) -> None:
        del self.broker.state(RAW).pending[id_]

    def lose_everything(self) -> None:
        self.broker, self.feeds = MemoryBroker(self.clock), MemoryFeeds()
        for stream in (RAW, POINTS):
            self.broker.state(stream)


class RedisWorld:
    keys = Keys("contract")

    def __init__(self, redis: Redis, clock: FakeClock) -> None:
        self.redis, self.clock = redis, clock

    def windows(self, max_open: int = 100) -> WindowSet:
        return WindowSet(
            self.redis,
            self.keys,
            lease_seconds=WINDOW_LEASE_SECONDS,
            max_open=max_open,
            now_ms=self.clock,
        )

    def stream(self, consumer: str, inbound: str = RAW, max_dead: int = 100) -> RedisStream:
        stream = RedisStream(
            self.redis,
            self.keys,
            inbound,
            consumer,
            outbound=POINTS if inbound == RAW else None,
            lease_seconds=ENTRY_LEASE_SECONDS,
            dead_letters_max_entries=max_dead,
            now_ms=self.clock,
        )
        stream.ensure()
        return stream

    def audit(self) -> Audit:
        return Ledger(self.redis, self.keys, now_ms=self.clock).audit()

    def entries(self) -> int:
        return int(self.redis.xlen(self.keys.stream(RAW)))

    def unsettled(self) -> int:
        return int(self.redis.hlen(self.keys.unsettled))

    def payload(self, key: str) -> bytes | None:
        found = self.redis.get(key)
        assert found is None or isinstance(found, bytes)
        return found

    def expires(self, key: str) -> bool:
        return self.redis.pttl(key) > 0

    def expire_leases(self) -> None:
        """Leases run by the server's clock: make every pending entry look idle for long."""
        self.clock.advance(ENTRY_LEASE_SECONDS + 1)
        name = self.keys.stream(RAW)
        found: Any = self.redis.xpending_range(name, GROUP, "-", "+", 1000)
        for pending in found:
            if pending["consumer"] != RELEASED.encode():
                self.redis.xclaim(
                    name,
                    GROUP,
                    pending["consumer"],
                    0,
                    [pending["message_id"]],
                    idle=int(ENTRY_LEASE_SECONDS * 1000) + 1,
                    justid=True,
                )

    def delete_entry(self, id_: str) -> None:
        assert self.redis.xdel(self.keys.stream(RAW), id_) == 1

    def delete_payload(self, key: str) -> None:
        assert self.redis.delete(key) == 1

    def delete_record(self, id_: str) -> None:
        assert self.redis.hdel(self.keys.in_flight(RAW), id_) == 1

    def delete_records(self) -> None:
        assert self.redis.delete(self.keys.in_flight(RAW)) == 1

    def acknowledge(self, id_: str) -> None:
        assert self.redis.xack(self.keys.stream(RAW), GROUP, id_) == 1

    def lose_everything(self) -> None:
        self.redis.flushall()


def extract(world: World, payloads: Sequence[tuple[bytes, int]]) -> None:
    """Commit the next window of the feed with payloads of so many samples."""
    windows = world.windows()
    found = windows.status().get(FEED.name)
    windows.plan(FEED, 0, (found.head_ms if found else 0) + STEP_MS)
    window = must(live(windows))
    staged = [windows.stage(payload, samples, 3600) for payload, samples in payloads]
    assert windows.commit(FEED, window, staged) == "committed"


def live(windows: Windows, feed: Feed = FEED, longest_ms: int = 10 * STEP_MS) -> Window | None:
    return windows.lease(feed, "live", 10**12, longest_ms)


def must(window: Window | None) -> Window:
    assert window is not None
    return window


def bounds(window: Window) -> tuple[int, int]:
    return window.start_ms, window.end_ms


def commit(windows: Windows, window: Window, samples: int = 1, feed: Feed = FEED) -> str:
    return windows.commit(feed, window, [windows.stage(b"p", samples, 60)] if samples else [])
