"""RQ as doorbell and harness: what rings, and what a worker does when it rings.

A job says "plan" or "extract the next windows of this class"; which windows there are is decided
by the scripts in Redis. A job that is lost, doubled or late therefore costs nothing but time: the
next ring finds what was left. Job ids carry a token of their own, results are not kept.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue
from rq.exceptions import DuplicateJobError
from rq.serializers import JSONSerializer

from common.config import PipelineSettings
from common.errors import SourceError
from common.runtime.telemetry import Telemetry
from common.state.keys import Keys
from common.state.windows import WindowClass, WindowSet
from services.extractor.aof import AofHealer
from services.extractor.extract import Extractor, SourceState
from services.extractor.planner import Planner
from services.extractor.recheck import Rechecker
from services.extractor.windows import Plan

QueueName = Literal["plan", "live", "catchup"]
# In the order of their priority.
QUEUES: tuple[QueueName, ...] = ("plan", "live", "catchup")

# Rings of one class that wait at a time; more would only find nothing to do.
MOST_RINGS = 4
RING_TTL_SECONDS = 60
PRESSURE_EVERY_SECONDS = 0.1
# What the question takes of Redis' time at most: it sums up all that is in flight, so with very
# many small entries it costs more and is asked less often.
PRESSURE_SHARE = 0.1
CATCHUP_SLICE_SECONDS = 5.0
# Live windows wait meanwhile; a question that was asked is waited for.
RECHECK_SLICE_SECONDS = 2.0
FRESHER_EVERY_SECONDS = 0.25


class Doorbell:
    """Rings RQ's queues."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self.queues = {
            name: Queue(f"{keys.namespace}-{name}", connection=redis, serializer=JSONSerializer)
            for name in QUEUES
        }

    def ring(self, name: QueueName, times: int) -> None:
        """Make sure that up to ``times`` rings wait in a queue."""
        queue = self.queues[name]
        for _ in range(min(times, MOST_RINGS) - queue.count):
            token = self._redis.incr(self._keys.token)
            self._enqueue(name, f"{self._keys.namespace}-{name}-{token}")

    def ring_plan(self, tick: int) -> None:
        """Ask for planning, once for each tick however many extractors ring."""
        self._enqueue("plan", f"{self._keys.namespace}-plan-at-{tick}")

    def waiting(self, *names: QueueName) -> bool:
        """Whether a job waits in one of the queues."""
        return any(self.queues[name].count for name in names)

    def _enqueue(self, name: QueueName, job_id: str) -> None:
        function = (
            "services.extractor.jobs.plan"
            if name == "plan"
            else ("services.extractor.jobs.extract")
        )
        try:
            self.queues[name].enqueue_call(
                function,
                args=() if name == "plan" else (name,),
                timeout=-1,
                result_ttl=0,
                failure_ttl=0,
                ttl=RING_TTL_SECONDS,
                job_id=job_id,
                unique=True,
            )
        except DuplicateJobError:
            return


@dataclass
class Context:
    """What the jobs of this process work with; RQ calls functions by name, so it lives here."""

    plans: list[Plan]
    planner: Planner
    extractor: Extractor
    rechecker: Rechecker
    aof_healer: AofHealer
    windows: WindowSet
    doorbell: Doorbell
    pipeline: PipelineSettings
    telemetry: Telemetry
    stop: threading.Event
    tick: Callable[[], None]
    on_source: Callable[[SourceState], None]
    set_ready: Callable[[str, bool, str], None]
    clock: Callable[[], float] = time.monotonic
    _paused: bool = False
    _ask_again_at: float = float("-inf")

    def paused(self) -> bool:
        """Whether back-pressure forbids extraction now; asked ten times a second at most."""
        asked_at = self.clock()
        if asked_at < self._ask_again_at:
            return self._paused
        paused, in_flight_bytes = self.windows.pressure(
            self.pipeline.high_water_bytes, self.pipeline.low_water_bytes
        )
        took_seconds = self.clock() - asked_at
        self._ask_again_at = asked_at + max(PRESSURE_EVERY_SECONDS, took_seconds / PRESSURE_SHARE)
        if paused != self._paused:
            self.telemetry.emit(
                "back_pressure_on" if paused else "back_pressure_off",
                in_flight_bytes=in_flight_bytes,
            )
            detail = f"extraction pauses: {in_flight_bytes} bytes in flight" if paused else ""
            # A full pipeline is healthy: the pause is a detail, not a reason to be unready.
            self.set_ready("back_pressure", True, detail)
        self._paused = paused
        return paused

    def redis_failed(self, error: RedisError) -> None:
        """Redis refused or did not answer; every job heals at the next ring."""
        self.telemetry.emit("redis_unavailable", stage="extractor", error=str(error))


_context: Context | None = None


def install(context: Context) -> None:
    """Give this process's jobs what they work with."""
    global _context  # noqa: PLW0603 - RQ calls module functions; there is one worker in a process
    _context = context


def _installed() -> Context:
    if _context is None:
        raise RuntimeError("no extractor runs in this process")
    return _context


def plan() -> None:
    """RQ job: plan every feed and ring for what is due."""
    context = _installed()
    try:
        context.aof_healer.check()
        due = context.planner.plan()
    except SourceError as error:
        context.on_source(SourceState(False, str(error)))
        context.telemetry.emit("plan_failed", error_type=type(error).__name__, error=str(error))
        return
    except RedisError as error:
        context.redis_failed(error)
        return
    context.on_source(SourceState(True))
    try:
        if not context.paused():
            context.doorbell.ring("live", due.live)
            context.doorbell.ring("catchup", due.catchup)
    except RedisError as error:
        context.redis_failed(error)
        return
    _recheck(context)


def _recheck(context: Context) -> None:
    """Look for late samples, for a moment; that it fails keeps nothing else from going on."""
    began = context.clock()

    def goes_on() -> bool:
        context.tick()
        return not context.stop.is_set() and context.clock() - began < RECHECK_SLICE_SECONDS

    for plan_ in context.plans:
        if plan_.query.kind != "select":
            continue
        try:
            context.rechecker.run(plan_, goes_on)
        except (SourceError, RedisError) as error:
            context.telemetry.emit(
                "recheck_failed", query=plan_.feed.query, tier=plan_.feed.tier, error=str(error)
            )


def extract(window_class: WindowClass) -> None:
    """RQ job: extract windows of a class until none is left, or something fresher waits."""
    context = _installed()
    try:
        _extract_all(context, window_class)
    except RedisError as error:
        # What was leased runs out and is leased again; the next plan rings again.
        context.redis_failed(error)


def _extract_all(context: Context, window_class: WindowClass) -> None:
    started = asked_at = context.clock()
    while not context.stop.is_set():
        context.tick()
        if context.paused() or not _extract_one(context, window_class):
            return
        now = context.clock()
        if window_class == "live" or now - asked_at < FRESHER_EVERY_SECONDS:
            continue
        asked_at = now
        if now - started > CATCHUP_SLICE_SECONDS or context.doorbell.waiting("plan", "live"):
            # Live data and planning come first; the backlog goes on at the next ring.
            context.doorbell.ring("catchup", 1)
            return


def _extract_one(context: Context, window_class: WindowClass) -> bool:
    """Extract one window of each feed that has one; whether there was any."""
    found = False
    for plan_ in context.plans:
        if context.stop.is_set():
            break
        window = context.windows.lease(
            plan_.feed, window_class, plan_.live_ms, plan_.longest_ms(window_class)
        )
        if window is None:
            continue
        found = True
        context.tick()
        context.extractor.run(plan_, window, context.planner.origin_ms(plan_.feed))
        if context.paused():
            break
    return found


class Ringer(threading.Thread):
    """Rings for planning whenever something has settled, from a thread of its own."""

    def __init__(
        self,
        doorbell: Doorbell,
        every_seconds: float,
        stop: threading.Event,
        telemetry: Telemetry,
        *,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(name="ringer", daemon=True)
        self._doorbell = doorbell
        self._every_seconds = every_seconds
        self._stopped = stop
        self._telemetry = telemetry
        self._wall_clock = wall_clock

    def run(self) -> None:
        """Ring at each tick until stopped."""
        while True:
            now = self._wall_clock()
            try:
                self._doorbell.ring_plan(int(now // self._every_seconds))
            except RedisError as error:
                self._telemetry.emit("scheduling_failed", error=str(error))
            wait = self._every_seconds - self._wall_clock() % self._every_seconds
            if self._stopped.wait(wait):
                return
