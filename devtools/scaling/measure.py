"""What Redis' slow log says of the commands of one step: how long each kept everybody waiting."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from redis import Redis

from common.state.fields import text_of
from common.state.scripts import source
from devtools.bench.machine import cpu_seconds as _cpu_seconds

ROUNDS = 3
LEAST_MICROSECONDS = 200
_MOST_COMMANDS = 100_000
_SCRIPTS = (
    *("plan", "lease", "stage", "commit", "renew", "settle", "claim", "release", "pressure"),
    *("audit/step", "audit/records", "feeds", "dead_letters/counts", "remove_unchanged"),
    "backfill/join",
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One step. ``longest_ms``: Redis' longest command, in the round where that was quickest: a
    busy machine counts in it.

    ``cpu_ms``: processor time of Redis for each call, whatever the machine does beside it.
    """

    step: str
    calls: int
    longest_ms: float
    longest: str
    cpu_ms: float
    wall_ms: float

    def document(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


class Meter:
    """Measures steps on one server of this machine."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._pid = int(redis.info("server")["process_id"])
        # What a script calls is logged too: what is quick would only be in the way.
        redis.config_set("slowlog-log-slower-than", LEAST_MICROSECONDS)
        redis.config_set("slowlog-max-len", _MOST_COMMANDS)

    def measure(self, step: str, calls: int, call: Callable[[], object]) -> Measured:
        """The figures of one step: some rounds of so many calls each."""
        longest, cpu_ms, wall_ms = [], [], []
        call()  # the server is sent what it does not know yet
        for _ in range(ROUNDS):
            self._redis.slowlog_reset()
            cpu_seconds, began = _cpu_seconds(self._pid), time.perf_counter()
            for _ in range(calls):
                call()
            wall_ms.append((time.perf_counter() - began) * 1000 / calls)
            cpu_ms.append((_cpu_seconds(self._pid) - cpu_seconds) * 1000 / calls)
            found: Any = self._redis.slowlog_get(_MOST_COMMANDS)
            took = ((one["duration"] / 1000, text_of(one["command"])) for one in found)
            longest.append(max(took, default=(0.0, "")))
        longest_ms, command = min(longest)
        return Measured(
            step,
            calls * ROUNDS,
            round(longest_ms, 3),
            _name_of(command),
            round(statistics.median(cpu_ms), 3),
            round(statistics.median(wall_ms), 3),
        )


def _name_of(command: str) -> str:
    word, *rest = command.split(" ")
    return _names().get(rest[0], word) if word.startswith("EVALSHA") else word


def _names() -> dict[str, str]:
    return {
        hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest(): f"{name}.lua"
        for name in _SCRIPTS
    }
