"""The outcome of a verification as a table and as JSON."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from rich.markup import escape
from rich.table import Table

from etlctl.output import counts, thousands
from etlctl.output import table as new_table
from etlctl.times import rfc3339
from etlctl.verify.run import Outcome, QueryResult

# Reasons of an explained difference as they are shown.
REASONS = {
    "in_flight": "in flight",
    "not_extracted": "not extracted yet",
    "recheck_due": "recount due",
    "before_origin": "before the first window",
    "gap": "declared gap",
    "beyond_retention": "beyond the sink's retention",
    "dead_lettered": "dead-lettered",
    "dead_lettered_unreadable": "dead-lettered, unreadable",
    "purged": "dead-lettered and purged",
    "earlier_configuration": "written under an earlier configuration",
    "collision": "another colliding series",
    "source_changed": "changed at the source",
    "source_expired": "no longer kept by the source",
}


def table(outcome: Outcome) -> Table:
    """One row for each query."""
    title = f"{rfc3339(outcome.start_ms)} to {rfc3339(outcome.end_ms)}"
    view = new_table(
        title,
        "query",
        *("source", "dropped", "expected", "found", "missing", "extra", "different"),
    )
    view.add_column("verdict", no_wrap=True)
    for result in outcome.results:
        view.add_row(
            escape(result.query),
            thousands(result.source),
            counts(result.dropped, "\n"),
            thousands(result.expected),
            thousands(result.found),
            _cell(result.missing, result.explained.missing),
            _cell(result.extra, result.explained.extra),
            _cell(result.different, result.explained.different),
            _verdict(result),
        )
    return view


def example_lines(outcome: Outcome) -> list[str]:
    """A few of the unexplained points, one a line."""
    lines = []
    for result in outcome.results:
        for kind, series, time_ms, expected, found in result.explained.examples:
            what = {
                "missing": f"expected {expected!r}, found nothing",
                "extra": f"expected nothing, found {found!r}",
                "different": f"expected {expected!r}, found {found!r}",
            }[kind]
            lines.append(f"{result.query}: {series} at {rfc3339(time_ms)}: {what}")
    return lines


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The whole outcome; times in milliseconds since the epoch, counts in points."""
    return {
        "from_ms": outcome.start_ms,
        "to_ms": outcome.end_ms,
        "from": rfc3339(outcome.start_ms),
        "to": rfc3339(outcome.end_ms),
        "equal": outcome.equal,
        "foreign": outcome.foreign,
        "queries": [_query_json(result) for result in outcome.results],
    }


def _query_json(result: QueryResult) -> dict[str, Any]:
    return {
        "query": result.query,
        "source": result.source,
        "dropped": dict(result.dropped),
        "expected": result.expected,
        "found": result.found,
        "equal": result.equal,
        "missing": result.missing,
        "extra": result.extra,
        "different": result.different,
        "explained": {
            "missing": dict(result.explained.missing),
            "extra": dict(result.explained.extra),
            "different": dict(result.explained.different),
        },
        "unexplained": result.unexplained,
        "examples": [
            {
                "kind": example.kind,
                "measurement": example.series.measurement,
                "tags": dict(example.series.tags),
                "timestamp_ms": example.timestamp_ms,
                "expected": _number(example.expected),
                "found": _number(example.found),
            }
            for example in result.explained.examples
        ],
    }


def _number(value: float | None) -> float | str | None:
    # JSON has no NaN; it stands for a value in the sink that is no number.
    return "not a number" if value is not None and math.isnan(value) else value


def _cell(number: int, explained: Counter[str]) -> str:
    parts = [thousands(number)]
    parts += [f"{thousands(n)} {REASONS.get(reason, reason)}" for reason, n in explained.items()]
    return "\n".join(parts)


def _verdict(result: QueryResult) -> str:
    if result.unexplained:
        return f"[bold red]{thousands(result.unexplained)} unexplained[/]"
    if result.missing or result.extra or result.different:
        return "[yellow]explained[/]"
    return "[green]equal[/]" if result.expected or result.found else "[yellow]nothing to compare[/]"
