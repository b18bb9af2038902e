"""A stage over a stream in memory, with a handler of the test's own."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry

from common.runtime.stage import Lifecycle, Stage, StageLimits
from common.runtime.telemetry import Telemetry
from common.state.keys import POINTS, RAW
from common.state.verdict import DeadLetter, Entry, Settle, Verdict
from tests.doubles.memory_broker import MemoryBroker
from tests.doubles.memory_stream import MemoryStream

LIMITS = StageLimits(
    read_entries=4,
    poison_crashes=3,
    backoff_base_seconds=0.001,
    backoff_max_seconds=0.002,
    block_seconds=0.0,
)


class Handler:
    stage = "transformer"

    def __init__(self, judge: Callable[[Entry], Verdict]) -> None:
        self.judge = judge
        self.batches: list[list[str]] = []
        self.reason: str | None = None
        self.checks = 0
        self.closed = False

    def handle(self, entries: Sequence[Entry]) -> list[Verdict]:
        self.batches.append([entry.payload.decode() for entry in entries])
        return [self.judge(entry) for entry in entries]

    def check(self) -> str | None:
        self.checks += 1
        return self.reason

    def close(self) -> None:
        self.closed = True


class Bench:
    """A broker, a stage over it, and what its service would see."""

    def __init__(self, judge: Callable[[Entry], Verdict]) -> None:
        self.now_ms = 1_700_000_000_000
        self.broker = MemoryBroker(lambda: self.now_ms)
        self.handler = Handler(judge)
        self.registry = CollectorRegistry()
        self.telemetry = Telemetry("transformer", self.registry)
        self.ready: dict[str, tuple[bool, str]] = {}
        self.stop = threading.Event()
        self.ticks = 0
        self.stream = self.make_stream("w0")
        self.stage = self.make_stage(self.stream)

    def make_stream(self, consumer: str, dead_max: int = 100) -> MemoryStream:
        return MemoryStream(
            self.broker, RAW, consumer, outbound=POINTS, dead_letters_max_entries=dead_max
        )

    def make_stage(
        self,
        stream: MemoryStream,
        mirror: Callable[[Entry, DeadLetter], None] | None = None,
        limits: StageLimits = LIMITS,
        clock: Callable[[], float] = time.monotonic,
    ) -> Stage:
        def tick() -> None:
            self.ticks += 1

        def set_ready(name: str, ok: bool, detail: str) -> None:
            self.ready[name] = (ok, detail)

        return Stage(
            Lifecycle(self.stop, tick, set_ready),
            stream,
            self.handler,
            self.telemetry,
            limits,
            mirror=mirror,
            clock=clock,
            rng=random.Random(1),
        )

    def commit(self, *payloads: tuple[bytes, int]) -> None:
        self.broker.commit(RAW, "q", "hot", "expr", "w", payloads)

    def value(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0

    def balanced(self) -> bool:
        return self.broker.audit().imbalance_samples == 0


def all_loaded(entry: Entry) -> Verdict:
    return Settle(loaded=entry.samples)
