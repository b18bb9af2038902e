"""The machine of the window set and the stages on real Redis, and on scripts that were broken.

Fewer walks than on the twins: a step costs some twenty round trips. Its clock is the test's own;
entries, whose leases run by the server's clock, are made to look older.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from redis import Redis

from common.samples.seal import Digest
from common.state import scripts
from common.state.dead_letters.kept import DeadLetters
from common.state.keys import GROUP, POINTS, RAW, STREAMS, Keys
from common.state.ledger import Audit, Ledger
from common.state.seals import Seals
from common.state.stream import RELEASED, RedisStream
from common.state.windows import Recheck, Staged, WindowSet
from tests.window_machine.broken import Broken
from tests.window_machine.broken_scripts import SCRIPTS
from tests.window_machine.machine import WindowMachine, notices, walk
from tests.window_machine.world import (
    ENTRY_LEASE_SECONDS,
    MAX_OPEN,
    WINDOW_LEASE_SECONDS,
    StoredDeadLetter,
)
from tests.window_machine.world import (
    Seals as Sealed,
)

# Long walks, each step of which waits for a server.
pytestmark = pytest.mark.timeout(240)

KEYS = Keys("machine")
MOST_WALKS = 100


class RedisWorld:
    """A pipeline's keys on a real server."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._ms = 1_700_000_000_000
        self.windows = WindowSet(
            redis,
            KEYS,
            lease_seconds=WINDOW_LEASE_SECONDS,
            max_open=MAX_OPEN,
            now_ms=self.now_ms,
        )
        self._dead_letters = DeadLetters(redis, KEYS)
        self._ledger = Ledger(redis, KEYS, now_ms=self.now_ms)
        self.lose_everything()

    def now_ms(self) -> int:
        return self._ms

    def advance(self, seconds: int) -> None:
        self._ms += seconds * 1000
        self._age_entries(seconds * 1000)

    def stream(self, inbound: str, consumer: str) -> RedisStream:
        return RedisStream(
            self._redis,
            KEYS,
            inbound,
            consumer,
            outbound=POINTS if inbound == RAW else None,
            lease_seconds=ENTRY_LEASE_SECONDS,
            now_ms=self.now_ms,
        )

    def audit(self) -> Audit:
        return self._ledger.audit()

    def unsettled(self) -> set[str]:
        found: Any = self._redis.hkeys(KEYS.unsettled)
        return {window.decode() for window in found}

    def payloads(self, stream: str) -> list[bytes]:
        entries: Any = self._redis.xrange(KEYS.stream(stream))
        return self._read([fields[b"payload"] for _, fields in entries])

    def dead_letters(self) -> list[StoredDeadLetter]:
        letters = list(self._dead_letters)
        payloads = self._read([letter.payload_key for letter in letters])
        return [
            StoredDeadLetter(letter, letter.stage, letter.window_id, payload)
            for letter, payload in zip(letters, payloads, strict=True)
        ]

    def replay(self, letter: StoredDeadLetter) -> bool:
        return self._dead_letters.replay(letter.handle)

    def purge(self, letter: StoredDeadLetter) -> bool:
        return self._dead_letters.purge(letter.handle)

    def seals(self) -> Sealed:
        return {
            (f"{seal.query}@{seal.tier}", seal.end_ms, seal.replayed): (
                None if seal.digest is None else Digest.parse(seal.points, seal.digest)
            )
            for page in Seals(self._redis, KEYS).pages()
            for seal in page
        }

    def rechecks(self, feed: str) -> dict[Recheck, int]:
        found: Any = self._redis.zrange(KEYS.rechecks(feed), 0, -1, withscores=True)
        return {Recheck.parse(member.decode()): int(due_ms) for member, due_ms in found}

    def expire(self, staged: Staged) -> None:
        assert self._redis.delete(staged.key) == 1
        self._redis.zrem(KEYS.staged, f"{staged.key} {staged.bytes}")

    def remember(self) -> object:
        keys: Any = self._redis.keys()
        return self._ms, [(key, self._redis.dump(key), self._redis.pttl(key)) for key in keys]

    def roll_back(self, remembered: Any) -> None:
        then_ms, dumped = remembered
        self._redis.flushall()
        for key, value, left_ms in dumped:
            self._redis.restore(key, max(0, left_ms), value)
        self._age_entries(self._ms - then_ms)

    def lose_everything(self) -> None:
        self._redis.flushall()

    def _read(self, keys: list[Any]) -> list[bytes]:
        found: Any = self._redis.mget(keys) if keys else []
        assert None not in found
        return list(found)

    def _age_entries(self, more_ms: int) -> None:
        for inbound in STREAMS:
            self.stream(inbound, "clock").ensure()
            name = KEYS.stream(inbound)
            found: Any = self._redis.xpending_range(name, GROUP, "-", "+", 1000)
            for pending in found:
                if pending["consumer"] != RELEASED.encode():
                    self._redis.xclaim(
                        name,
                        GROUP,
                        pending["consumer"],
                        0,
                        [pending["message_id"]],
                        idle=pending["time_since_delivered"] + more_ms,
                        justid=True,
                    )


@pytest.fixture
def machine(redis_client: Redis) -> type[WindowMachine]:
    class OnRedis(WindowMachine):
        make_world = staticmethod(lambda: RedisWorld(redis_client))

    return OnRedis


def test_any_order_of_events(machine: type[WindowMachine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=8,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


@pytest.mark.parametrize("seed", range(4))
def test_long_walks(machine: type[WindowMachine], seed: int) -> None:
    walk(machine, seed, steps=200)


@pytest.mark.parametrize("broken", SCRIPTS, ids=lambda broken: broken.what)
def test_a_broken_script_is_noticed(
    machine: type[WindowMachine], broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = scripts.source
    itself = whole(broken.where)
    # Before each script stands the prelude, which may have the same text, or alone has it.
    own = files("common.state").joinpath("lua", f"{broken.where}.lua").read_text(encoding="utf-8")
    part = own if broken.old in own else itself
    changed = itself.removesuffix(part) + broken.script(part)

    def source(name: str) -> str:
        return changed if name == broken.where else whole(name)

    monkeypatch.setattr(scripts, "source", source)

    assert notices(machine, broken.seed, MOST_WALKS)
