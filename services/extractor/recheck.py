"""Late samples: committed windows are compared with the source again, and opened if they changed.

Samples can arrive behind the window that they belong to (timestamps of their own, out-of-order
ingestion, remote write). Some time after its commit, and again later, the raw samples of a
``select`` are counted by Prometheus, and an ``expr`` is evaluated; what differs is extracted again.
What was loaded the first time is overwritten by the same points.

This comes to an end: each stretch of time has as many recounts as the configuration says, however
often it is opened, and one that fails again and again is given up, as a metric with an alert.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from redis.exceptions import RedisError

from common.errors import QueryRejected, QueryTooLarge, SourceError, SourceUnavailable
from common.runtime.telemetry import Telemetry
from common.samples.columns import Samples
from common.samples.digest import digests_of
from common.state.windows import Recheck, WindowSet
from services.extractor.history import NO_SAMPLES_MS, SourceHistory
from services.extractor.windows import Plan, ceil_to

# Windows that are compared in one turn; the rest waits for the next.
TURN_WINDOWS = 240
# So often a recount is tried, waiting twice as long each time: for some three hours.
MOST_FAILURES = 8
FIRST_WAIT_SECONDS = 60.0
LONGEST_WAIT_SECONDS = 3600.0


@dataclass
class Rechecker:
    """Compares committed windows with the source when they are due.

    ``count_in`` counts the raw samples of the ``select`` of a plan in ``(start_ms, end_ms]``,
    ``read`` evaluates its ``expr`` there. ``after_seconds``: when, since the commit.
    ``origin_ms``: where a feed began. ``is_gone``: whether what a plan's range was read from is not
    there any more, so that nothing can be compared with it, or be put in its place.
    """

    windows: WindowSet
    count_in: Callable[[Plan, int, int], int]
    read: Callable[[Plan, int, int], Iterable[Samples]]
    history: SourceHistory
    telemetry: Telemetry
    after_seconds: Sequence[float]
    origin_ms: Callable[[str], int]
    is_gone: Callable[[Plan, int, int], bool] = lambda plan, start_ms, end_ms: False
    # Windows that one request may cover: fewer once that was too much, then more again.
    _most_windows: int = field(default=TURN_WINDOWS, init=False)
    # The feed that the next turn begins with, so that none keeps the others waiting.
    _first: int = field(default=0, init=False)

    def turn(self, plans: Sequence[Plan], goes_on: Callable[[], bool]) -> None:
        """Compare what is due of each feed, while ``goes_on``; failures are reported.

        ``goes_on`` is called before every request; what was not compared stays due.
        """
        for _ in plans:
            if not goes_on():
                return
            plan = plans[self._first % len(plans)]
            self._first = (self._first + 1) % len(plans)
            try:
                self.run(plan, goes_on)
            except SourceError:
                return  # reported, and due again later
            except RedisError as error:
                self._report(plan, error)
                return

    def run(self, plan: Plan, goes_on: Callable[[], bool] = lambda: True) -> int:
        """Compare what is due of a feed; how many ranges were opened again.

        Raises :class:`common.errors.SourceError` when Prometheus does not respond, or refuses us.
        """
        due = self.windows.due_rechecks(plan.feed, TURN_WINDOWS)
        # What failed before comes last, so that it keeps nothing else waiting.
        runs = sorted(
            _adjoining(due, self._most_windows, plan), key=lambda run: max(r.failures for r in run)
        )
        return sum(self._compare(plan, run, goes_on) for run in runs)

    def _compare(self, plan: Plan, run: Sequence[Recheck], goes_on: Callable[[], bool]) -> int:
        """Compare adjoining ranges by one request; each half by itself where that cannot be."""
        if not goes_on():
            return 0
        try:
            if plan.query.kind == "expr":
                run = self._still_there(plan, run)
            changed = self._changed(plan, run) if run else []
        except (QueryRejected, QueryTooLarge) as error:
            if len(run) == 1:
                self._failed(plan, run, error)
                return 0
            if isinstance(error, QueryTooLarge):
                self._most_windows = len(run) // 2
            changed = None
        except SourceError as error:
            self._failed(plan, run, error)
            raise
        if changed is None:
            middle = len(run) // 2
            halves = run[:middle], run[middle:]
            return sum(self._compare(plan, half, goes_on) for half in halves)
        if len(run) == self._most_windows < TURN_WINDOWS:
            self._most_windows += 1
        gone = [one for one in changed if self.is_gone(plan, one.start_ms, one.end_ms)]
        self.windows.forget_rechecks(plan.feed, gone)
        changed = [one for one in changed if one not in gone]
        # Not what has been deleted since: it is forgotten by then, and passing it does nothing.
        self._pass(plan, [recheck for recheck in run if recheck not in changed])
        return sum(self._open(plan, recheck) for recheck in changed)

    def _changed(self, plan: Plan, run: Sequence[Recheck]) -> Sequence[Recheck] | None:
        """Those that differ from what was committed; None where only their sum is known to."""
        start_ms, end_ms = run[0].start_ms, run[-1].end_ms
        if plan.query.kind == "select":
            found = self.count_in(plan, start_ms, end_ms)
            expected = sum(recheck.samples for recheck in run)
            if found == expected:
                return []
            if len(run) > 1:
                return None
            return self._still_there(plan, run) if found < expected else run
        blocks = self.read(plan, start_ms, end_ms)
        digests = digests_of(blocks, [recheck.end_ms for recheck in run])
        return [
            recheck
            for recheck, now in zip(run, digests, strict=True)
            if (recheck.samples, recheck.digest) != (now.samples, now.sums)
        ]

    def _still_there(self, plan: Plan, run: Sequence[Recheck]) -> Sequence[Recheck]:
        """Those of which the source has deleted nothing yet; the others are loaded, and left.

        An expression looks back: what is evaluated where a part of that was deleted is not what it
        was. Extracting such a window again would declare it a gap (:meth:`Plan.expired_until_ms`).
        """
        reach = plan.needs()
        lowest_ms = self.history.lowest_ms(reach.earliest_ms(run[0].start_ms))
        if lowest_ms is None or not plan.has_deleted(self.origin_ms(plan.feed.name), lowest_ms):
            return run
        if lowest_ms >= NO_SAMPLES_MS:
            raise SourceUnavailable("reports that it holds nothing")
        whole_from_ms = reach.whole_from_ms(lowest_ms)
        kept = [recheck for recheck in run if whole_from_ms <= recheck.start_ms + 1]
        self.windows.forget_rechecks(plan.feed, [one for one in run if one not in kept])
        return kept

    def _open(self, plan: Plan, changed: Recheck) -> int:
        """Have what changed extracted again; whether that was possible."""
        feed = plan.feed
        done = [changed]
        end_ms = changed.end_ms
        if plan.rollup and plan.rollup.lead_in_ms:
            # What is increased from a late sample lies in the buckets after it. They are opened
            # with the rest of their window, so that its seal is replaced whole.
            end_ms = ceil_to(end_ms + plan.rollup.lead_in_ms, plan.head_step_ms)
        if self.windows.reopen(feed, changed.start_ms, end_ms, done=done) is None:
            return 0
        last = changed.round + 1 >= len(self.after_seconds)
        if last and changed.since:
            # It was extracted again after the recount before, and nothing will look at it any more.
            self._abandon(plan, changed, "differs at each recount")
        self.telemetry.inc("etl_repeated_samples_total", changed.samples, **feed.labels)
        self.telemetry.emit(
            "window_reopened",
            **feed.labels,
            start_ms=changed.start_ms,
            end_ms=end_ms,
            samples_before=changed.samples,
        )
        return 1

    def _pass(self, plan: Plan, done: Sequence[Recheck]) -> None:
        longest_seconds = plan.catchup_ms / 1000
        self.windows.pass_rechecks(plan.feed, done, self.after_seconds, longest_seconds)

    def _failed(self, plan: Plan, run: Sequence[Recheck], error: SourceError) -> None:
        """Try again later; what failed too often goes on with its next recount, if any."""
        self._report(plan, error)
        if isinstance(error, SourceUnavailable) and error.away:
            # An outage says nothing of these recounts, however long it is. One failure is counted,
            # so that they come after those that can be made.
            for first in (True, False):
                of_outage = [recheck for recheck in run if (recheck.failures == 0) is first]
                self.windows.postpone_rechecks(
                    plan.feed, of_outage, FIRST_WAIT_SECONDS, failures=int(first)
                )
            return
        given_up = [recheck for recheck in run if recheck.failures + 1 >= MOST_FAILURES]
        for recheck in given_up:
            self._abandon(plan, recheck, str(error))
        self._pass(plan, given_up)
        for failures in {recheck.failures for recheck in run if recheck not in given_up}:
            failed = [recheck for recheck in run if recheck.failures == failures]
            wait_seconds = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2**failures)
            self.windows.postpone_rechecks(plan.feed, failed, wait_seconds)

    def _report(self, plan: Plan, error: Exception) -> None:
        self.telemetry.emit("recheck_failed", **plan.feed.labels, error=str(error))

    def _abandon(self, plan: Plan, recheck: Recheck, why: str) -> None:
        self.telemetry.emit(
            "recheck_abandoned",
            **plan.feed.labels,
            start_ms=recheck.start_ms,
            end_ms=recheck.end_ms,
            reason=why,
        )


def _adjoining(due: Sequence[Recheck], most: int, plan: Plan) -> list[list[Recheck]]:
    """Runs of up to ``most`` ranges each of which begins where the one before ends.

    Those of an ``expr`` are no longer than a long window, unless a single one is.
    """
    longest_ms = plan.catchup_ms if plan.query.kind == "expr" else float("inf")
    runs: list[list[Recheck]] = [[due[0]]] if due else []
    for before, after in pairwise(due):
        run = runs[-1]
        fits = len(run) < most and after.end_ms - run[0].start_ms <= longest_ms
        if after.start_ms == before.end_ms and fits:
            run.append(after)
        else:
            runs.append([after])
    return runs
