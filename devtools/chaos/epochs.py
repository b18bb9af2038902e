"""What a ledger claims to have extracted against what Prometheus has, sample by sample counted.

An epoch is the life of one ledger: it ends when Redis loses everything, or with the run. A lane's
ledger must have booked each sample of its committed time exactly once, and those of time that was
opened again once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from common.config import Query
from common.state.windows import LaneStatus
from devtools.chaos.rig import Rig
from etlctl.connect import source_of
from etlctl.verify.source import Source

Span = tuple[int, int]
"""``(start_ms, end_ms]``."""

# Short enough for one query of the busiest lane.
_PIECE_MS = 10_000


@dataclass(slots=True)
class Epoch:
    """One ledger at its end: samples and committed time of each lane."""

    extracted: Mapping[str, int]
    committed: Mapping[str, Sequence[Span]]
    repeated: Mapping[str, Sequence[Span]]
    repeated_samples: Mapping[str, int]


@dataclass(slots=True)
class Epochs:
    """All ledgers of a run.

    ``owed_from_ms``: up to where the lanes of the last closed ledger were loaded, so from where
    the next one owes their time at the latest.
    """

    closed: list[Epoch] = field(default_factory=list)
    owed_from_ms: dict[str, int] = field(default_factory=dict)
    _repeated: dict[str, list[Span]] = field(default_factory=dict)
    _reopened_before: dict[str, int] = field(default_factory=dict)

    def repeat(self, lane: str, start_ms: int, end_ms: int) -> None:
        """Committed time of a lane was put back on purpose: its samples are booked twice."""
        self._repeated.setdefault(lane, []).append((start_ms, end_ms))

    def close(self, rig: Rig) -> Epoch:
        """Read the ledger and the lanes; no service may reach Redis while this is done."""
        audit, lanes = rig.ledger.audit(), rig.lanes()
        reopened = rig.journal.reopened_samples()
        epoch = Epoch(
            {lane: account.extracted for lane, account in audit.accounts.items()},
            {lane: list(committed(status)) for lane, status in lanes.items()},
            self._repeated,
            {lane: n - self._reopened_before.get(lane, 0) for lane, n in reopened.items()},
        )
        self._repeated, self._reopened_before = {}, reopened
        self.owed_from_ms = {lane: status.loaded_watermark_ms for lane, status in lanes.items()}
        self.closed.append(epoch)
        return epoch

    @property
    def extracted(self) -> int:
        """Samples that all ledgers booked as extracted."""
        return sum(sum(epoch.extracted.values()) for epoch in self.closed)


@dataclass(frozen=True, slots=True)
class Count:
    """A lane of an epoch: samples booked as extracted, and what should have been booked."""

    lane: str
    booked: int
    wanted: int


def counts(rig: Rig, epochs: Epochs) -> list[Count]:
    """One count for each lane of each epoch; asks Prometheus for all of it."""
    source = source_of(rig.settings)
    try:
        return [
            Count(
                lane,
                epoch.extracted.get(lane, 0),
                _samples(source, query, epoch.committed.get(lane, ()))
                + _samples(source, query, epoch.repeated.get(lane, ()))
                + epoch.repeated_samples.get(lane, 0),
            )
            for epoch in epochs.closed
            for query in rig.settings.extract.queries
            for lane in [f"{query.name}@hot"]
        ]
    finally:
        source.close()


def committed(lane: LaneStatus) -> Iterator[Span]:
    """The lane's time from origin to head, less what is in the backlog or open."""
    cursor = lane.origin_ms
    for start_ms, end_ms in sorted((*lane.backlog, *lane.open)):
        if cursor < start_ms:
            yield cursor, start_ms
        cursor = max(cursor, end_ms)
    if cursor < lane.head_ms:
        yield cursor, lane.head_ms


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
