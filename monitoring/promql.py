"""Pieces of PromQL that several alerts are made of."""

from __future__ import annotations

from common.durations import format_duration


def duration(seconds: float) -> str:
    """A time as it stands in a range selector or a rule; at least a millisecond."""
    return format_duration(max(1, round(seconds * 1000)))


def latest(selector: str, bridge_seconds: float) -> str:
    """The newest sample, found although the last scrape or two failed."""
    return f"last_over_time({selector}[{duration(bridge_seconds)}])"


def highest(selector: str, bridge_seconds: float) -> str:
    """The highest sample of late: a flag that was up in between counts as up."""
    return f"max_over_time({selector}[{duration(bridge_seconds)}])"


def greater(first: str, second: str) -> str:
    """The greater of two values of each series, which exist together; no comparison filters."""
    return f"{first}\n+ clamp_min({second}\n- {first}, 0)"


def lesser(first: str, second: str) -> str:
    """The lesser of two values of each series, as :func:`greater`."""
    return f"{first}\n- clamp_min({first}\n- {second}, 0)"


def burst(selector: str, window_seconds: float) -> str:
    """By how much a counter rose, also when its series first appeared within the window.

    A counter with labels has no series before its first event, so ``increase`` misses that one. A
    series that is new although its process was scraped before, or whose process is itself new,
    counts whole. One that is only new to a Prometheus which was away does not.
    """
    window = duration(window_seconds)
    return (
        "(\n"
        f"  ({selector} unless {selector} offset {window})\n"
        "  and on (job, instance) (\n"
        f"    (up offset {window} == 1)\n"
        f"    or (etl_uptime_seconds < {window_seconds:g})\n"
        "  )\n"
        ")\n"
        f"or increase({selector}[{window}])"
    )


def or_zero(query: str) -> str:
    """0 where the query has no series, as for a counter with labels before its first event."""
    return f"{query}\nor on () vector(0)"
