"""``python -m devtools.bench.markdown``: the figures of build/bench.json into docs/performance.md.

What lies between two marks of the page is replaced, and the plots are drawn anew. What only
``--long`` measures has marks of its own, and stays where the document has none of it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from common.exit_codes import ExitCode
from devtools import PROJECT_ROOT
from devtools.bench import report, rows
from devtools.bench.plot import cost_plot, peers_plot
from devtools.bench.report import Document
from devtools.bench.statistics import text_of

BEGIN = "<!-- figures: written by python -m devtools.bench.markdown -->\n"
END = "<!-- end of figures -->\n"
LONG_BEGIN = "<!-- long figures: written by python -m devtools.bench.markdown -->\n"
LONG_END = "<!-- end of long figures -->\n"
PLOT = "performance-size.svg"
PEERS_PLOT = "performance-peers.svg"
_MIB = 1 << 20
_TITLES = {"influxd": "InfluxDB 1.6 behind nginx", "victoria-metrics": "VictoriaMetrics"}
_MAIN_ROWS = (
    ("cores that other work had meanwhile", "others_cores", "{:.2f}", 1),
    ("load average after each run", "load_average", "{:.1f}", 1),
    ("Prometheus alone, M points/s", "source_alone.points_per_second", "{:.2f}", 1e-6),
    ("its CPU-s per million points", "source_alone.cpu_seconds_per_million_points", "{:.3f}", 1),
    ("sink alone, M points/s", "sink_alone.points_per_second", "{:.2f}", 1e-6),
    ("its CPU-s per million points", "sink_alone.cpu_seconds_per_million_points", "{:.3f}", 1),
    ("zero-cost bound, M points/s", "zero_cost_bound_points_per_second", "{:.2f}", 1e-6),
    ("**pipeline, M points/s**", "points_per_second", "{:.2f}", 1e-6),
    ("of the zero-cost bound", "ratio_to_zero_cost_bound", "{:.0%}", 1),
    ("**stages + Redis, CPU-s per million points**", "cpu.etl", "{:.3f}", 1),
    ("extractor", "cpu.extractor", "{:.3f}", 1),
    ("transformer", "cpu.transformer", "{:.3f}", 1),
    ("loader", "cpu.loader", "{:.3f}", 1),
    ("Redis", "cpu.redis", "{:.3f}", 1),
    ("Prometheus, beside the pipeline", "cpu.prometheus", "{:.3f}", 1),
    ("sink, beside the pipeline", "cpu.sink", "{:.3f}", 1),
    ("bytes per point in stream raw", "bytes.raw", "{:.1f}", 1),
    ("bytes per point in stream points", "bytes.points", "{:.1f}", 1),
    ("memory of the extractor, MiB", "memory.extractor", "{:.0f}", 1 / _MIB),
    ("memory of the transformer, MiB", "memory.transformer", "{:.0f}", 1 / _MIB),
    ("memory of the loader, MiB", "memory.loader", "{:.0f}", 1 / _MIB),
    ("memory of Redis, MiB", "memory.redis", "{:.0f}", 1 / _MIB),
)
_AXES = {
    "window_samples": "samples a series in each window",
    "series": "series",
    "churn": "share of series replaced with each window",
    "points": "points in all",
}


def figures(document: Document) -> Iterator[str]:
    """The lines between the marks, of what ``make bench`` measures."""
    yield _machine(document)
    yield ""
    for sentence in report.summary(document):
        yield f"- {sentence}"
    sections = document["sections"]
    for sink, title in _TITLES.items():
        if section := sections.get(sink):
            yield from _main(title, section)
    if section := sections.get("naive"):
        yield from _head(f"The naive pipeline, {section['points']:,} points", section)
        yield from _columns("", "XADD one by one", "XADDs pipelined")
        for label, name, format_ in (
            ("points/s", "points_per_second", "{:,.0f}"),
            ("stages + Redis, CPU-s per million points", "cpu.etl", "{:.1f}"),
            ("bytes per point in stream raw", "bytes.raw", "{:.0f}"),
        ):
            kinds = ("one_by_one", "pipelined")
            yield _row(label, *(text_of(section[kind][name], format_) for kind in kinds))
    if section := sections.get("peers"):
        yield from _head(rows.peers_title(section), section)
        yield from _columns(*rows.peers_columns(section))
        yield from (_row(*cells) for cells in rows.peers_rows(section))
        yield ""
        yield f"![CPU-seconds per million points of each tool, its source and sink]({PEERS_PLOT})"
    if section := sections.get("steps"):
        yield from _head("Each step alone, million points per second and core", section)
        yield from _columns("step", "M points/s")
        for name, spread in section["steps"].items():
            yield _row(name.replace("_", ", "), text_of(spread, "{:.1f}"))
    if section := sections.get("tiers"):
        yield from _head(rows.tiers_title(section), section)
        yield from _columns(*rows.TIERS_COLUMNS)
        yield from (_row(*cells) for cells in rows.tiers_rows(section))
    if section := sections.get("live"):
        yield from _live("Live", section)
    if section := sections.get("live-peers"):
        yield from _head(rows.live_peers_title(section), section)
        yield from _columns(*rows.peers_columns(section))
        yield from (_row(*cells) for cells in rows.live_peers_rows(section))
    yield ""


def long_figures(document: Document) -> Iterator[str]:
    """The sections between the other marks, of what only ``make bench-long`` measures."""
    sections = document["sections"]
    if section := sections.get("shape"):
        yield from _shape(section)
    if section := sections.get("scale"):
        yield from _head("More processes, null sink", section)
        yield from _columns("of each stage", "M points/s", "stages + Redis, CPU-s per million")
        for case in section["cases"]:
            found = case["figures"]
            yield _row(
                str(case["processes_of_each_stage"]),
                text_of(found["points_per_second"], "{:.2f}", 1e-6),
                text_of(found["cpu.etl"]),
            )
    if section := sections.get("pushed"):
        yield from _live("Live, and pushed", section)
    if section := sections.get("outage"):
        yield from _head(rows.outage_title(section), section)
        yield from _columns("", "")
        yield from (_row(*cells) for cells in rows.outage_rows(section))
    if section := sections.get("week"):
        yield from _head(rows.week_title(section), section)
        yield from _columns(*rows.week_columns(section))
        yield from (_row(*cells) for cells in rows.week_rows(section))
    if section := sections.get("flat"):
        yield from _head(rows.flat_title(section), section)
        yield from _columns(*rows.FLAT_COLUMNS)
        yield from (_row(*cells) for cells in rows.flat_rows(section))


def _machine(document: Document) -> str:
    machine = document["machine"]
    return (
        f"{machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_bytes'] / (1 << 30):.0f} GiB; {machine['system']}, "
        f"Python {machine['python']}. Medians, the runs' extremes in brackets."
    )


def _main(title: str, section: Document) -> Iterator[str]:
    windows: Mapping[str, Document] = section["windows"]
    yield from _head(f"{title}: {section['points']:,} points, {section['runs']} runs", section)
    yield from _columns("", *(f"{window} samples a series" for window in windows))
    for label, name, format_, scale in _MAIN_ROWS:
        yield _row(label, *(text_of(found[name], format_, scale) for found in windows.values()))


def _shape(section: Document) -> Iterator[str]:
    yield from _head("Shape, null sink: stages + Redis", section)
    yield from _columns("what", "value", "points", "CPU-s per million points", "load average")
    for case in section["cases"]:
        yield _row(
            _AXES[case["axis"]],
            f"{case['value']:,g}",
            f"{case['points']:,}",
            text_of(case["figures"]["cpu.etl"]),
            str(case["load_average"]),
        )
    if _plotted(section):
        yield ""
        yield f"![CPU-seconds per million points against the number of points]({PLOT})"


def _live(title: str, section: Document) -> Iterator[str]:
    series = f"{section['series']:,} series every {section['interval_seconds']:g} s"
    yield from _head(f"{title}: {series}", section)
    yield (
        f"Sample to queryable over {section['samples_timed']} samples: p50"
        f" {section['latency_p50_seconds']} s, p99 {section['latency_p99_seconds']} s; to be below"
        f" {section['latency_bound_seconds']:g} s (pulled: interval + settle time + 2 s)."
    )
    yield ""
    yield from _columns("", "share of a core", "memory, MiB")
    for name, share in section["core_share"].items():
        yield _row(name, f"{share:.2%}", f"{section['memory_bytes'][name] / _MIB:.0f}")


def _head(title: str, section: Document) -> Iterator[str]:
    yield ""
    yield f"### {title}"
    yield ""
    yield f"Begun {section['began'][:16]}Z at load average {section['load_average']}."
    yield ""


def _columns(*names: str) -> Iterator[str]:
    yield _row(*names)
    yield "|" + "---|" + "---:|" * (len(names) - 1)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _plotted(section: Document | None) -> bool:
    cases: list[Document] = section["cases"] if section else []
    return len([case for case in cases if case["axis"] == "points"]) >= 2


def replaced(page: str, document: Document) -> str:
    """``page`` with the figures of ``document``; raises :class:`ValueError` without the marks."""
    page = _between(page, BEGIN, END, figures(document))
    if long := list(long_figures(document)):
        page = _between(page, LONG_BEGIN, LONG_END, [_machine(document), *long, ""])
    return page


def _between(page: str, begin_mark: str, end_mark: str, lines: Iterable[str]) -> str:
    before, begin, rest = page.partition(begin_mark)
    _, end, after = rest.partition(end_mark)
    if not (begin and end):
        raise ValueError(f"the page has no {begin_mark.strip()} with an end, where figures belong")
    text = "\n".join(lines)
    return f"{before}{begin}\n{text}\n{end}{after}"


def main(json_file: Path, docs: Path) -> ExitCode:
    """Write page and plots."""
    document = report.read(json_file)
    if not document:
        sys.stderr.write(f"{json_file} holds no figures: run python -m devtools.bench\n")
        return ExitCode.ERROR
    page = docs / "performance.md"
    page.write_text(replaced(page.read_text(encoding="utf-8"), document), encoding="utf-8")
    shape = document["sections"].get("shape")
    if _plotted(shape):
        (docs / PLOT).write_text(cost_plot(shape["cases"]), encoding="utf-8")
    if peers := document["sections"].get("peers"):
        bars = peers_plot(peers["contenders"].values())
        (docs / PEERS_PLOT).write_text(bars, encoding="utf-8")
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main(PROJECT_ROOT / "build" / "bench.json", PROJECT_ROOT / "docs"))
