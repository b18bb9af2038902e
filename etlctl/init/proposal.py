"""The queries that are proposed, and what they come to."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from etlctl.init.source import DAY_SECONDS, Job, SourceFacts

# InfluxData's own figure for a float in a TSM file.
STORED_BYTES_A_POINT = 3
# Loading of history was measured at 290,000 points a second on two cores (docs/history.md); with
# other work beside it, less.
HISTORY_POINTS_A_SECOND = 150_000
HEALTH = "health"
_LONGEST_INTERVAL_SECONDS = 60
_SHORTEST_INTERVAL_SECONDS = 1
_FIRST_LOOKBACK_SECONDS = 3_600
# The file outlives a Prometheus that has just started: its age of now says nothing then. What it
# does not hold at the first start is not asked for.
_LEAST_LOOKBACK_SECONDS = 300
# With more, one table each comes near the 2,000 that InfluxDB 3 Core holds: a histogram is three.
ONE_TABLE_METRICS = 1_000


@dataclass(frozen=True, slots=True)
class ProposedQuery:
    """A query of etl.yaml: raw samples of a job (``selector``), or an expression at a step.

    ``sources``: those of several that it is read from, where not all have the job.
    """

    name: str
    selector: str
    expr: str
    step_seconds: float
    series: int
    samples_a_day: int
    why: str
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is to be extracted, and what it comes to."""

    queries: tuple[ProposedQuery, ...]
    interval_seconds: int
    settle_seconds: int | None
    lookback_seconds: int
    history_seconds: float

    @property
    def samples_a_day(self) -> int:
        """Of all queries."""
        return sum(query.samples_a_day for query in self.queries)

    @property
    def stored_bytes_a_day(self) -> int:
        """What InfluxDB needs for them, once compacted."""
        return self.samples_a_day * STORED_BYTES_A_POINT

    @property
    def history_samples(self) -> int:
        """What Prometheus holds of them, if all was as now."""
        return round(self.samples_a_day * self.history_seconds / DAY_SECONDS)

    @property
    def history_load_seconds(self) -> float:
        """How long loading that would take."""
        return self.history_samples / HISTORY_POINTS_A_SECOND


def propose(facts: SourceFacts, jobs: Sequence[Job]) -> Proposal:
    """Raw samples of each job, and the health of all of them as one small measurement."""
    usual = Counter(job.interval_seconds for job in jobs).most_common(1)[0][0] if jobs else 15.0
    shortest = min((job.interval_seconds for job in jobs), default=15.0)
    interval = min(max(ceil(shortest), _SHORTEST_INTERVAL_SECONDS), _LONGEST_INTERVAL_SECONDS)
    step = max(_SHORTEST_INTERVAL_SECONDS, ceil(usual))
    targets = sum(job.targets for job in jobs)
    queries = [
        ProposedQuery(
            HEALTH,
            "",
            _up(facts, jobs),
            step,
            targets,
            round(targets * DAY_SECONDS / step),
            "whether each target answers: 1 or 0",
        )
    ]
    names = {HEALTH}
    for job in jobs:
        name = _unique(job.name, names)
        names.add(name)
        selector = f"{{job={json.dumps(job.name, ensure_ascii=False)}}}"
        queries.append(
            ProposedQuery(
                name,
                selector,
                "",
                job.interval_seconds,
                job.series,
                job.samples_a_day,
                f"all samples of job {job.name}, {job.series:,} series every "
                f"{job.interval_seconds:g} s",
                job.sources if len(job.sources) < len(facts.sources) else (),
            )
        )
    return Proposal(
        tuple(queries),
        interval,
        None if facts.settle_seconds is None else ceil(facts.settle_seconds),
        _lookback_seconds(facts.history_seconds),
        facts.history_seconds,
    )


def _lookback_seconds(history_seconds: float) -> int:
    whole_minutes = int((history_seconds or _FIRST_LOOKBACK_SECONDS) // 60) * 60
    return min(max(whole_minutes, _LEAST_LOOKBACK_SECONDS), _FIRST_LOOKBACK_SECONDS)


def _up(facts: SourceFacts, jobs: Sequence[Job]) -> str:
    if len(jobs) == len(facts.jobs):
        return "up"
    names = "|".join(re.escape(job.name) for job in jobs)
    return f"up{{job=~{json.dumps(names, ensure_ascii=False)}}}"


def _unique(job: str, taken: set[str]) -> str:
    """A name that etl.yaml takes: of the job's own characters where it has them."""
    plain = re.sub(r"[^a-zA-Z0-9_]", "_", job)[:90] or "job"
    name = plain if not plain[0].isdigit() else f"job_{plain}"
    number = 2
    while name in taken or name.startswith("etl_"):
        name, number = f"job_{plain}_{number}", number + 1
    return name
