"""Rows that the tables of terminal and docs share: a label, and a cell for each column."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from devtools.bench import tiers
from devtools.bench.statistics import text_of

Row = tuple[str, ...]

FLAT_COLUMNS = ("memory, MiB", "first quarter", "last quarter", "at the most", "growth")
TIERS_COLUMNS = ("CPU-s per million samples", "hot", "warm and cold", "all three", "hot, live")
PROCESSES = ("extractor", "transformer", "loader", "redis", "prometheus")
_MIB = 1 << 20


def outage_title(section: dict[str, Any]) -> str:
    """What was done."""
    return (
        f"Sink away for {section['away_seconds']:.0f} s, high-water mark"
        f" {_mib(section['high_water_bytes'])} MiB, null sink"
    )


def outage_rows(section: dict[str, Any]) -> Iterator[Row]:
    """What Redis held, and how it drained."""
    mark = section["high_water_bytes"]
    most, idle = section["redis_most_bytes"], section["redis_idle_bytes"]
    yield "points", f"{section['points']:,}"
    yield "in the points stream they would take", f"{section['backlog_marks']:.1f} marks"
    yield "seconds until back-pressure was on", f"{section['mark_seconds']:.1f}"
    yield "bytes in flight at the most", f"{section['in_flight_most_marks']:.2f} marks"
    yield (
        "Redis' memory above idle at the most",
        f"{section['redis_most_marks']:.2f} marks ({_mib(most - idle - mark)} MiB above it)",
    )
    yield (
        "when the sink came back: in flight, Redis above idle",
        f"{section['held_in_flight_bytes'] / mark:.2f},"
        f" {(section['held_redis_bytes'] - idle) / mark:.2f} marks",
    )
    yield (
        "of that, buffers of Redis' clients",
        f"{section['held_redis_clients_bytes'] / mark:.2f} marks",
    )
    yield "seconds until points were loaded again", f"{section['first_load_seconds']:.1f}"
    yield "seconds until all were loaded", f"{section['drain_seconds']:.1f}"
    yield "M points/s over these", f"{section['points_per_second'] / 1e6:.2f}"


def week_title(section: dict[str, Any]) -> str:
    """How much was read."""
    case = section["cases"][-1]
    return (
        f"Backfill of {case['hours'] / 24:g} days of {section['series']:,} series,"
        f" {case['points']:,} points, null sink"
    )


def week_columns(section: dict[str, Any]) -> Row:
    """The amounts that are compared."""
    return ("", *(f"{case['points']:,} points" for case in section["cases"]), "ratio")


def week_rows(section: dict[str, Any]) -> Iterator[Row]:
    """The same figures of both amounts; the ratio is the longer one's to the shorter one's."""
    figures = [case["figures"] for case in section["cases"]]

    def row(
        label: str, name: str, format_: str = "{:.3f}", scale: float = 1.0, end: str = ""
    ) -> Row:
        return label, *(text_of(found[name], format_, scale) for found in figures), end

    yield row("M points/s", "points_per_second", "{:.2f}", 1e-6, f"{section['ratio_of_rates']:.2f}")
    yield row(
        "stages + Redis, CPU-s per million points",
        "cpu.etl",
        end=f"{section['ratio_of_costs']:.2f}",
    )
    for name in PROCESSES:
        yield row(f"memory of {name}, MiB", f"memory.{name}", "{:.0f}", 1 / _MIB)


def flat_title(section: dict[str, Any]) -> str:
    """For how long what went on."""
    return (
        f"Memory over {section['seconds'] / 60:g} minutes of live mode: {section['series']:,}"
        f" series every {section['interval_seconds']:g} s"
    )


def flat_rows(section: dict[str, Any]) -> Iterator[Row]:
    """A row for each process."""
    for name, found in section["processes"].items():
        yield (
            name,
            *(_mib(found[f"{key}_bytes"]) for key in ("first_quarter", "last_quarter", "most")),
            f"{found['growth_percent']:+.1f}%",
        )


def tiers_title(section: dict[str, Any]) -> str:
    """What was moved."""
    return (
        f"Tiers: {section['points']:,} samples, {section['rollup_points']:,} points of rollups,"
        f" {section['runs']} runs"
    )


def tiers_rows(section: dict[str, Any]) -> Iterator[Row]:
    """What each stage took for each case, and what warm and cold take of what hot does."""
    found = section["figures"]
    for part in ("etl", *PROCESSES):
        cells = (text_of(found[f"{case}.cpu.{part}"]) for case in tiers.CASES)
        yield ("stages + Redis" if part == "etl" else part, *cells)
    for ratio, what in (
        ("alone", "warm and cold, of hot"),
        ("beside", "the same, read together with it"),
        ("live", "the same, of hot as it is read live"),
    ):
        yield (what, text_of(found[f"ratio.{ratio}"], "{:.0%}"), "", "", "")


def peers_title(section: dict[str, Any]) -> str:
    """What was moved."""
    return (
        f"Peers: {section['points']:,} points from Prometheus to VictoriaMetrics,"
        f" {section['runs']} runs in turns"
    )


def peers_columns(section: dict[str, Any]) -> Row:
    """Each tool."""
    return ("", *(str(found["title"]) for found in section["contenders"].values()))


def peers_rows(section: dict[str, Any]) -> Iterator[Row]:
    """What each took, and what source and sink say of it."""
    contenders = section["contenders"].values()

    def row(label: str, name: str, format_: str = "{:.3f}", scale: float = 1.0) -> Row:
        figures = [found["figures"].get(name) for found in contenders]
        return label, *(_same(spread, format_, scale) if spread else "" for spread in figures)

    yield row("points moved", "points", "{:,.0f}")
    yield row("load average afterwards", "load_average", "{:.1f}")
    yield row("M points/s", "points_per_second", "{:.3f}", 1e-6)
    for part in ("tool", "source", "sink"):
        yield row(f"CPU-s per million, {part}", f"cpu.{part}")
    yield row("memory of the tool, MiB", "memory.tool", "{:.0f}", 1 / _MIB)
    yield "proves by itself", *(str(found["proves"]) for found in contenders)
    for kind, label in (
        ("missing", "missing in the sink"),
        ("different", "different there"),
        ("rounded", "rounded by the sink"),
        ("unexpected", "only there"),
    ):
        yield row(f"points {label}", f"{kind}_points", "{:,.0f}")


def live_peers_title(section: dict[str, Any]) -> str:
    """What was scraped, and how it was measured."""
    return (
        f"Live peers: {section['series']:,} series every {section['interval_seconds']:g} s into"
        f" VictoriaMetrics, {section['runs']} runs side by side"
    )


def live_peers_rows(section: dict[str, Any]) -> Iterator[Row]:
    """What each took, how late its samples were, and what becomes of those in its way."""
    contenders = section["contenders"].values()

    def row(label: str, name: str, format_: str = "{:.2f}", scale: float = 1.0) -> Row:
        figures = [found["figures"].get(name) for found in contenders]
        return label, *(_same(spread, format_, scale) if spread else "none" for spread in figures)

    for part, name in (("tool", "tool"), ("Prometheus", "source"), ("sink", "sink")):
        yield row(f"CPU-s per million, {part}", f"cpu.{name}")
    yield row("CPU-s per million, all", "cpu.all")
    for part, name in (("tool", "tool"), ("Prometheus", "source"), ("sink", "sink")):
        yield row(f"memory of {part}, MiB", f"memory.{name}", "{:.0f}", 1 / _MIB)
    yield row("sample to queryable, p50, s", "latency_p50_seconds")
    yield row("sample to queryable, p99, s", "latency_p99_seconds")
    yield row("samples timed in each run", "samples_timed", "{:.0f}")
    yield row("load average afterwards", "load_average", "{:.1f}")
    yield "scrapes in the sink", *(f"{found['scrapes']:,}" for found in contenders)
    yield "scrapes missing there", *(f"{found['missing_scrapes']:,}" for found in contenders)
    for label, name in (
        ("proves by itself", "proves"),
        ("after a stop of its own", "after_a_stop"),
        ("what the sink does not take", "sink_away"),
    ):
        yield label, *(str(found[name]) for found in contenders)


def _same(spread: dict[str, Any], format_: str, scale: float) -> str:
    """``median (min-max)``, or the one figure of all runs."""
    if spread["min"] == spread["max"]:
        return format_.format(spread["median"] * scale)
    return text_of(spread, format_, scale)


def _mib(size_bytes: float) -> str:
    return f"{size_bytes / _MIB:.1f}"
