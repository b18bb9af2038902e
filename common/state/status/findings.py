"""What of a pipeline needs a person: what ``etlctl status`` and the status page say first.

It says no less than ``/readyz`` of each worker, which tells its readiness through Redis, and than
the ledger and the window set.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from common.state.backfills import Backfill
from common.state.feeds import FeedStatus
from common.state.ledger import Audit
from common.state.workers import SILENT_SECONDS, WorkerReport

SERVICES = ("extractor", "transformer", "loader")
# One failure may pass by itself.
FAILED_ATTEMPTS = 3
# Every feed is planned every few seconds.
UNPLANNED_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Finding:
    """``kind`` is for programs, ``what`` a few words for the first line, ``detail`` a sentence."""

    kind: str
    what: str
    detail: str


def findings(
    audit: Audit,
    feeds: Mapping[str, FeedStatus],
    workers: Sequence[WorkerReport],
    dead_letters_max: int | None,
    empty: Collection[str] = (),
    backfills: Sequence[Backfill] = (),
    differing: Mapping[str, int] = MappingProxyType({}),
) -> list[Finding]:
    """All of them, the worst first.

    ``empty`` are the feeds whose query matches no series; ``differing``: feed → points that differ.
    """
    return [
        *_of_the_ledger(audit, dead_letters_max),
        *_of_the_proofs(differing),
        *_of_the_workers(workers),
        *_of_the_configurations(workers),
        *_of_the_windows(feeds, audit.now_ms, empty),
        *_of_the_backfills(backfills),
    ]


def first_line(found: Sequence[Finding]) -> str:
    """Whether all is well, or what is not."""
    if not found:
        return "All is well: every extracted sample is accounted for, and nothing is held up."
    what = ", ".join(dict.fromkeys(one.what for one in found))
    return f"Not all is well: {what}."


def _of_the_ledger(audit: Audit, dead_letters_max: int | None) -> Iterator[Finding]:
    if audit.imbalance_samples:
        yield Finding(
            "not_accounted",
            "samples are not accounted for",
            f"{audit.imbalance_samples:,} samples are not accounted for;"
            f" lost from the streams: {audit.lost_samples:,}.",
        )
    if dead_letters_max is not None and audit.dead_letter_entries >= dead_letters_max:
        yield Finding(
            "dead_letters_full",
            "dead letters are at their cap",
            f"The dead letters are at their cap ({dead_letters_max:,}): entries with samples that"
            " would join them wait. Replay or purge some (etlctl dead-letters).",
        )
    if audit.back_pressure:
        yield Finding(
            "back_pressure",
            "extraction is paused",
            "Extraction is paused: too much is in flight.",
        )


def _of_the_proofs(differing: Mapping[str, int]) -> Iterator[Finding]:
    for name, points in differing.items():
        if points:
            yield Finding(
                "differs",
                "points differ",
                f"{name}: {points:,} points of the sink differed when the verifier compared last"
                " (etlctl verify).",
            )


def _of_the_workers(workers: Sequence[WorkerReport]) -> Iterator[Finding]:
    running = {one.service for one in workers}
    for service in SERVICES:
        if service not in running:
            yield Finding(
                "not_running",
                f"no {service} runs",
                f"No {service} has said for {SILENT_SECONDS:.0f} s that it runs.",
            )
    failing: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for one in workers:
        checks = one.failing or ({} if one.ready else {"readiness": "not ready"})
        for check, why in checks.items():
            failing[(one.service, check, why)].append(one.worker)
    for (service, check, why), names in failing.items():
        yield Finding(
            "not_ready",
            f"{service} not ready",
            f"{service} ({_who(names)}) is not ready: {check}: {why}",
        )


def _of_the_configurations(workers: Sequence[WorkerReport]) -> Iterator[Finding]:
    refused: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in workers:
        if one.refused:
            refused[(one.service, one.refused)].append(one.worker)
    for (service, why), names in refused.items():
        yield Finding(
            "config_refused",
            "a configuration is refused",
            f"{service} ({_who(names)}) refuses the configuration file as it is now, and goes on"
            f" with what it had: {'; '.join(why.splitlines())}",
        )


def _who(workers: Sequence[str]) -> str:
    return workers[0] if len(workers) == 1 else f"{len(workers)} of them"


def _of_the_windows(
    feeds: Mapping[str, FeedStatus], now_ms: int, empty: Collection[str]
) -> Iterator[Finding]:
    for name, feed in feeds.items():
        deferred_seconds = sum(end - start for start, end in feed.deferred) // 1000
        if deferred_seconds or feed.attempts >= FAILED_ATTEMPTS:
            what = f"{deferred_seconds:,} s of it wait" if deferred_seconds else "it waits"
            yield Finding(
                "windows_wait",
                "windows wait",
                f"{name} cannot be extracted: {what}. Failures in a row: {feed.attempts}.",
            )
        if feed.is_behind(now_ms):
            yield Finding(
                "behind",
                "queries are behind",
                f"{name} is behind: what is loaded is {feed.lag_ms(now_ms) // 1000:,} s old, with"
                f" a limit of {feed.lag_limit_ms // 1000:,} s.",
            )
        unplanned_seconds = (now_ms - feed.planned_ms) // 1000
        if unplanned_seconds > UNPLANNED_SECONDS:
            yield Finding(
                "not_planned",
                "queries are not planned",
                f"{name} was not planned for {unplanned_seconds:,} s.",
            )
    for name in empty:
        yield Finding(
            "matches_nothing", "queries match nothing", f"{name}: the query matches no series."
        )


def _of_the_backfills(backfills: Sequence[Backfill]) -> Iterator[Finding]:
    """One that is paused waits because somebody said so."""
    for one in backfills:
        for part in one.parts if one.state == "running" else ():
            if part.attempts >= FAILED_ATTEMPTS and part.coming:
                yield Finding(
                    "backfill_fails",
                    "backfills fail",
                    f"Backfill {one.id} cannot extract {part.feed}. Failures in a row:"
                    f" {part.attempts}.",
                )
