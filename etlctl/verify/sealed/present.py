"""The outcome for sealed windows as a table, sentences and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from etlctl.output import escape, thousands
from etlctl.times import rfc3339
from services.verifier.sealed.outcome import (
    DAMAGE,
    Kind,
    QueryOutcome,
    SealedOutcome,
    SealedOutcomes,
    Windows,
)
from services.verifier.verdict import Verdict

if TYPE_CHECKING:
    from rich.table import Table

EXAMPLES_MAX = 3

WORDS = {
    Kind.ALTERED: "altered",
    Kind.THINNED: "thinned",
    Kind.DELETED: "deleted",
    Kind.EXTRA: "extra",
    Kind.EXPIRED: "expired",
    Kind.REPLACED: "loaded again in part",
    Kind.UNTOLD: "not told from other queries",
    Kind.UNREADABLE: "unreadable seal",
}
_VERDICTS = {
    Verdict.EQUAL: "[green]intact[/]",
    Verdict.NOTHING_TO_COMPARE: "[yellow]nothing sealed[/]",
    Verdict.INCOMPLETE: "[yellow]incomplete[/]",
    Verdict.DIFFERENT: "[bold red]damaged[/]",
}
_NOTHING_CHECKED = "[yellow]Nothing could be checked.[/]"
_SENTENCES = {
    Verdict.EQUAL: "[green]Every sealed window is intact.[/]",
    Verdict.NOTHING_TO_COMPARE: "[yellow]A query has no sealed points: nothing is proven of it.[/]",
    Verdict.INCOMPLETE: "[yellow]What could be checked is intact; not everything could.[/]",
    Verdict.DIFFERENT: "[bold red]The sink does not hold what was loaded.[/]",
}


def table(outcome: SealedOutcome, tier: str = "") -> Table:
    """One row for each query; at most 80 columns where names and numbers are of common length."""
    from rich import box
    from rich.table import Table

    view = Table(title=f"{_of(tier)}Sealed windows", title_justify="left", box=box.SIMPLE_HEAD)
    view.add_column("query", overflow="fold")
    for heading in ("windows", "intact", *(WORDS[kind] for kind in DAMAGE)):
        view.add_column(heading, justify="right", no_wrap=True)
    view.add_column("verdict", no_wrap=True)
    for one in outcome.queries:
        numbers = (one.windows.total(), *(one.windows[kind] for kind in (Kind.INTACT, *DAMAGE)))
        view.add_row(escape(one.query), *map(thousands, numbers), _VERDICTS[one.verdict])
    return view


def details(outcome: SealedOutcome) -> Iterator[str]:
    """What is to be said of the numbers, one plain line each."""
    for one in outcome.queries:
        if one.start_ms is not None and one.end_ms is not None:
            yield f"{one.query}: checked {_span(one.start_ms, one.end_ms)}"
        for kind, word in WORDS.items():
            found = [windows for windows in one.found if windows.kind is kind]
            for windows in islice(found, EXAMPLES_MAX):
                yield f"{one.query}: {word}: {_windows(windows)}"
            if more := sum(windows.windows for windows in found[EXAMPLES_MAX:]):
                yield f"{one.query}: {word}: {_count(more)} more"
        if one.elsewhere:
            up_to = "up to " if one.elsewhere_at_most else ""
            yield (
                f"{one.query}: {up_to}{thousands(one.elsewhere)} points only in another bucket than"
                " load.bucket_from names for the series"
            )
        for start_ms, end_ms in one.unsealed[:EXAMPLES_MAX]:
            yield f"{one.query}: not sealed: {_span(start_ms, end_ms)}"
        if len(one.unsealed) > EXAMPLES_MAX:
            yield f"{one.query}: not sealed: {len(one.unsealed) - EXAMPLES_MAX} more ranges"
    for query in outcome.retired:
        yield f"{query}: has seals and is not configured, so that nobody can tell its series"
    yield from outcome.notes


def last_sentence(outcome: SealedOutcome, tier: str = "") -> str:
    """The verdict, as rich prints it."""
    return _of(tier) + _sentence(outcome)


def _of(tier: str) -> str:
    return f"{tier}: " if tier else ""


def _sentence(outcome: SealedOutcome) -> str:
    if outcome.verdict is Verdict.INCOMPLETE and not any(one.points for one in outcome.queries):
        return _NOTHING_CHECKED
    return _SENTENCES[outcome.verdict]


def as_json(outcomes: SealedOutcomes) -> dict[str, Any]:
    """The outcome of all tiers; times in ms since the epoch, ranges ``(start, end]``."""
    by_tier = outcomes.by_tier
    return {
        "verdict": outcomes.verdict,
        "queries": [
            _query_json(tier, one) for tier, outcome in by_tier.items() for one in outcome.queries
        ],
        "not_configured": sorted({name for one in by_tier.values() for name in one.retired}),
        "notes": [note for one in by_tier.values() for note in one.notes],
        "tiers": {tier: {"verdict": outcome.verdict} for tier, outcome in by_tier.items()},
    }


def _query_json(tier: str, one: QueryOutcome) -> dict[str, Any]:
    return {
        "query": one.query,
        "tier": tier,
        "verdict": one.verdict,
        "from_ms": one.start_ms,
        "to_ms": one.end_ms,
        "windows": {kind.value: one.windows[kind] for kind in Kind},
        "intact_points": one.points,
        "in_another_bucket": one.elsewhere,
        "in_another_bucket_at_most": one.elsewhere_at_most,
        "found": [
            {
                "kind": windows.kind.value,
                "from_ms": windows.start_ms,
                "to_ms": windows.end_ms,
                "windows": windows.windows,
                "sealed_points": windows.sealed,
                "found_points": windows.found,
            }
            for windows in one.found
        ],
        "not_sealed": [{"from_ms": start, "to_ms": end} for start, end in one.unsealed],
    }


def _windows(windows: Windows) -> str:
    said = f"{_count(windows.windows)}, {_span(windows.start_ms, windows.end_ms)}"
    if windows.kind in DAMAGE:
        said += f": {thousands(windows.sealed)} points sealed, {thousands(windows.found)} found"
    return said


def _count(windows: int) -> str:
    return f"{thousands(windows)} window" + ("" if windows == 1 else "s")


def _span(start_ms: int, end_ms: int) -> str:
    return f"{rfc3339(start_ms)} to {rfc3339(end_ms)}"
