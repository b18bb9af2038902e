"""What an extractor's jobs do. RQ runs them; :mod:`services.extractor.scheduler` queues them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from redis.exceptions import RedisError

from common.errors import SourceError
from common.runtime.telemetry import Telemetry
from common.state.backfills import Backfills, by_feed
from common.state.windows import WindowClass, WindowSet
from services.extractor.extract import Extractor, Outcome, SourceState
from services.extractor.job_table import QueueName
from services.extractor.planner import Planner
from services.extractor.planning_pace import PlanningPace
from services.extractor.pressure import BackPressure
from services.extractor.recheck import Rechecker
from services.extractor.scheduler import Scheduler
from services.extractor.server_watch import ServerWatch
from services.extractor.siblings import lease_siblings
from services.extractor.windows import Plan
from services.extractor.worker import JobTable

CATCHUP_SLICE_SECONDS = 5.0
# Live windows wait meanwhile; a request that was sent is waited for.
RECHECK_SLICE_SECONDS = 2.0
FRESHER_EVERY_SECONDS = 0.25
# How long a backfill waits while much is in flight.
GIVE_WAY_SECONDS = 0.05
# A read that failed after longer is not tried again for as long as it took: a query that fails so
# slowly takes no more than half of the time of all the others.
SLOW_SECONDS = 0.5


@dataclass(frozen=True)
class Jobs:
    """The functions that a job may name, and what they work with."""

    plans: Sequence[Plan]
    planner: Planner
    extractor: Extractor
    rechecker: Rechecker
    server: ServerWatch
    windows: WindowSet
    scheduler: Scheduler
    pace: PlanningPace
    pressure: BackPressure
    telemetry: Telemetry
    stop: threading.Event
    tick: Callable[[], None]
    on_source: Callable[[SourceState], None]
    clock: Callable[[], float] = time.monotonic
    # Feeds that failed slowly, and until when they wait.
    _waits_until: dict[str, float] = field(default_factory=dict, init=False)

    def table(self) -> JobTable:
        """By the names that :data:`services.extractor.scheduler.QUEUES` schedules."""
        return {
            "plan": self.plan,
            "recheck": self.recheck,
            "extract": self.extract,
            "backfill": self.backfill,
        }

    def plan(self) -> None:
        """Plan every feed, schedule what is due, and begin with what of it is live."""
        live = 0
        try:
            self.server.check()
            due = self.planner.plan()
            self.on_source(SourceState(True))
            self.pace.planned(due, self.planner.source_ms)
            if self.pressure.paused():
                self.pace.failed()
            else:
                live = due.live
                # For others: this worker goes on with them, and need not be told so through Redis.
                self.scheduler.schedule("live", live - 1, busy=1)
                self.scheduler.schedule("catchup", due.catchup)
                self.scheduler.schedule("backfill", due.backfill)
            if self.pace.recheck_is_due():
                self.scheduler.schedule("recheck", 1)
        except SourceError as error:
            self.pace.failed()
            self.on_source(SourceState(False, str(error)))
            self.telemetry.emit("plan_failed", error_type=type(error).__name__, error=str(error))
        except RedisError as error:
            self._redis_failed(error)
        else:
            if live:
                self.extract("live")

    def recheck(self) -> None:
        """Look for late samples, for a moment; that it fails keeps nothing else from going on."""
        began = self.clock()

        def goes_on() -> bool:
            self.tick()
            return not self.stop.is_set() and self.clock() - began < RECHECK_SLICE_SECONDS

        self.rechecker.turn(self.plans, goes_on)

    def extract(self, window_class: WindowClass) -> None:
        """Extract windows of a class until none is left, or something fresher waits."""
        try:
            fresher: tuple[QueueName, ...] = () if window_class == "live" else ("plan", "live")
            if window_class == "live":
                self.pace.live_is_extracted()  # unless something is found that is not
            self._go_on(window_class, fresher, lambda: self._extract_one(window_class))
        except RedisError as error:
            # What was leased runs out and is leased again; the next plan schedules it again.
            self._redis_failed(error)

    def backfill(self) -> None:
        """Extract windows of backfills until none is left, or anything else waits."""
        backfills = Backfills(self.windows.redis, self.windows.keys)
        try:
            parts = by_feed(backfills.parts())
            origins_ms = {part.name: part.start_ms for of in parts.values() for part in of}
            plans = [plan.of(part) for plan in self.plans for part in parts.get(plan.feed.name, ())]

            def extract() -> bool:
                if backfills.gives_way():
                    self.stop.wait(GIVE_WAY_SECONDS)
                    return True
                return self._extract_each(plans, "catchup", origins_ms.__getitem__)

            self._go_on("backfill", ("plan", "live", "catchup"), extract)
        except RedisError as error:
            self._redis_failed(error)

    def _go_on(
        self, queue: QueueName, fresher: Sequence[QueueName], extract: Callable[[], bool]
    ) -> None:
        """Call ``extract`` while it finds something and nothing waits in a ``fresher`` queue."""
        began = checked_at = self.clock()
        while not self.stop.is_set():
            self.tick()
            if self.pressure.paused():
                self.pace.failed()
                return
            if not extract():
                return
            now = self.clock()
            if not fresher or now - checked_at < FRESHER_EVERY_SECONDS:
                continue
            checked_at = now
            if now - began > CATCHUP_SLICE_SECONDS or self.scheduler.waiting(*fresher):
                # Live data and planning come first; the rest goes on with the next job.
                self.scheduler.schedule(queue, 1)
                return

    def _extract_one(self, window_class: WindowClass) -> bool:
        plans = [plan for plan in self.plans if window_class != "live" or plan.live_ms]
        return self._extract_each(plans, window_class, self.planner.origin_ms)

    def _extract_each(
        self, plans: Sequence[Plan], window_class: WindowClass, origin_ms: Callable[[str], int]
    ) -> bool:
        """Extract one window of each feed that has one and does not wait; whether there was any.

        With each window goes what the query's other feeds have within it.
        """
        found = False
        for plan in plans:
            if self.stop.is_set():
                break
            feed, began = plan.feed, self.clock()
            if self._waits(plan, began):
                self.pace.failed()
                continue
            longest_ms = self.extractor.lengths.longest_ms(plan, window_class)
            window = self.windows.lease(feed, window_class, plan.live_ms, longest_ms)
            if window is None:
                continue
            found = True
            self.tick()
            ready = (other for other in plans if not self._waits(other, began))
            siblings = lease_siblings(self.windows, plan, window, ready, origin_ms)
            outcome = self.extractor.run(plan, window, origin_ms(feed.state_name), siblings)
            now = self.clock()
            if outcome is not Outcome.COMMITTED:
                self.pace.failed()
                if now - began > SLOW_SECONDS:
                    self._waits_until[feed.state_name] = 2 * now - began
            if self.pressure.paused():
                self.pace.failed()
                break
        return found

    def _waits(self, plan: Plan, now: float) -> bool:
        return now < self._waits_until.get(plan.feed.state_name, now)

    def _redis_failed(self, error: RedisError) -> None:
        """Redis refused or did not respond; the next job finds what was left."""
        self.pace.failed()
        self.telemetry.emit("redis_unavailable", stage="extractor", error=str(error))
