"""One post: checks before it, counts it, and reports what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from common.runtime.telemetry import Telemetry
from common.state.verdict import Retry
from services.loader.admission import Admission, NotNow
from services.loader.batch import Group
from services.loader.entry_history import Suspects
from services.loader.influx import InfluxSink
from services.loader.pace import Pace
from services.loader.responses import FAILURES, Kind, Outcome
from services.loader.total_refusal import TotalRefusal


@dataclass
class Poster:
    """Posts to the sink from several threads. For the options see :class:`LoadHandler`."""

    sink: InfluxSink
    admission: Admission
    suspects: Suspects
    total_refusal: TotalRefusal
    telemetry: Telemetry
    stopping: Callable[[], bool] = lambda: False
    tick: Callable[[], None] = lambda: None
    still_ours: Callable[[Sequence[str]], bool] = lambda _: True
    clock: Callable[[], float] = time.monotonic
    pace: Pace = field(default_factory=lambda: Pace(None))

    def post(self, group: Group, body: bytes, *, is_control: bool = False) -> Outcome | NotNow:
        """What the sink says of the points; anything else is a verdict for the group's entries.

        :attr:`Kind.FAILED` is an outcome for a suspect only.
        """
        not_now = self._before(group) or self._wait_for_turn(group, len(body))
        if not_now is not None:
            return not_now
        began_seconds = self.clock()
        outcome = self._write(group.bucket, body)
        if outcome.kind is Kind.WRITTEN:
            self.suspects.passed()
        elif outcome.kind is Kind.FAILED and not (group.suspect or is_control):
            self.suspects.failed(group.ids)
        not_now = self.admission.report(outcome, group.bucket, suspect=group.suspect)
        if not_now is None:
            not_now = self.total_refusal.seen(
                outcome, group.bucket, began_seconds, is_control=is_control
            )
        return outcome if not_now is None else not_now

    def _before(self, group: Group) -> NotNow | None:
        if self.stopping():
            return Retry(0.0, "stopping")
        if self.clock() > group.deadline_seconds:
            return Retry(0.0, "the search goes on with the next delivery")
        if (pause := self.admission.ask()) is not None:
            return pause
        if not self.still_ours(group.ids):
            return Retry(0.0, "the lease was lost")
        return None

    def _wait_for_turn(self, group: Group, body_bytes: int) -> NotNow | None:
        wait_seconds = self.pace.take(body_bytes)
        if not wait_seconds:
            return None
        self.telemetry.inc("etl_sink_rate_limited_seconds_total", wait_seconds)
        if self.clock() + wait_seconds > group.deadline_seconds:
            self.pace.give_back(body_bytes)
            return Retry(wait_seconds, "load.influxdb.rate_limit_bytes_per_second is reached")
        self.pace.wait(wait_seconds, self.stopping, self.tick)
        if (not_now := self._before(group)) is not None:  # much may have happened meanwhile
            self.pace.give_back(body_bytes)
        return not_now

    def _write(self, bucket: str, body: bytes) -> Outcome:
        started = self.clock()
        outcome = self.sink.write(bucket, body)
        self.tick()
        self.telemetry.observe("etl_sink_post_duration_seconds", self.clock() - started)
        self.telemetry.inc("etl_sink_posts_total", response=outcome.kind.value)
        self.telemetry.inc("etl_sink_posted_bytes_total", len(body))
        if outcome.kind in FAILURES:
            self.telemetry.emit(
                "sink_failed", cause=outcome.cause, bucket=bucket, message=outcome.message
            )
        return outcome
