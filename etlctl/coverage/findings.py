"""What of a coverage needs a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from common.state.ranges import length_ms
from common.state.status.coverage import FeedCoverage, Samples
from common.state.status.findings import Finding
from etlctl.output import thousands


def findings(feeds: Sequence[FeedCoverage]) -> list[Finding]:
    """All of them, feed by feed."""
    return [one for feed in feeds for one in _of(feed)]


def first_line(found: Sequence[Finding], *, sink_read: bool) -> str:
    """Whether all is well, or what is not, or that it cannot be told."""
    if found:
        what = ", ".join(dict.fromkeys(one.what for one in found))
        return f"Not all is well: {what}."
    if not sink_read:
        return "Whether all is well cannot be told: the seals in the sink could not be read."
    return "All is well: what was planned of the range is loaded or under way."


def _of(feed: FeedCoverage) -> Iterator[Finding]:
    if feed.differing:
        yield Finding(
            "differs",
            "points differ",
            f"{feed.name}: {count(_total(feed.differing), 'point')} differed when the verifier"
            " compared last (etlctl verify).",
        )
    if feed.gaps:
        gap_ms = length_ms((gap.start_ms, gap.end_ms) for gap in feed.gaps)
        yield Finding("gap", "gaps", f"{feed.name}: {_seconds(gap_ms)} are gaps.")
    if feed.dead or feed.timeless_dead:
        number = _total(feed.dead) + feed.timeless_dead
        said = f"{feed.name}: {count(number, 'sample')} in dead letters"
        if feed.timeless_dead:
            said += f", {thousands(feed.timeless_dead)} of them at times that nobody can read"
        yield Finding("dead_letters", "dead letters", f"{said} (etlctl dead-letters).")
    if feed.deferred:
        yield Finding(
            "windows_wait",
            "windows wait",
            f"{feed.name}: {_seconds(length_ms(feed.deferred))} cannot be extracted, and wait.",
        )


def count(number: int, what: str) -> str:
    """``1 sample``, ``2,000 samples``."""
    return f"{thousands(number)} {what}" + ("" if number == 1 else "s")


def _total(found: Sequence[Samples]) -> int:
    return sum(one.number for one in found)


def _seconds(time_ms: int) -> str:
    return f"{thousands(-(-time_ms // 1_000))} s"
