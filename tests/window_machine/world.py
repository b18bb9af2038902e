"""The world that the machine acts on: a Redis, or the twins in memory that stand for it."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from common.samples.seal import Digest
from common.state.keys import POINTS, RAW
from common.state.ledger import Audit
from common.state.stream import RedisStream
from common.state.windows import Recheck, Staged, WindowSet
from tests.doubles.memory_broker import MemoryBroker
from tests.doubles.memory_feeds import MemoryFeeds
from tests.doubles.memory_stream import MemoryStream
from tests.doubles.memory_windows import MemoryWindowSet

MAX_OPEN = 2
WINDOW_LEASE_SECONDS = 60
# Real entries age by the server's clock too; far from any sum of the times that pass below.
ENTRY_LEASE_SECONDS = 100
PASSING_SECONDS = (20, 130, 1_000)
STAGES = {RAW: "transformer", POINTS: "loader"}


# Feed, end in ms, and whether it is what was replayed → what was loaded of the window.
Seals = dict[tuple[str, int, bool], Digest | None]


@dataclass
class StoredDeadLetter:
    """A dead letter as a world knows it: ``handle`` is the world's own."""

    handle: Any
    stage: str
    window_id: str
    payload: bytes


class World(Protocol):
    """A pipeline's Redis, or what stands for it."""

    @property
    def windows(self) -> WindowSet | MemoryWindowSet: ...
    def now_ms(self) -> int: ...
    def advance(self, seconds: int) -> None: ...
    def stream(self, inbound: str, consumer: str) -> RedisStream: ...
    def audit(self) -> Audit: ...
    def unsettled(self) -> set[str]: ...
    def payloads(self, stream: str) -> list[bytes]: ...
    def dead_letters(self) -> list[StoredDeadLetter]: ...
    def replay(self, letter: StoredDeadLetter) -> bool: ...
    def purge(self, letter: StoredDeadLetter) -> bool: ...
    def expire(self, staged: Staged) -> None: ...
    def seals(self) -> Seals: ...
    def rechecks(self, feed: str) -> dict[Recheck, int]: ...
    def remember(self) -> object: ...
    def roll_back(self, remembered: Any) -> None: ...
    def lose_everything(self) -> None: ...


class MemoryWorld:
    """The twins, or broken copies of them."""

    broker: MemoryBroker
    feeds: MemoryFeeds

    def __init__(
        self,
        make_broker: Callable[[Callable[[], int]], MemoryBroker] = MemoryBroker,
        make_stream: Callable[..., RedisStream] = MemoryStream,
        make_feeds: Callable[[], MemoryFeeds] = MemoryFeeds,
        make_windows: Callable[..., MemoryWindowSet] = MemoryWindowSet,
    ) -> None:
        self._ms = 1_700_000_000_000
        self._make_broker, self._make_stream = make_broker, make_stream
        self._make_feeds, self._make_windows = make_feeds, make_windows
        # Ids come from a clock, random tokens from nowhere: neither is lost with Redis.
        self._ids, self._random = itertools.count(1), itertools.count(1)
        self.lose_everything()

    @property
    def windows(self) -> MemoryWindowSet:
        return self._make_windows(
            self.broker,
            self.feeds,
            lease_seconds=WINDOW_LEASE_SECONDS,
            max_open=MAX_OPEN,
            key_token=lambda: f"random{next(self._random)}",
        )

    def now_ms(self) -> int:
        return self._ms

    def advance(self, seconds: int) -> None:
        self._ms += seconds * 1000

    def stream(self, inbound: str, consumer: str) -> RedisStream:
        return cast(RedisStream, _Following(self, inbound, consumer))

    def current(self, inbound: str, consumer: str) -> RedisStream:
        """The consumer's view of what is there now."""
        return self._make_stream(
            self.broker,
            inbound,
            consumer,
            outbound=POINTS if inbound == RAW else None,
            lease_seconds=ENTRY_LEASE_SECONDS,
        )

    def audit(self) -> Audit:
        return self.broker.audit()

    def unsettled(self) -> set[str]:
        return set(self.broker.unsettled)

    def payloads(self, stream: str) -> list[bytes]:
        entries = self.broker.state(stream).entries
        return [self.broker.payloads[entry.payload_key] for entry in entries.values()]

    def dead_letters(self) -> list[StoredDeadLetter]:
        return [
            StoredDeadLetter(letter, letter["stage"], letter["window"], letter["payload"])
            for letter in self.broker.dead
        ]

    def replay(self, letter: StoredDeadLetter) -> bool:
        return self.broker.replay(letter.handle, RAW if letter.stage == STAGES[RAW] else POINTS)

    def purge(self, letter: StoredDeadLetter) -> bool:
        return self.broker.purge(letter.handle)

    def seals(self) -> Seals:
        return dict(self.broker.seals.due)

    def rechecks(self, feed: str) -> dict[Recheck, int]:
        known = self.feeds.rechecks.get(feed, {})
        return {Recheck.parse(member): due_ms for member, due_ms in known.items()}

    def expire(self, staged: Staged) -> None:
        self.broker.staged[staged.key].expires_ms = 0

    def remember(self) -> object:
        kept = {id(kept): kept for kept in (self.broker.now_ms, self._ids)}
        return copy.deepcopy(self.broker, kept), copy.deepcopy(self.feeds)

    def roll_back(self, remembered: Any) -> None:
        self.broker, self.feeds = remembered

    def lose_everything(self) -> None:
        self.broker, self.feeds = self._make_broker(self.now_ms), self._make_feeds()
        self.broker.ids = self._ids
        for stream in STAGES:
            self.broker.state(stream)


class _Following:
    """A worker's stream: after a roll-back or a loss it talks to the Redis that is there then."""

    def __init__(self, world: MemoryWorld, inbound: str, consumer: str) -> None:
        self._world, self._names = world, (inbound, consumer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.current(*self._names), name)
