"""A run's figures as build/bench.json and as tables that a person can read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from devtools.bench import rows
from devtools.bench.main_case import MAIN_WINDOW, median_of
from devtools.bench.statistics import digits, text_of

Document = dict[str, Any]

# A product that is not even so much better than the baseline is broken.
LEAST_RATIO_TO_NAIVE = 50.0
_MIB = 1 << 20
_PARTS = ("extractor", "transformer", "loader", "redis", "prometheus", "sink")


def conclude(document: Document) -> None:
    """Write the figures that everything else is summed up by to the top of the document."""
    sections = document["sections"]
    if influxd := sections.get("influxd"):
        etl = median_of(influxd, MAIN_WINDOW, "cpu.etl")
        document["etl_cpu_seconds_per_million_points"] = etl
        document["ratio_to_zero_cost_bound"] = median_of(
            influxd, MAIN_WINDOW, "ratio_to_zero_cost_bound"
        )
        if naive := sections.get("naive"):
            for key, name in (
                ("ratio_to_naive", "one_by_one"),
                ("ratio_to_naive_pipelined", "pipelined"),
            ):
                document[key] = digits(naive[name]["cpu.etl"]["median"] / etl)


def problems(document: Document) -> Iterator[str]:
    """Gross regressions, a sentence each; anything finer is for a person to judge."""
    ratio = document.get("ratio_to_naive")
    if ratio is not None and ratio < LEAST_RATIO_TO_NAIVE:
        yield (
            f"only {ratio:g} times cheaper than the naive pipeline,"
            f" {LEAST_RATIO_TO_NAIVE:g} times is the least that may be"
        )


def write(document: Document, path: Path) -> None:
    """Replace the file; whoever reads it finds a whole one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    os.replace(fresh, path)


def read(path: Path) -> Document:
    """What an earlier run wrote; an empty document if there is none that can be read."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) and "sections" in document else {}


def tables(document: Document) -> Iterator[Table]:
    """Every section of the document that has one."""
    sections = document["sections"]
    for sink in ("influxd", "victoria-metrics"):
        if section := sections.get(sink):
            yield _main(section)
    if section := sections.get("naive"):
        yield _naive(section)
    if section := sections.get("peers"):
        columns = rows.peers_columns(section)
        yield _shared(rows.peers_title(section), section, columns, rows.peers_rows(section))
    if section := sections.get("steps"):
        yield _steps(section)
    if section := sections.get("shape"):
        yield _shape(section)
    if section := sections.get("tiers"):
        yield _tiers(section)
    if section := sections.get("scale"):
        yield _scale(section)
    for part in ("live", "pushed"):
        if section := sections.get(part):
            yield _live(part, section)
    if section := sections.get("live-peers"):
        columns = rows.peers_columns(section)
        title = rows.live_peers_title(section)
        yield _shared(title, section, columns, rows.live_peers_rows(section))
    if section := sections.get("outage"):
        yield _shared(rows.outage_title(section), section, ("", ""), rows.outage_rows(section))
    if section := sections.get("week"):
        columns = rows.week_columns(section)
        yield _shared(rows.week_title(section), section, columns, rows.week_rows(section))
    if section := sections.get("flat"):
        title = rows.flat_title(section)
        yield _shared(title, section, rows.FLAT_COLUMNS, rows.flat_rows(section))


def summary(document: Document) -> Iterator[str]:
    """A sentence for each of the figures at the top."""
    for key, text in (
        ("etl_cpu_seconds_per_million_points", "{:.3f} CPU-s per million points (stages + Redis)"),
        ("ratio_to_zero_cost_bound", "{:.0%} of what the cores carry if the pipeline cost nothing"),
        ("ratio_to_naive", "{:.0f} times cheaper than the naive pipeline"),
        ("ratio_to_naive_pipelined", "{:.0f} times cheaper than that with pipelined XADDs"),
    ):
        if key in document:
            yield text.format(document[key])
    if document.get("ratio_to_zero_cost_bound", 0.0) > 1.0:
        yield (
            "Nothing can pass that bound: the pipeline's own run had to carry what the servers"
            " took in it. A clock, or the number of cores, is not what the benchmark takes it for."
        )


def _table(title: str, section: Any, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    if isinstance(section, dict) and "load_average" in section:
        table.caption = f"load average {section['load_average']} when begun"
        table.caption_justify = "left"
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table


def _shared(title: str, section: Document, columns: rows.Row, cells: Iterable[rows.Row]) -> Table:
    table = _table(title, section, *columns)
    for row in cells:
        table.add_row(*row)
    return table


def _main(section: Document) -> Table:
    windows = section["windows"]
    title = f"{section['sink']}: {section['points']:,} points, {section['runs']} runs"
    table = _table(title, section, "", *(f"{window} samples a series" for window in windows))

    def row(label: str, name: str, format_: str = "{:.3f}", scale: float = 1.0) -> None:
        cells = [text_of(found[name], format_, scale) for found in windows.values()]
        table.add_row(label, *cells)

    row("cores that other work had meanwhile", "others_cores", "{:.2f}")
    row("load average after each run", "load_average", "{:.1f}")
    row("Prometheus alone, M points/s", "source_alone.points_per_second", "{:.2f}", 1e-6)
    row("  its CPU-s per million points", "source_alone.cpu_seconds_per_million_points")
    row("sink alone, M points/s", "sink_alone.points_per_second", "{:.2f}", 1e-6)
    row("  its CPU-s per million points", "sink_alone.cpu_seconds_per_million_points")
    row("zero-cost bound, M points/s", "zero_cost_bound_points_per_second", "{:.2f}", 1e-6)
    row("pipeline, M points/s", "points_per_second", "{:.2f}", 1e-6)
    row("  of the zero-cost bound", "ratio_to_zero_cost_bound", "{:.0%}")
    row("stages + Redis, CPU-s per million", "cpu.etl")
    for part in _PARTS:
        row(f"  {part}", f"cpu.{part}")
    for stream in ("raw", "points"):
        row(f"bytes per point, stream {stream}", f"bytes.{stream}", "{:.1f}")
    for part in (*_PARTS[:4], "prometheus"):
        row(f"memory of {part} at most, MiB", f"memory.{part}", "{:.0f}", 1 / _MIB)
    return table


def _naive(section: Document) -> Table:
    table = _table(
        f"naive pipeline: {section['points']:,} points, {section['runs']} runs",
        section,
        "",
        "XADD one by one",
        "XADDs pipelined",
    )
    for label, name, format_ in (
        ("points/s", "points_per_second", "{:,.0f}"),
        ("stages + Redis, CPU-s per million", "cpu.etl", "{:.1f}"),
        ("  stages", "cpu.stages", "{:.1f}"),
        ("  redis", "cpu.redis", "{:.1f}"),
        ("bytes per point, stream raw", "bytes.raw", "{:.0f}"),
    ):
        cells = [text_of(section[kind][name], format_) for kind in ("one_by_one", "pipelined")]
        table.add_row(label, *cells)
    return table


def _steps(section: Document) -> Table:
    table = _table("each step alone", section, "step", "M points/s and core")
    for name, spread in section["steps"].items():
        table.add_row(name.replace("_", ", "), text_of(spread, "{:.1f}"))
    return table


def _shape(section: Document) -> Table:
    table = _table(
        "shape, null sink", section, "what", "value", "points", "CPU-s per million", "M points/s"
    )
    for case in section["cases"]:
        figures = case["figures"]
        table.add_row(
            case["axis"].replace("_", " "),
            f"{case['value']:,g}",
            f"{case['points']:,}",
            text_of(figures["cpu.etl"]),
            text_of(figures["points_per_second"], "{:.2f}", 1e-6),
        )
    return table


def _tiers(section: Document) -> Table:
    table = _table(rows.tiers_title(section), section, *rows.TIERS_COLUMNS)
    for cells in rows.tiers_rows(section):
        table.add_row(*cells)
    return table


def _scale(section: Document) -> Table:
    table = _table("scale, null sink", section, "of each stage", "M points/s", "CPU-s per million")
    for case in section["cases"]:
        figures = case["figures"]
        table.add_row(
            str(case["processes_of_each_stage"]),
            text_of(figures["points_per_second"], "{:.2f}", 1e-6),
            text_of(figures["cpu.etl"]),
        )
    return table


def _live(part: str, section: Document) -> Table:
    title = f"{part}: {section['series']} series every {section['interval_seconds']:g} s"
    table = _table(title, section, "", "")
    table.add_row(
        "sample to queryable, p50 / p99 / bound",
        f"{section['latency_p50_seconds']} / {section['latency_p99_seconds']}"
        f" / {section['latency_bound_seconds']} s",
    )
    for name, share in section["core_share"].items():
        table.add_row(f"{name}, share of a core", f"{share:.2%}")
    for name, size in section["memory_bytes"].items():
        table.add_row(f"{name}, memory", f"{size / _MIB:.0f} MiB")
    return table
