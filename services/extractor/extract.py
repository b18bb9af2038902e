"""Extract one leased window: read it, stage its entries, commit it whole; or say why not.

Whatever happens, the window is left in a state from which it will be extracted: committed, split,
open for another attempt, or back in the backlog.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from redis.exceptions import OutOfMemoryError, RedisError

from common.config import ExtractSettings, Query
from common.errors import (
    LeaseLost,
    QueryRejected,
    QueryTooLarge,
    SourceError,
    SourceRefused,
    SourceUnavailable,
)
from common.runtime.telemetry import Telemetry
from common.samples.batch import Origin, SampleBatch
from common.samples.columns import Samples
from common.state.windows import Staged, Window, WindowSet
from services.extractor.prometheus import NO_SAMPLES_MS
from services.extractor.staging import CollisionAcrossEntries
from services.extractor.windows import Plan


class Source(Protocol):
    """What extraction needs of Prometheus."""

    def read(self, query: Query, start_ms: int, end_ms: int) -> Iterable[Samples]:
        """Samples of ``(start_ms, end_ms]`` in blocks, as they arrive."""
        ...

    def lowest_timestamp_ms(self) -> int | None:
        """The oldest timestamp that the source still holds, if it says so."""
        ...


class Packer(Protocol):
    """Groups blocks into batches, one for each stream entry."""

    def __call__(
        self, blocks: Iterable[Samples], origin: Origin, *, grouped: bool
    ) -> Iterator[SampleBatch]:
        """Batches of the window; ``grouped`` buffers it whole so that colliding series meet."""
        ...


class Outcome(Enum):
    """What became of a window."""

    COMMITTED = "committed"
    SPLIT = "split"
    OPEN = "open"  # to be tried again
    LOST = "lost"  # somebody else has it
    GAP = "gap"  # the source does not hold it any more


@dataclass(frozen=True, slots=True)
class SourceState:
    """Whether Prometheus serves us; ``reason`` is empty when it does."""

    ok: bool
    reason: str = ""


class Extractor:
    """Turns leased windows into entries of the raw stream."""

    def __init__(
        self,
        windows: WindowSet,
        source: Source,
        pack: Packer,
        settings: ExtractSettings,
        telemetry: Telemetry,
        *,
        on_source: Callable[[SourceState], None] = lambda _: None,
        tick: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self._windows = windows
        self._source = source
        self._pack = pack
        self._settings = settings
        self._telemetry = telemetry
        self._on_source = on_source
        self._tick = tick
        self._clock = clock
        self._rng = rng or random.Random()

    def run(self, plan: Plan, window: Window, origin_ms: int) -> Outcome:
        """Extract ``window``.

        Raises :class:`redis.exceptions.RedisError` when Redis cannot be asked; the lease then runs
        out and the window is leased again.
        """
        started = self._clock()
        labels: dict[str, Any] = {"query": plan.feed.query, "tier": plan.feed.tier}
        staged: list[Staged] = []
        committed = False
        try:
            with _Lease(self._windows, plan, window, self._settings.window_lease_seconds) as lease:
                samples = self._stage(plan, window, staged, lease)
                gone = self._gone(plan, window, origin_ms, samples)
                if gone is not None:
                    return gone
                raw = plan.query.kind == "select"
                status = self._windows.commit(
                    plan.feed,
                    window,
                    staged,
                    # Late samples change no rule that was evaluated before they came.
                    recheck_after_seconds=self._settings.recheck_after_seconds if raw else 0.0,
                    source_samples=samples + lease.histograms,
                )
            committed = status == "committed"
            if committed:
                self._on_source(SourceState(True))
                seconds = self._clock() - started
                self._telemetry.inc("etl_extracted_samples_total", samples, **labels)
                self._telemetry.batch_succeeded(samples, seconds)
                self._telemetry.emit(
                    "window_committed",
                    **labels,
                    start_ms=window.start_ms,
                    end_ms=window.end_ms,
                    samples=samples,
                    entries=len(staged),
                    seconds=round(seconds, 6),
                )
                return Outcome.COMMITTED
            if status == "refused":
                self._telemetry.emit("window_refused", **labels, window=window.id)
                return Outcome.LOST
            if status == "unstaged" and self._clock() - started > self._settings.staged_ttl_seconds:
                raise QueryTooLarge("was read for longer than extract.staged_ttl_seconds")
            self._wait_for_next(plan, window)
            self._telemetry.emit("window_retried", **labels, window=window.id, reason=status)
            return Outcome.OPEN
        except LeaseLost:
            self._telemetry.emit("window_refused", **labels, window=window.id)
            return Outcome.LOST
        except OutOfMemoryError:
            # Redis is at maxmemory: nothing was written; a waiting window costs a few bytes.
            self._wait_for_next(plan, window)
            self._telemetry.emit(
                "window_retried", **labels, window=window.id, reason="Redis is out of memory"
            )
            return Outcome.OPEN
        except QueryTooLarge as error:
            return self._too_large(plan, window, error)
        except SourceError as error:
            return self._source_failed(plan, window, error)
        finally:
            if not committed:
                self._discard(staged)

    def _stage(self, plan: Plan, window: Window, staged: list[Staged], lease: _Lease) -> int:
        """Stage the window's entries as they are decoded; the number of samples."""
        try:
            return self._stage_once(plan, window, staged, lease, grouped=False)
        except CollisionAcrossEntries:
            # Two series became one by relabelling and sat in different entries.
            self._windows.discard(staged)
            staged.clear()
            lease.histograms = 0
            return self._stage_once(plan, window, staged, lease, grouped=True)

    def _stage_once(
        self, plan: Plan, window: Window, staged: list[Staged], lease: _Lease, *, grouped: bool
    ) -> int:
        feed = plan.feed
        origin = Origin(feed.query, feed.kind, feed.tier, window.id, window.start_ms, window.end_ms)
        blocks = self._watched(
            self._source.read(plan.query, window.start_ms, window.end_ms), plan, lease
        )
        samples = 0
        for batch in self._pack(blocks, origin, grouped=grouped):
            staged.append(
                self._windows.stage(batch.encode(), len(batch), self._settings.staged_ttl_seconds)
            )
            samples += len(batch)
        return samples

    def _watched(self, blocks: Iterable[Samples], plan: Plan, lease: _Lease) -> Iterator[Samples]:
        for block in blocks:
            self._tick()  # a long window is work, not a standstill
            if lease.lost:
                raise LeaseLost(f"{plan.feed.name}: the window was leased to another worker")
            if block.histograms:
                lease.histograms += block.histograms
                self._telemetry.emit("histograms_skipped", block.histograms, query=plan.feed.query)
            yield block

    def _gone(self, plan: Plan, window: Window, origin_ms: int, samples: int) -> Outcome | None:
        """Declare what the source has deleted; neither an empty answer nor a full one tells.

        A Prometheus that lost its volume has samples again since its next scrape. The lowest
        timestamp is asked for after the read: what was deleted in between shows too.
        """
        lowest_ms = self._source.lowest_timestamp_ms()
        if samples and lowest_ms is not None and lowest_ms >= NO_SAMPLES_MS:
            # It gave us some a moment ago: it was started anew, and has not read its own log yet.
            raise SourceUnavailable(f"says that it holds nothing, but gave {samples} samples")
        until_ms = plan.gone_until_ms(window, origin_ms, lowest_ms)
        if until_ms is None:
            return None
        reason = "older than what Prometheus keeps"
        if not self._windows.declare_gap(plan.feed, window, until_ms, reason):
            return Outcome.LOST
        self._telemetry.inc(
            "etl_gap_seconds_total",
            (until_ms - window.start_ms) / 1000,
            query=plan.feed.query,
            tier=plan.feed.tier,
        )
        self._telemetry.emit(
            "gap_declared",
            query=plan.feed.query,
            tier=plan.feed.tier,
            start_ms=window.start_ms,
            end_ms=until_ms,
            reason=reason,
        )
        if until_ms < window.end_ms:
            # The rest stays leased to nobody in particular: it is read again by itself.
            self._windows.retry(plan.feed, window, 0.0)
        return Outcome.GAP

    def _too_large(self, plan: Plan, window: Window, error: QueryTooLarge) -> Outcome:
        labels: dict[str, Any] = {"query": plan.feed.query, "tier": plan.feed.tier}
        middle_ms = plan.middle_ms(window)
        if middle_ms is None:
            # One step and still too large: it fails alone and stays open, visibly.
            self._wait_for_next(plan, window)
            self._failed(labels, error)
            return Outcome.OPEN
        if not self._windows.split(plan.feed, window, middle_ms):
            return Outcome.LOST
        self._telemetry.emit("window_split", **labels, window=window.id, reason=str(error))
        return Outcome.SPLIT

    def _source_failed(self, plan: Plan, window: Window, error: SourceError) -> Outcome:
        labels: dict[str, Any] = {"query": plan.feed.query, "tier": plan.feed.tier}
        settings = self._settings
        shortest = self._rng.uniform(0.5, 1.0) * settings.backoff_base_seconds
        if isinstance(error, SourceUnavailable) and error.retry_after_seconds is not None:
            shortest = max(shortest, min(error.retry_after_seconds, settings.backoff_max_seconds))
        if not isinstance(error, QueryRejected):
            self._on_source(SourceState(False, str(error)))
        kept = self._windows.fail(plan.feed, window, shortest, settings.backoff_max_seconds)
        self._failed(labels, error)
        return Outcome.OPEN if kept else Outcome.LOST

    def _failed(self, labels: dict[str, Any], error: SourceError) -> None:
        name = type(error).__name__
        self._telemetry.batch_failed(name)
        self._telemetry.emit(
            "query_failed",
            **labels,
            error_type=name,
            error=str(error),
            hold=isinstance(error, SourceRefused),
        )

    def _wait_for_next(self, plan: Plan, window: Window) -> None:
        settings = self._settings
        ceiling = min(
            settings.backoff_max_seconds,
            settings.backoff_base_seconds * 2 ** min(window.attempts + 1, 16),
        )
        seconds = self._rng.uniform(settings.backoff_base_seconds, ceiling)
        self._windows.retry(plan.feed, window, seconds)

    def _discard(self, staged: list[Staged]) -> None:
        try:
            self._windows.discard(staged)
        except RedisError:
            # They carry a TTL for exactly this.
            self._telemetry.emit("discard_failed", entries=len(staged))


class _Lease:
    """Renews a window's lease from a thread while it is being extracted."""

    def __init__(
        self, windows: WindowSet, plan: Plan, window: Window, lease_seconds: float
    ) -> None:
        self._windows = windows
        self._plan = plan
        self._window = window
        self._every_seconds = lease_seconds / 3
        self._done = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._run, name="window-lease", daemon=True)
        # Native histogram samples met in the window: the source counts them, we do not carry them.
        self.histograms = 0

    @property
    def lost(self) -> bool:
        return self._lost.is_set()

    def __enter__(self) -> _Lease:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(self._every_seconds):
            try:
                if not self._windows.renew(self._plan.feed, self._window):
                    self._lost.set()
                    return
            except RedisError:
                # Not renewed this time; if it stays away, the commit will be refused.
                continue
