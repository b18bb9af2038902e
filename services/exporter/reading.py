"""What one look at Redis has found, beside the series that were made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from common.state.backfills import Backfill, Part
from common.state.feeds import FeedStatus, Gap
from common.state.ledger import Audit
from common.state.proven import FeedProof
from common.state.status.reading import PipelineStatus
from common.state.workers import WorkerReport
from services.exporter.series import Page


@dataclass(slots=True)
class Reading:
    """What could not be read is None or empty; ``missing`` says why, by part.

    ``page``: the series that were made of it. ``remark``: what is remarkable about Redis itself, or
    why it cannot be read at all. ``parts``: of backfills, by feed.
    """

    page: Page
    remark: str = ""
    missing: Mapping[str, str] = field(default_factory=dict)
    audit: Audit | None = None
    feeds: Mapping[str, FeedStatus] | None = None
    workers: Sequence[WorkerReport] | None = None
    backfills: Sequence[Backfill] = ()
    parts: Mapping[str, Sequence[Part]] = field(default_factory=dict)
    gaps: Mapping[str, Sequence[Gap]] = field(default_factory=dict)
    proofs: Mapping[str, FeedProof] = field(default_factory=dict)

    def status(self) -> PipelineStatus | None:
        """What is known of the pipeline; None where the most important part of it is missing."""
        if self.audit is None or self.feeds is None or self.workers is None:
            return None
        said = [int(one.figures.get("etl_dead_letters_max", 0)) for one in self.workers]
        return PipelineStatus(
            self.audit,
            self.feeds,
            self.workers,
            max(said, default=0) or None,
            backfills=self.backfills,
            gaps=self.gaps,
            proofs=self.proofs,
        )
