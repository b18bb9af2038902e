"""What a ledger claims to have extracted against what Prometheus has, sample by sample counted.

An epoch is the life of one ledger: it ends when Redis loses everything, or with the run. A feed's
ledger must have recorded each sample of its committed time exactly once, and those of time that was
opened again once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from common.config import Query
from common.state.backfills import by_feed
from common.state.ranges import without
from common.state.windows import FeedStatus
from devtools.chaos.comparing import Reader
from devtools.chaos.rig import Rig
from services.extractor.windows import Plan
from services.verifier.source import SourceSeries
from services.verifier.wiring import HOT

Span = tuple[int, int]
"""``(start_ms, end_ms]``."""

# Short enough for one query of the busiest feed.
_PIECE_MS = 10_000
# So few of them let the next piece be twice as long.
_FEW_SAMPLES = 20_000


@dataclass(slots=True)
class Epoch:
    """One ledger at its end: samples and committed time of each feed, with that of backfills.

    ``loaded``: or dead-lettered. ``repeated``: committed once more, on purpose or, of a rollup, by
    a service; of other feeds the samples of those are ``repeated_samples``. ``unsettled``: whose
    samples were still in flight.
    """

    extracted: Mapping[str, int]
    committed: Mapping[str, Sequence[Span]]
    repeated: Mapping[str, Sequence[Span]]
    repeated_samples: Mapping[str, int]
    loaded: Mapping[str, int] = field(default_factory=dict)
    unsettled: Mapping[str, Sequence[Span]] = field(default_factory=dict)


@dataclass(slots=True)
class Epochs:
    """All ledgers of a run.

    ``begin_by_ms``: up to where the feeds of the last closed ledger were loaded, which is where
    the next one begins at the latest.
    """

    closed: list[Epoch] = field(default_factory=list)
    begin_by_ms: dict[str, int] = field(default_factory=dict)
    _repeated: dict[str, list[Span]] = field(default_factory=dict)
    _reopened_before: dict[str, int] = field(default_factory=dict)
    _spans_before: int = 0

    def repeat(self, feed: str, start_ms: int, end_ms: int) -> None:
        """Committed time of a feed was put back on purpose: its samples are recorded twice."""
        self._repeated.setdefault(feed, []).append((start_ms, end_ms))

    def close(self, rig: Rig) -> Epoch:
        """Read the ledger and the feeds; no service may reach Redis while this is done."""
        audit, feeds = rig.ledger.audit(), rig.feeds()
        reopened, spans = rig.journal.reopened_samples(), rig.journal.reopened_spans()
        for feed, (start_ms, end_ms) in spans[self._spans_before :]:
            if not feed.endswith(f"@{HOT}"):
                self.repeat(feed, start_ms, end_ms)
        parts = by_feed(rig.backfill.parts(), feeds)
        epoch = Epoch(
            {feed: account.extracted for feed, account in audit.accounts.items()},
            {
                feed: [*committed(status), *(one for part in parts[feed] for one in part.extracted)]
                for feed, status in feeds.items()
            },
            self._repeated,
            {feed: n - self._reopened_before.get(feed, 0) for feed, n in reopened.items()},
            {feed: one.loaded + one.dead_lettered for feed, one in audit.accounts.items()},
            {feed: [*status.unsettled, *status.below] for feed, status in feeds.items()},
        )
        self._repeated, self._reopened_before, self._spans_before = {}, reopened, len(spans)
        self.begin_by_ms = {feed: status.loaded_watermark_ms for feed, status in feeds.items()}
        self.closed.append(epoch)
        return epoch

    @property
    def extracted(self) -> int:
        """Samples that all ledgers recorded as extracted."""
        return sum(sum(epoch.extracted.values()) for epoch in self.closed)


@dataclass(frozen=True, slots=True)
class Count:
    """A feed of an epoch: samples recorded as extracted, and what should have been recorded.

    Of a rollup, what was extracted depends on how time was cut into windows: there it is points
    recorded as loaded. While some are in flight, anything between what is settled and what is
    committed is right.
    """

    feed: str
    recorded: int
    wanted: int


def counts(rig: Rig, epochs: Epochs) -> list[Count]:
    """One count for each feed of each epoch; asks Prometheus for all of it."""
    found = []
    for epoch in epochs.closed:
        for plan in rig.plans:
            with closing(rig.source_of_feed(plan.feed.name)) as source:
                count = _rollup_count if plan.rollup else _count
                found.append(count(source, plan, epoch))
    return found


def _count(source: Reader, plan: Plan, epoch: Epoch) -> Count:
    feed = plan.feed.name
    spans = [*epoch.committed.get(feed, ()), *epoch.repeated.get(feed, ())]
    wanted = sum(len(one.values) for one in _read(source, plan.query, spans))
    return Count(feed, epoch.extracted.get(feed, 0), wanted + epoch.repeated_samples.get(feed, 0))


def _rollup_count(source: Reader, plan: Plan, epoch: Epoch) -> Count:
    feed, step_ms = plan.feed.name, plan.step_ms

    def points(spans: Iterable[Span]) -> int:
        """A point for each bucket with a number, of each series."""
        return sum(
            len(np.unique(-(-one.timestamps_ms[np.isfinite(one.values)] // step_ms)))
            for one in _read(source, plan.query, spans)
        )

    spans = [*epoch.committed.get(feed, ()), *epoch.repeated.get(feed, ())]
    in_flight, recorded = epoch.unsettled.get(feed, ()), epoch.loaded.get(feed, 0)
    most = points(spans)
    # A span may be there more than once.
    least = (
        points(part for one in spans for part in without([one], in_flight)) if in_flight else most
    )
    return Count(feed, recorded, min(max(recorded, least), most))


def committed(feed: FeedStatus) -> Iterator[Span]:
    """The feed's time from origin to head, less what is in the backlog or open."""
    cursor = feed.origin_ms
    for start_ms, end_ms in sorted((*feed.backlog, *feed.open)):
        if cursor < start_ms:
            yield cursor, start_ms
        cursor = max(cursor, end_ms)
    if cursor < feed.head_ms:
        yield cursor, feed.head_ms


def _read(source: Reader, query: Query, spans: Iterable[Span]) -> Iterator[SourceSeries]:
    """Each series in each piece of the spans."""
    for start_ms, end_ms in spans:
        cursor_ms, piece_ms = start_ms, _PIECE_MS
        while cursor_ms < end_ms:
            stop_ms = min(end_ms, cursor_ms + piece_ms)
            if query.kind == "select":
                series = source.read_select(query.text, cursor_ms, stop_ms)
            else:
                series = source.read_expr(query.text, query.step_ms, cursor_ms, stop_ms)
            samples = sum(len(one.values) for one in series)
            yield from series
            # What is thin needs few questions; a piece is always a multiple of the first.
            piece_ms = piece_ms * 2 if samples < _FEW_SAMPLES else _PIECE_MS
            cursor_ms = stop_ms
