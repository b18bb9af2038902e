"""What the workers of each stage say of themselves, together, and how long the backlog takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from common.state.feeds import FeedStatus
from common.state.ledger import Audit
from common.state.ranges import length_ms
from common.state.status.findings import SERVICES
from common.state.workers import WorkerReport

RATE = "etl_current_rate_records_per_second"
_BATCH = "etl_avg_processing_time_seconds"


@dataclass(frozen=True, slots=True)
class Stage:
    """The workers of a service. The rate is over the last minute, ``batch_seconds`` a mean."""

    service: str
    workers: Sequence[WorkerReport]

    @property
    def ready(self) -> int:
        """How many of them are."""
        return sum(one.ready for one in self.workers)

    @property
    def samples_per_second(self) -> float:
        """Of all of them together."""
        return sum(self._figures(RATE))

    @property
    def batch_seconds(self) -> float | None:
        """Mean time for a batch; None where nobody says it."""
        found = self._figures(_BATCH)
        return sum(found) / len(found) if found else None

    def _figures(self, name: str) -> list[float]:
        return [one.figures[name] for one in self.workers if name in one.figures]


def stages(workers: Sequence[WorkerReport]) -> list[Stage]:
    """One for each service of the pipeline, in the order of the data."""
    return [
        Stage(service, [one for one in workers if one.service == service]) for service in SERVICES
    ]


@dataclass(frozen=True, slots=True)
class Backlog:
    """Time that is still to be extracted, of all feeds together.

    ``eta_seconds``: how long that takes about, at the rate of the last minute; None where it
    cannot be told, or the backlog does not shrink.
    """

    seconds: int
    feeds: int
    eta_seconds: float | None


def backlog(
    audit: Audit, feeds: Mapping[str, FeedStatus], workers: Sequence[WorkerReport]
) -> Backlog:
    """The backlog; its samples are taken to lie as close as those that were extracted before."""
    waiting_ms = {
        name: length_ms([*feed.backlog, *feed.open]) for name, feed in feeds.items() if feed.backlog
    }
    rate = stages(workers)[0].samples_per_second
    samples = coming_per_second = 0.0
    is_known = True
    for name, feed in feeds.items():
        account = audit.accounts.get(name)
        left_ms = waiting_ms.get(name, 0)
        extracted_ms = feed.head_ms - feed.origin_ms - left_ms
        if account is None or extracted_ms <= 0:
            is_known = is_known and not left_ms
            continue
        per_ms = account.extracted / extracted_ms
        coming_per_second += 1000 * per_ms
        samples += left_ms * per_ms
    shrinks_by = rate - coming_per_second
    eta_seconds = samples / shrinks_by if is_known and shrinks_by > 0 else None
    return Backlog(sum(waiting_ms.values()) // 1000, len(waiting_ms), eta_seconds)
