"""Planning: Prometheus' clock decides how far each lane goes.

Any extractor may plan at any time; the scripts behind it make that idempotent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from common.runtime.telemetry import Telemetry
from common.state.keys import split_lane
from common.state.windows import Lane, LaneStatus, WindowSet
from services.extractor.windows import Plan, floor_to


class Clock(Protocol):
    """What planning needs of Prometheus."""

    def now_ms(self) -> int:
        """Prometheus' own time."""
        ...

    def lowest_timestamp_ms(self) -> int | None:
        """The oldest timestamp that it still holds, if it says so."""
        ...


@dataclass(frozen=True, slots=True)
class Due:
    """Lanes that have something to extract, by class."""

    live: int
    catchup: int


class Planner:
    """Keeps every lane planned up to what has settled."""

    def __init__(
        self,
        plans: Sequence[Plan],
        windows: WindowSet,
        source: Clock,
        telemetry: Telemetry,
        *,
        close_after_seconds: float,
    ) -> None:
        self._plans = plans
        self._windows = windows
        self._source = source
        self._telemetry = telemetry
        self._close_after_seconds = close_after_seconds
        self._adopted: set[str] = set()
        # Lanes that this process had planned before Redis lost them.
        self._forgotten: set[str] = set()
        self.origins_ms: dict[str, int] = {}

    def plan(self) -> Due:
        """Plan every lane, and close those that no configuration has.

        Raises :class:`common.errors.SourceError` or :class:`redis.exceptions.RedisError`.
        """
        now_ms = self._source.now_ms()
        known = self._windows.status()
        lowest_ms: int | None = None
        if any(plan.lane.name not in known for plan in self._plans):
            lowest_ms = self._source.lowest_timestamp_ms()
        for plan in self._plans:
            if (
                plan.lane.name not in known
                and lowest_ms is not None
                and lowest_ms > plan.head_ms(now_ms)
            ):
                # A lane begins where its source does: not before a sample of it has settled.
                continue
            self._plan_lane(plan, known.get(plan.lane.name), now_ms, lowest_ms)
        self._reconcile()
        configured = {plan.lane.name for plan in self._plans}
        for lane in known.keys() - configured:
            self._close(lane)
        status = self._windows.status()
        self.origins_ms = {lane: found.origin_ms for lane, found in status.items()}
        return self._due(status)

    def origin_ms(self, lane: Lane) -> int:
        """Where the lane began; looked up when this process has not planned it yet."""
        if lane.name not in self.origins_ms:
            status = self._windows.status()
            self.origins_ms = {name: found.origin_ms for name, found in status.items()}
        return self.origins_ms.get(lane.name, 0)

    def _plan_lane(
        self, plan: Plan, known: LaneStatus | None, now_ms: int, lowest_ms: int | None
    ) -> None:
        lane = plan.lane
        # Whoever started last has the newest configuration; it takes the lane over once, so that
        # an older worker which is still draining cannot take it back.
        adopt = lane.name not in self._adopted
        changed = known is not None and known.fingerprint != lane.fingerprint
        ours = self._windows.plan(
            lane, plan.origin_ms(now_ms, lowest_ms), plan.head_ms(now_ms), adopt=adopt
        )
        self._adopted.add(lane.name)
        if known is None and not adopt:
            self._forgotten.add(lane.name)
        if adopt and changed:
            self._telemetry.emit("lane_adopted", query=lane.query, tier=lane.tier)
        if not ours:
            self._telemetry.emit("lane_stale_config", query=lane.query, tier=lane.tier)

    def _reconcile(self) -> None:
        """Let lanes begin no later than the sink's watermark says.

        A lane that is new to Redis may be old to the sink: then Redis has lost everything. It was
        begun like a new one meanwhile, so that fresh data flows; what lies between is owed.
        """
        said = self._windows.sink_watermarks()
        status = self._windows.status()
        for plan in self._plans:
            lane, found = plan.lane, status.get(plan.lane.name)
            if found is None or found.reconciled or found.fingerprint != lane.fingerprint:
                continue
            if lane.name not in said:
                continue  # no loader has asked the sink yet
            watermark_ms = said[lane.name]
            if watermark_ms is None and lane.name in self._forgotten:
                # We planned it ourselves before Redis forgot it, and the sink knows of nothing.
                watermark_ms = self._source.lowest_timestamp_ms()
            if watermark_ms is not None and watermark_ms < found.origin_ms:
                start_ms = floor_to(watermark_ms, plan.step_ms)
                self._windows.reopen(lane, start_ms, found.origin_ms, extend=True)
                self._telemetry.emit(
                    "lane_extended",
                    query=lane.query,
                    tier=lane.tier,
                    start_ms=start_ms,
                    end_ms=found.origin_ms,
                )
            self._windows.set_reconciled(lane)
            self._forgotten.discard(lane.name)

    def _close(self, lane: str) -> None:
        owed = self._windows.close(lane, self._close_after_seconds, "query removed")
        if owed is None:
            return
        query, tier = split_lane(lane)
        self._telemetry.emit("lane_closed", query=query, tier=tier, owed_ms=list(owed))

    def _due(self, status: Mapping[str, LaneStatus]) -> Due:
        live = catchup = 0
        for plan in self._plans:
            lane = status.get(plan.lane.name)
            if lane is None or lane.fingerprint != plan.lane.fingerprint:
                continue
            border_ms = lane.head_ms - plan.live_ms
            owed = (*lane.backlog, *lane.open)
            live += any(end > border_ms for _, end in owed)
            catchup += any(start < border_ms for start, _ in owed)
        return Due(live, catchup)
