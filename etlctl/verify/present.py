"""The outcome of a verification as a table, sentences, and JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from rich.markup import escape

from common.state.keys import split_feed
from etlctl.output import counts, thousands
from etlctl.tables import Table
from etlctl.times import rfc3339
from services.verifier.examples import SeriesExample, Value
from services.verifier.outcome import Outcome, QueryResult
from services.verifier.verdict import Verdict, worst

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
    "replica_gone": "read from a replica that is none any more",
}

_COLOURS = {Verdict.EQUAL: "green", Verdict.DIFFERENT: "bold red"}


def table(outcome: Outcome, tier: str = "") -> Table:
    """One row for each query; ``tier``: which one it is of, where there are several."""
    view = Table(
        f"{_of(tier)}{rfc3339(outcome.start_ms)} to {rfc3339(outcome.end_ms)}",
        "query",
        *("source", "dropped", "expected", "found", "missing", "extra", "different"),
        texts=("verdict",),
        spare=("source", "dropped", "found", "expected", "extra", "different", "missing"),
    )
    for result in outcome.results:
        numbers = (result.source, result.dropped.total(), result.expected, result.found)
        view.add_row(
            escape(result.query),
            *map(thousands, (*numbers, result.missing, result.extra, result.different)),
            coloured(result.verdict, result.verdict.words),
        )
    return view


def coloured(verdict: Verdict, text: str) -> str:
    """Markup of ``text`` in the colour of ``verdict``."""
    return f"[{_COLOURS.get(verdict, 'yellow')}]{escape(text)}[/]"


def details(outcome: Outcome) -> Iterator[str]:
    """Lines below the table: what was dropped, what explains differences, what nothing does."""
    results = outcome.results
    yield from _block(
        "Dropped by the transform:",
        (f"{one.query}: {counts(one.dropped)}" for one in results if one.dropped),
    )
    yield from _block(
        "Compared only from their first window, or where the source still has all they look at:",
        (
            f"{one.query}: after {rfc3339(one.start_ms)}"
            for one in results
            if outcome.start_ms < one.start_ms < outcome.end_ms
        ),
    )
    yield from _block(
        "Found only in another bucket than load.bucket_from names for the series:",
        (f"{one.query}: {_points(one.elsewhere)}" for one in results if one.elsewhere),
    )
    yield from _block("Explained:", (line for one in results for line in _explained(one)))
    yield from _block("Without a reason, for example:", example_lines(outcome))
    yield from _block(
        "Nothing to compare:",
        (
            f"{one.query}: {_why_nothing(one, outcome.end_ms)}"
            for one in results
            if Verdict.NOTHING_TO_COMPARE in one.verdicts
        ),
    )
    if outcome.foreign:
        yield (
            f"{thousands(outcome.foreign)} points of the same measurements belong to none of these"
            " queries and were left out."
        )


def example_lines(outcome: Outcome) -> list[str]:
    """A few of the series with unexplained points, one a line."""
    return [
        f"{result.query}: {_example(example)}"
        for result in outcome.results
        for example in result.examples.by_series.values()
    ]


def last_sentence(outcome: Outcome, tier: str = "") -> str:
    """What was found out; ``tier``: of which one, where there are several."""
    return _of(tier) + _sentence(outcome)


def _of(tier: str) -> str:
    return f"{tier}: " if tier else ""


def _sentence(outcome: Outcome) -> str:
    results = outcome.results
    reasons = sum((result.reasons for result in results), Counter[str]())
    differing = sum(result.differing for result in results)
    match outcome.verdict:
        case Verdict.EQUAL:
            points = thousands(sum(result.equal for result in results))
            return f"Source and sink are equal: {points} points, each with the same 64 bits."
        case Verdict.NOTHING_TO_COMPARE:
            names = [one.query for one in results if one.verdict is Verdict.NOTHING_TO_COMPARE]
            if len(names) == len(results):
                return "There was nothing to compare."
            return f"There was nothing to compare of {', '.join(names)}; the rest is equal."
        case Verdict.EXPLAINED:
            return (
                f"Source and sink differ, and for all of it there are reasons: of"
                f" {_points(differing)}, {_by_reason(reasons)}."
            )
        case Verdict.INCOMPLETE:
            to_come = sum(result.to_come for result in results)
            names = [one.query for one in results if Verdict.INCOMPLETE in one.verdicts]
            sentence = f"The range is not loaded whole yet of {', '.join(names)}"
            sentence += f": {_points(to_come)} may still come" if to_come else ""
            others = f"; {_points(differing - to_come)} differ for other reasons"
            return sentence + (others if differing > to_come else "") + "."
        case Verdict.DIFFERENT:
            unexplained = sum(result.unexplained for result in results)
            others = f"; there are reasons for {_points(reasons.total())}" if reasons else ""
            return f"Source and sink differ: {_points(unexplained)} without a reason{others}."


def no_window_yet(feeds: Iterable[str], compared: Collection[str]) -> Iterator[str]:
    """A line for each tier with ``feeds`` (query@tier) that have no window yet in the range.

    ``compared``: tiers with others.
    """
    by_tier: dict[str, list[str]] = {}
    for feed in feeds:
        query, tier = split_feed(feed)
        by_tier.setdefault(tier, []).append(query)
    for tier, queries in by_tier.items():
        names = f" of {', '.join(queries)}" if tier in compared else ""
        yield f"{tier}: no window yet{names} in this range."


def as_json(outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """The outcomes by tier; times in milliseconds since the epoch, counts in points.

    What stands beside ``tiers`` is of all of them together. Without any there is no range.
    """
    values = outcomes.values()
    starts_ms, ends_ms = ([one.start_ms for one in values], [one.end_ms for one in values])
    return {
        **(_range_json(min(starts_ms), max(ends_ms)) if values else {}),
        "verdict": worst(one.verdict for one in values) if values else Verdict.NOTHING_TO_COMPARE,
        "foreign": sum(outcome.foreign for outcome in values),
        "queries": [
            _query_json(tier, result)
            for tier, outcome in outcomes.items()
            for result in outcome.results
        ],
        "tiers": {
            tier: {
                **_range_json(outcome.start_ms, outcome.end_ms),
                "verdict": outcome.verdict,
                "foreign": outcome.foreign,
            }
            for tier, outcome in outcomes.items()
        },
    }


def _range_json(start_ms: int, end_ms: int) -> dict[str, Any]:
    return {
        "from_ms": start_ms,
        "to_ms": end_ms,
        "from": rfc3339(start_ms),
        "to": rfc3339(end_ms),
    }


def _query_json(tier: str, result: QueryResult) -> dict[str, Any]:
    return {
        "query": result.query,
        "tier": tier,
        "from_ms": result.start_ms,
        "verdict": result.verdict,
        "source": result.source,
        "dropped": dict(result.dropped),
        "expected": result.expected,
        "found": result.found,
        "in_another_bucket": result.elsewhere,
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
        "unloaded_ms": [list(range_ms) for range_ms in result.unloaded.ranges],
        "examples": [
            {
                "measurement": series.measurement,
                "tags": dict(series.tags),
                "points": dict(example.points),
                "last_ms": example.last_ms,
                "kind": example.first.kind,
                "timestamp_ms": example.first.timestamp_ms,
                "expected": _number(example.first.expected),
                "found": _number(example.first.found),
            }
            for series, example in result.examples.by_series.items()
        ],
    }


def _number(value: Value | None) -> Any:
    if isinstance(value, tuple):
        return [_number(one) for one in value]
    # JSON has neither; they stand for what the sink does not have, or has as something else.
    return "not a number" if value is not None and not math.isfinite(value) else value


def _block(heading: str, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        if number == 0:
            yield heading
        yield f"  {line}"


def _explained(result: QueryResult) -> Iterator[str]:
    for kind, by_reason in (
        ("missing", result.explained.missing),
        ("extra", result.explained.extra),
        ("different", result.explained.different),
    ):
        if by_reason:
            yield f"{result.query}: {thousands(by_reason.total())} {kind}: {_by_reason(by_reason)}"


def _why_nothing(result: QueryResult, end_ms: int) -> str:
    if result.source:
        return f"all {thousands(result.source)} samples of it are dropped"
    if result.start_ms >= end_ms:
        return "the source no longer has all that it looks at in this range"
    return "it matches no sample of the source in this range"


def _example(example: SeriesExample) -> str:
    first, last_ms = example.first, example.last_ms
    expected, found = (
        "nothing" if value is None else repr(value) for value in (first.expected, first.found)
    )
    values = f"expected {expected}, found {found}"
    if example.points.total() == 1:
        return f"{first.series} at {rfc3339(first.timestamp_ms)}: {values}"
    points = ", ".join(f"{thousands(number)} {kind}" for kind, number in example.points.items())
    return (
        f"{first.series}: {points}, {rfc3339(first.timestamp_ms)} to {rfc3339(last_ms)},"
        f" the first: {values}"
    )


def _by_reason(reasons: Counter[str]) -> str:
    return ", ".join(
        f"{thousands(number)} {REASONS.get(reason, reason)}"
        for reason, number in reasons.most_common()
    )


def _points(number: int) -> str:
    return f"{thousands(number)} {'point' if number == 1 else 'points'}"
