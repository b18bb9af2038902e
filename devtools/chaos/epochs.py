"""What a ledger claims to have extracted against what Prometheus has, sample by sample counted.

An epoch is the life of one ledger: it ends when Redis loses everything, or with the run. A feed's
ledger must have recorded each sample of its committed time exactly once, and those of time that was
opened again once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from common.config import Query
from common.state.windows import FeedStatus
from devtools.chaos.rig import Rig
from services.verifier.connect import source_of
from services.verifier.source import Source

Span = tuple[int, int]
"""``(start_ms, end_ms]``."""

# Short enough for one query of the busiest feed.
_PIECE_MS = 10_000


@dataclass(slots=True)
class Epoch:
    """One ledger at its end: samples and committed time of each feed."""

    extracted: Mapping[str, int]
    committed: Mapping[str, Sequence[Span]]
    repeated: Mapping[str, Sequence[Span]]
    repeated_samples: Mapping[str, int]


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

    def repeat(self, feed: str, start_ms: int, end_ms: int) -> None:
        """Committed time of a feed was put back on purpose: its samples are recorded twice."""
        self._repeated.setdefault(feed, []).append((start_ms, end_ms))

    def close(self, rig: Rig) -> Epoch:
        """Read the ledger and the feeds; no service may reach Redis while this is done."""
        audit, feeds = rig.ledger.audit(), rig.feeds()
        reopened = rig.journal.reopened_samples()
        epoch = Epoch(
            {feed: account.extracted for feed, account in audit.accounts.items()},
            {feed: list(committed(status)) for feed, status in feeds.items()},
            self._repeated,
            {feed: n - self._reopened_before.get(feed, 0) for feed, n in reopened.items()},
        )
        self._repeated, self._reopened_before = {}, reopened
        self.begin_by_ms = {feed: status.loaded_watermark_ms for feed, status in feeds.items()}
        self.closed.append(epoch)
        return epoch

    @property
    def extracted(self) -> int:
        """Samples that all ledgers recorded as extracted."""
        return sum(sum(epoch.extracted.values()) for epoch in self.closed)


@dataclass(frozen=True, slots=True)
class Count:
    """A feed of an epoch: samples recorded as extracted, and what should have been recorded."""

    feed: str
    recorded: int
    wanted: int


def counts(rig: Rig, epochs: Epochs) -> list[Count]:
    """One count for each feed of each epoch; asks Prometheus for all of it."""
    source = source_of(rig.settings)
    try:
        return [
            Count(
                feed,
                epoch.extracted.get(feed, 0),
                _samples(source, query, epoch.committed.get(feed, ()))
                + _samples(source, query, epoch.repeated.get(feed, ()))
                + epoch.repeated_samples.get(feed, 0),
            )
            for epoch in epochs.closed
            for query in rig.settings.extract.queries
            for feed in [f"{query.name}@hot"]
        ]
    finally:
        source.close()


def committed(feed: FeedStatus) -> Iterator[Span]:
    """The feed's time from origin to head, less what is in the backlog or open."""
    cursor = feed.origin_ms
    for start_ms, end_ms in sorted((*feed.backlog, *feed.open)):
        if cursor < start_ms:
            yield cursor, start_ms
        cursor = max(cursor, end_ms)
    if cursor < feed.head_ms:
        yield cursor, feed.head_ms


def _samples(source: Source, query: Query, spans: Sequence[Span]) -> int:
    total = 0
    for start_ms, end_ms in spans:
        for piece_ms in range(start_ms, end_ms, _PIECE_MS):
            stop_ms = min(end_ms, piece_ms + _PIECE_MS)
            if query.kind == "select":
                series = source.read_select(query.text, piece_ms, stop_ms)
            else:
                series = source.read_expr(query.text, query.step_ms, piece_ms, stop_ms)
            total += sum(len(one.values) for one in series)
    return total
