"""Extract one leased window: read it, stage its entries, commit it whole; or say why not.

Whatever happens, the window is left in a state from which it will be extracted: committed, split,
open for another attempt, or back in the backlog.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from redis.exceptions import OutOfMemoryError, RedisError

from common.config import ExtractSettings, Query
from common.errors import (
    LeaseLost,
    QueryRejected,
    QueryTooLarge,
    SourceError,
    SourceLacks,
    SourceRefused,
    SourceUnavailable,
)
from common.runtime.backoff import Backoff
from common.runtime.leases import LeaseRenewal
from common.runtime.telemetry import Telemetry
from common.samples.columns import Samples
from common.state.windows import Feed, Staged, Window, WindowSet
from services.extractor.history import SourceHistory
from services.extractor.source.expired import Expiry, HeldByAnother
from services.extractor.staging import EntryBuilder
from services.extractor.window_lengths import WindowLengths
from services.extractor.window_reader import Read, Taken, WindowReader
from services.extractor.windows import Plan, floor_to

# Why samples are dropped before they become an entry: a point has one float value.
NATIVE_HISTOGRAM = "native_histogram"
# How often in a row time may run out behind the source before windows are split: it may be a store
# that is away, for which a smaller window does nothing.
TIMED_OUT_ATTEMPTS = 3

_Found = TypeVar("_Found")


class Outcome(Enum):
    """What became of a window."""

    COMMITTED = "committed"
    SPLIT = "split"
    OPEN = "open"  # to be tried again
    LOST = "lost"  # somebody else has it
    GAP = "gap"  # the source no longer has it


@dataclass(frozen=True, slots=True)
class SourceState:
    """Whether Prometheus serves us; ``reason`` is empty when it does."""

    ok: bool
    reason: str = ""


@dataclass
class Extractor:
    """Turns leased windows into entries of the raw stream.

    ``read`` gives a query's samples of ``(start_ms, end_ms]`` in blocks, as they arrive,
    ``believed_ms`` the source's time as far as it can be believed, given what it should have
    reached (:class:`services.extractor.source.clock.SourceClock`).
    """

    windows: WindowSet
    read: Callable[[Query, int, int], Iterable[Samples]]
    history: SourceHistory
    pack: EntryBuilder
    settings: ExtractSettings
    telemetry: Telemetry
    on_source: Callable[[SourceState], None] = lambda _: None
    tick: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.monotonic
    rng: random.Random = field(default_factory=random.Random)
    believed_ms: Callable[[int], int] = lambda wanted_ms: wanted_ms
    # Which replica was read last, and what is told of a window before its commit.
    replica: Callable[[], str] = lambda: ""
    note_replica: Callable[[Feed, Window, str], None] = lambda feed, window, replica: None
    # As ``read``, but refuses what none of the replicas has whole: what can be split is.
    read_whole: Callable[[Query, int, int], Iterable[Samples]] | None = None
    lengths: WindowLengths = field(default_factory=WindowLengths)
    # Feed and class of windows → how often in a row that was so.
    _timed_out: dict[tuple[str, str], int] = field(default_factory=dict, init=False)
    _told_of_histograms: set[str] = field(default_factory=set, init=False)

    def run(
        self, plan: Plan, window: Window, origin_ms: int, siblings: Sequence[Taken] = ()
    ) -> Outcome:
        """Extract ``window``, and by the same read ``siblings``, of feeds of the same query.

        What becomes of one of them by itself concerns no other. Where nothing could be read,
        ``window`` alone has failed, and the siblings are as they were before they were leased.

        Raises :class:`redis.exceptions.RedisError` when Redis cannot be reached; the leases then
        run out and the windows are leased again.
        """
        began = self.clock()
        first = Taken(plan, window, origin_ms)
        taken = [first, *siblings]
        reader = WindowReader(
            self.windows,
            self.read,
            self.pack,
            self.settings.staged_ttl_seconds,
            self.tick,
            self.replica,
            self.read_whole,
        )
        try:
            with LeaseRenewal(lambda: self._renew(taken), self.settings.window_lease_seconds):
                outcome = self._outcome(first, lambda: self._stage(reader, taken))
                if outcome is None:
                    outcome, *_ = [
                        self._outcome(one, functools.partial(self._end, one, began))
                        for one in taken
                    ]
                else:
                    self._release(taken)
            return outcome
        finally:
            self._discard([each for one in taken if not one.committed for each in one.read.staged])

    def _outcome(self, one: Taken, attempt: Callable[[], _Found]) -> _Found | Outcome:
        """What an attempt gives, or what becomes of the window that it fails."""
        plan, window = one.plan, one.window
        try:
            return attempt()
        except LeaseLost:
            return self._lost(plan, window)
        except HeldByAnother as error:
            return self._open_again(plan, window, str(error))
        except OutOfMemoryError:
            # Nothing was written; a waiting window costs a few bytes.
            return self._open_again(plan, window, "Redis is out of memory")
        except QueryTooLarge as error:
            return self._split(plan, window, error)
        except QueryRejected as error:
            return self._rejected(plan, window, error)
        except SourceLacks as error:
            return self._defer(plan, window, error)
        except SourceError as error:
            return self._source_failed(plan, window, error)

    def _renew(self, taken: Sequence[Taken]) -> bool:
        for one in taken:
            # What is committed is nobody's any more.
            if not one.lost and not one.committed:
                one.lost = not self.windows.renew(one.plan.feed, one.window)
        return not all(one.lost for one in taken)

    def _release(self, taken: list[Taken]) -> None:
        """Give all but the first back."""
        for one in taken[1:]:
            self.windows.release(one.plan.feed, one.window)

    # -- reading ------------------------------------------------------------------------------

    def _stage(self, reader: WindowReader, taken: list[Taken]) -> Outcome | None:
        first = taken[0]
        # Another worker that knows may have planned it, before this one has asked the source.
        settle_ms = first.plan.settle_ms if first.plan.settle_known else 0
        settled_at_ms = first.window.end_ms + settle_ms
        early_ms = settled_at_ms - self.believed_ms(settled_at_ms)
        if early_ms > 0:
            return self._too_early(first.plan, first.window, early_ms)
        try:
            reader.stage(taken)
        except (QueryTooLarge, QueryRejected):
            if len(taken) == 1:
                raise
            # It may be too much, or not be of one replica, only because of the others.
            self._release(taken)
            for one in taken:
                self._discard(one.read.staged)
            del taken[1:]
            first.read, first.failure = Read(), None
            reader.stage(taken)
        return None

    def _end(self, one: Taken, began: float) -> Outcome:
        """Commit what was read of a window, or say why it is not all of it."""
        plan, window, read = one.plan, one.window, one.read
        if one.lost:
            raise LeaseLost(f"{plan.feed.name}: the window was leased to another worker")
        if one.failure is not None:
            raise one.failure
        expired_until_ms = Expiry(self.history).until_ms(
            plan, window, one.origin_ms, read, self.clock() - began
        )
        if expired_until_ms is not None:
            return self._declare_gap(plan, window, expired_until_ms)
        status = self._commit(plan, window, read)
        outcome = self._committed(plan, window, read, status, self.clock() - began)
        one.committed = outcome is Outcome.COMMITTED
        return outcome

    # -- outcomes -----------------------------------------------------------------------------

    def _commit(self, plan: Plan, window: Window, read: Read) -> str:
        raw = plan.query.kind == "select"
        if read.replica:
            self.note_replica(plan.feed, window, read.replica)
        return self.windows.commit(
            plan.feed,
            window,
            read.staged,
            recheck_after_seconds=() if plan.feed.backfill else self.settings.recheck_after_seconds,
            source_samples=read.in_source if raw else read.digest.samples,
            digest=read.digest.sums,
            dropped={NATIVE_HISTOGRAM: read.histograms} if read.histograms else {},
            matched=read.samples > read.lead_ins or plan.query.may_be_empty,
        )

    def _committed(
        self, plan: Plan, window: Window, read: Read, status: str, seconds: float
    ) -> Outcome:
        if status == "refused":
            return self._lost(plan, window)
        if status != "committed":
            if status == "unstaged" and seconds > self.settings.staged_ttl_seconds:
                raise QueryTooLarge("was read for longer than extract.staged_ttl_seconds")
            return self._open_again(plan, window, status)
        self.on_source(SourceState(True))
        self._timed_out.pop((plan.feed.name, window.window_class), None)
        self.lengths.held(plan, window, read.samples)
        self.telemetry.inc("etl_extracted_samples_total", read.samples, **plan.feed.labels)
        if read.histograms:
            self._histograms_dropped(plan, read.histograms)
        self.telemetry.batch_succeeded(read.samples, seconds)
        self.telemetry.emit(
            "window_committed",
            **plan.feed.labels,
            start_ms=window.start_ms,
            end_ms=window.end_ms,
            samples=read.samples,
            entries=len(read.staged),
            seconds=round(seconds, 6),
        )
        return Outcome.COMMITTED

    def _histograms_dropped(self, plan: Plan, count: int) -> None:
        self.telemetry.inc("etl_dropped_samples_total", count, reason=NATIVE_HISTOGRAM)
        if plan.feed.name not in self._told_of_histograms:
            # Once: it is a property of the metric, and every window has some.
            self._told_of_histograms.add(plan.feed.name)
            self.telemetry.emit("histograms_dropped", **plan.feed.labels, samples=count)

    def _lost(self, plan: Plan, window: Window) -> Outcome:
        self.telemetry.emit("window_refused", **plan.feed.labels, window=window.id)
        return Outcome.LOST

    def _open_again(self, plan: Plan, window: Window, reason: str) -> Outcome:
        self._delay(plan, window)
        self.telemetry.emit("window_retried", **plan.feed.labels, window=window.id, reason=reason)
        return Outcome.OPEN

    def _declare_gap(self, plan: Plan, window: Window, until_ms: int) -> Outcome:
        reason = "older than what Prometheus keeps"
        if not self.windows.declare_gap(plan.feed, window, until_ms, reason):
            return self._lost(plan, window)
        gap_seconds = (until_ms - window.start_ms) / 1000
        if not plan.feed.backfill:
            self.telemetry.inc("etl_gap_seconds_total", gap_seconds, **plan.feed.labels)
        self.telemetry.emit(
            "backfill_expired" if plan.feed.backfill else "gap_declared",
            **plan.feed.labels,
            start_ms=window.start_ms,
            end_ms=until_ms,
            reason=reason,
        )
        if until_ms < window.end_ms:
            # The rest stays leased to nobody in particular: it is read again by itself.
            self.windows.retry(plan.feed, window, 0.0)
        return Outcome.GAP

    def _split(self, plan: Plan, window: Window, error: QueryTooLarge) -> Outcome:
        middle_ms = plan.middle_ms(window)
        if middle_ms is None:
            return self._defer(plan, window, error)
        self.lengths.too_long(plan, window)
        if not self.windows.split(plan.feed, window, middle_ms):
            return self._lost(plan, window)
        self.telemetry.emit("window_split", **plan.feed.labels, window=window.id, reason=str(error))
        return Outcome.SPLIT

    def _too_early(self, plan: Plan, window: Window, early_ms: int) -> Outcome:
        """It was planned by a clock that was wrong: what has not settled yet is not read."""
        early = f"ends {early_ms} ms after what has settled by the source's clock"
        event = {**plan.feed.labels, "window": window.id, "reason": early}
        settled_ms = floor_to(window.end_ms - early_ms, plan.step_ms)
        if window.start_ms < settled_ms and self.windows.split(plan.feed, window, settled_ms):
            self.telemetry.emit("window_split", **event)
            return Outcome.SPLIT
        after_seconds = min(early_ms / 1000, self.settings.backoff_max_seconds)
        self.windows.retry(plan.feed, window, after_seconds)
        self.telemetry.emit("window_retried", **event)
        return Outcome.OPEN

    def _defer(self, plan: Plan, window: Window, error: SourceError) -> Outcome:
        """One step that cannot be read: it fails alone, visibly, and what else there is goes on."""
        shortest, longest = 2 * self._shortest_seconds(), self.settings.backoff_max_seconds
        kept = self.windows.defer(plan.feed, window, shortest, longest)
        self._failed(plan, error)
        return Outcome.OPEN if kept else self._lost(plan, window)

    def _rejected(self, plan: Plan, window: Window, error: SourceError) -> Outcome:
        """What is rejected may be a part of the window: each half is tried by itself.

        The feed waits as it does after any failure: perhaps the whole query is wrong.
        """
        middle_ms = plan.middle_ms(window)
        if middle_ms is None:
            return self._defer(plan, window, error)
        hold_seconds = self._shortest_seconds(), self.settings.backoff_max_seconds
        kept = self.windows.split(plan.feed, window, middle_ms, hold_seconds)
        self._failed(plan, error)
        return Outcome.SPLIT if kept else self._lost(plan, window)

    def _source_failed(self, plan: Plan, window: Window, error: SourceError) -> Outcome:
        longest = self.settings.backoff_max_seconds
        shortest = self._shortest_seconds()
        if isinstance(error, SourceUnavailable) and error.retry_after_seconds is not None:
            shortest = max(shortest, min(error.retry_after_seconds, longest))
        self.on_source(SourceState(False, str(error)))
        if isinstance(error, SourceUnavailable) and error.may_be_too_large:
            key = plan.feed.name, window.window_class
            self._timed_out[key] = self._timed_out.get(key, 0) + 1
            if self._timed_out[key] > TIMED_OUT_ATTEMPTS:
                return self._rejected(plan, window, error)
        kept = self.windows.fail(plan.feed, window, shortest, longest)
        self._failed(plan, error)
        return Outcome.OPEN if kept else self._lost(plan, window)

    def _shortest_seconds(self) -> float:
        """It doubles with each failure in a row, which Redis counts for all workers."""
        return self.rng.uniform(0.5, 1.0) * self.settings.backoff_base_seconds

    def _failed(self, plan: Plan, error: SourceError) -> None:
        name = type(error).__name__
        self.telemetry.batch_failed(name)
        self.telemetry.emit(
            "query_failed",
            **plan.feed.labels,
            error_type=name,
            error=str(error),
            paused=isinstance(error, SourceRefused),
        )

    def _delay(self, plan: Plan, window: Window) -> None:
        settings = self.settings
        shortest_seconds = settings.backoff_base_seconds
        backoff = Backoff(2 * shortest_seconds, settings.backoff_max_seconds, shortest_seconds)
        self.windows.retry(plan.feed, window, backoff.seconds(window.attempts + 1, self.rng))

    def _discard(self, staged: list[Staged]) -> None:
        try:
            self.windows.discard(staged)
        except RedisError:
            # They carry a TTL for exactly this.
            self.telemetry.emit("discard_failed", entries=len(staged))
