"""The product in this process: its own extractor, stages and handlers, on a clock of the case's."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

from prometheus_client import CollectorRegistry
from redis import Redis

from common.config import Settings
from common.runtime.stage import Lifecycle, Stage
from common.runtime.telemetry import Telemetry
from common.runtime.wiring import lease_check, stage_limits
from common.state.dead_letters.kept import DeadLetters
from common.state.keys import POINTS, RAW, Keys
from common.state.ledger import Audit
from common.state.ledger import Ledger as AuditReader
from common.state.stream import RedisStream
from common.state.verdict import Entry, Handler
from common.state.windows import WindowSet
from services.extractor.extract import Extractor
from services.extractor.history import SourceHistory
from services.extractor.one_source import packer
from services.extractor.prometheus import PrometheusClient
from services.extractor.windows import Plan, floor_to, plans_of
from services.loader.influx import InfluxSink
from services.loader.load import LoadHandler
from services.transformer.transform import TransformHandler
from tests.cases.runner.case import Case, Ledger
from tests.doubles.loading import Clock

# Longer than every wait of a stage that has nothing to do but to wait.
PATIENCE_SECONDS = 240.0
IDLE_SECONDS = 5.0
SOURCE_DELAY_SECONDS = 60.0


class Pipeline:
    """One pipeline on the case's input, in ``(start_ms, end_ms]``.

    ``paused_by`` is the cause of the loader's pause, empty if it does not pause.
    """

    def __init__(self, case: Case, settings: Settings, redis: Redis, clock: Clock) -> None:
        self._settings, self._redis, self._clock = settings, redis, clock
        self._keys = Keys(settings.pipeline.redis_namespace)
        self._audits = AuditReader(redis, self._keys)
        self._plans = plans_of(settings)
        ranges = [_range(case, plan) for plan in self._plans]
        self.start_ms = min(start_ms for start_ms, _ in ranges)
        self.end_ms = max(end_ms for _, end_ms in ranges)
        self._streams = [self._stream(RAW, POINTS), self._stream(POINTS)]
        transformer = TransformHandler.from_settings(settings)
        transformer.clock = clock
        self._loader = LoadHandler(
            settings.load,
            InfluxSink(settings.load.influxdb, connections=settings.load.connections),
            self._telemetry("loader"),
            still_ours=lease_check(self._streams[1]),
            clock=clock,
            wall_clock=clock,
            rng=random.Random(1),
        )
        handlers: list[Handler] = [transformer, self._loader]
        self._stages = [
            self._stage(stream, handler)
            for stream, handler in zip(self._streams, handlers, strict=True)
        ]

    def extract(self, case: Case) -> None:
        """Extract everything, window after window."""
        windows = WindowSet(self._redis, self._keys)
        with closing(PrometheusClient(self._settings.extract)) as source:
            extractor = Extractor(
                windows,
                source.read,
                SourceHistory(source, now_ms=lambda: round(self._clock() * 1000)),
                packer(self._settings),
                self._settings.extract,
                self._telemetry("extractor"),
                rng=random.Random(1),
            )
            for plan in self._plans:
                start_ms, end_ms = _range(case, plan)
                windows.plan(plan.feed, start_ms, end_ms)
                while window := windows.lease(plan.feed, "live", plan.live_ms, plan.live_ms) or (
                    windows.lease(plan.feed, "catchup", plan.live_ms, plan.catchup_ms)
                ):
                    outcome = extractor.run(plan, window, start_ms)
                    assert outcome.name == "COMMITTED", outcome

    def run(self) -> Ledger:
        """Transform and load until nothing is left, or nothing moves however long it is waited."""
        audit = self._audits.audit()
        moved_at = self._clock()
        while audit.total.in_flight and self._clock() - moved_at < PATIENCE_SECONDS:
            for stage in self._stages:
                stage.step()
            before, audit = audit, self._audits.audit()
            if _position(audit) != _position(before):
                moved_at = self._clock()
            else:
                self._clock.pass_(IDLE_SECONDS)
        return self._seen(audit)

    @property
    def paused_by(self) -> str:
        return self._loader._admission.paused_by

    def close(self) -> None:
        """Close the connections to the sink."""
        self._loader.close()

    def _seen(self, audit: Audit) -> Ledger:
        assert audit.imbalance_samples == 0
        assert audit.lost_samples == 0
        total = audit.total
        letters = DeadLetters(self._redis, self._keys)
        dead: Counter[str] = Counter()
        for letter in (*letters, *letters.counted()):
            dead[letter.reason] += letter.samples
        assert sum(dead.values()) == total.dead_lettered
        return Ledger(
            extracted=total.extracted,
            loaded=total.loaded,
            dropped={reason: count for reason, count in total.dropped.items() if count},
            dead_lettered=dict(dead),
            in_flight=total.in_flight,
        )

    def _stream(self, inbound: str, outbound: str | None = None) -> RedisStream:
        return _Stream(
            self._redis,
            self._keys,
            inbound,
            "case",
            outbound=outbound,
            # What is released with a delay is handed out again by the case's clock.
            now_ms=lambda: round(self._clock() * 1000),
        )

    def _stage(self, stream: RedisStream, handler: Handler) -> Stage:
        stream.ensure()
        life = Lifecycle(_Waits(self._clock), lambda: None, lambda name, ok, reason: None)
        limits = replace(stage_limits(self._settings.pipeline), claim_every_seconds=0.0)
        telemetry = self._telemetry(handler.stage)
        return Stage(
            life, stream, handler, telemetry, limits, clock=self._clock, rng=random.Random(1)
        )

    def _telemetry(self, service: str) -> Telemetry:
        return Telemetry(service, CollectorRegistry(), clock=self._clock)


class _Stream(RedisStream):
    """Does not wait for what is not there: nobody else writes, and Redis' time-outs are coarse."""

    def read(self, count: int, block_seconds: float) -> list[Entry]:
        last = self._redis.xinfo_stream(self._stream)["last-generated-id"]
        (group,) = self._redis.xinfo_groups(self._stream)
        return [] if group["last-delivered-id"] == last else super().read(count, block_seconds)


class _Waits(threading.Event):
    """The stop event of a service that is never stopped: to wait for it costs no time."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        self._clock.pass_(timeout or 0.0)
        return False


def clock_of(case: Case) -> Clock:
    """The case's clock: shortly after its last sample."""
    return Clock(case.last_ms / 1000 + SOURCE_DELAY_SECONDS)


@contextmanager
def pipeline_for(case: Case, settings: Settings, redis: Redis, clock: Clock) -> Iterator[Pipeline]:
    """A pipeline that has extracted the case's input."""
    with closing(Pipeline(case, settings, redis, clock)) as pipeline:
        pipeline.extract(case)
        yield pipeline


def _range(case: Case, plan: Plan) -> tuple[int, int]:
    """The whole input of the case, in steps of the query."""
    start_ms = floor_to(case.first_ms - 1, plan.step_ms)
    return start_ms, floor_to(case.last_ms + plan.step_ms - 1, plan.step_ms)


def _position(audit: Audit) -> tuple[object, ...]:
    return audit.total, [depth.samples for depth in audit.streams.values()]
