"""``python -m devtools.bench``: what the pipeline costs, and how that compares."""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from rich.console import Console

from common.errors import EtlError, StackError
from common.exit_codes import ExitCode
from common.runtime.allocator import keep_freed_memory
from devtools import PROJECT_ROOT
from devtools.bench import flat, live, main_case, outage, report, scale, shape, steps, tiers, week
from devtools.bench.machine import describe, load_average
from devtools.bench.peers import history
from devtools.bench.peers import live as live_peers
from devtools.bench.servers import toolbox
from devtools.servers.binaries import VICTORIA_METRICS, Toolbox
from devtools.servers.main import run_main

Part = Literal[
    "influxd",
    "naive",
    "steps",
    "victoria-metrics",
    "peers",
    "tiers",
    "live",
    "live-peers",
    "pushed",
    "shape",
    "scale",
    "outage",
    "week",
    "flat",
]
PARTS: tuple[Part, ...] = get_args(Part)
QUICK_PARTS: tuple[Part, ...] = ("influxd", "naive", "steps")
# What these say changes seldom, and takes an hour and a half: only where it is asked for.
LONG_PARTS: tuple[Part, ...] = ("pushed", "shape", "scale", "outage", "week", "flat")
# What needs VictoriaMetrics' package, and is left out where that cannot be had.
VICTORIA_PARTS: tuple[Part, ...] = ("victoria-metrics", "peers", "live-peers")
RUNS, LONG_RUNS, QUICK_RUNS = 3, 5, 1
# Samples of each of the main case's 1,000 series: half a day, or two hours.
SAMPLES, QUICK_SAMPLES = 2_880, 480
LIVE_SECONDS = 300.0
FLAT_SECONDS = 1800.0


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; exits with 2 when it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m devtools.bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="the main case, the baseline and the steps, once"
    )
    parser.add_argument(
        "--long", action="store_true", help=f"{', '.join(LONG_PARTS)} instead of the others"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=PARTS,
        metavar="PART",
        help=f"some of {', '.join(PARTS)}; the file keeps the others",
    )
    parser.add_argument(
        "--sink",
        choices=("influxd", "victoria-metrics"),
        help="the main case with this sink alone; the file keeps the other parts",
    )
    parser.add_argument(
        "--runs",
        type=int,
        metavar="N",
        help=f"runs of each figure ({RUNS}; {LONG_RUNS} of what --long measures)",
    )
    parser.add_argument(
        "--most-points",
        type=float,
        default=float("inf"),
        metavar="N",
        help="leave out shapes that have more points, and shorten the week",
    )
    parser.add_argument(
        "--live-seconds", type=float, default=LIVE_SECONDS, metavar="S", help="length of live mode"
    )
    parser.add_argument(
        "--flat-seconds",
        type=float,
        default=FLAT_SECONDS,
        metavar="S",
        help=f"how long memory is watched, after {flat.WARM_UP_SECONDS:g} s ({FLAT_SECONDS:g})",
    )
    parser.add_argument(
        "--json", type=Path, default=PROJECT_ROOT / "build" / "bench.json", metavar="FILE"
    )
    options = parser.parse_args(arguments)
    if options.runs is not None and options.runs < 1:
        parser.error("--runs: 1 at least")
    if options.sink and options.only:
        parser.error("--sink says which part already; leave out --only")
    if options.flat_seconds < flat.LEAST_SECONDS:
        parser.error(f"--flat-seconds: {flat.LEAST_SECONDS:g} at least")
    if "week" in (options.only or ()) and options.most_points < week.LEAST_POINTS:
        parser.error(f"--most-points: a week has {week.LEAST_POINTS} at least")
    return options


def parts_of(options: argparse.Namespace) -> tuple[Part, ...]:
    """What is to be measured, in the order in which it is."""
    usual = tuple(part for part in PARTS if part not in LONG_PARTS)
    default = QUICK_PARTS if options.quick else LONG_PARTS if options.long else usual
    wanted = [options.sink] if options.sink else options.only or default
    left_out = {"week"} if options.most_points < week.LEAST_POINTS else set()
    return tuple(part for part in PARTS if part in wanted and part not in left_out)


def measured(
    part: Part, tools: Toolbox, options: argparse.Namespace, say: Callable[[str], None]
) -> dict[str, Any]:
    """One section of the document."""
    now_ms = int(time.time() * 1000)
    default_runs = LONG_RUNS if part in LONG_PARTS else RUNS
    runs = options.runs or (QUICK_RUNS if options.quick else default_runs)
    samples = QUICK_SAMPLES if options.quick else SAMPLES
    if part == "influxd" or part == "victoria-metrics":  # noqa: PLR1714 - types know it so
        windows = main_case.QUICK_WINDOWS if options.quick else main_case.WINDOWS
        return main_case.measure(
            tools, now_ms, sink=part, windows=windows, samples=samples, runs=runs, say=say
        )
    if part == "naive":
        return main_case.measure_naive(tools, now_ms, runs=runs, say=say)
    if part == "steps":
        say("each step alone")
        return {"steps": steps.measure(tools, now_ms, repeats=runs)}
    if part == "peers":
        return history.measure(tools, now_ms, samples=samples, runs=runs, say=say)
    if part == "shape":
        cases = [case for case in shape.CASES if case.series * case.samples <= options.most_points]
        return {"cases": shape.measure(tools, now_ms, runs=runs, say=say, cases=cases)}
    if part == "tiers":
        return tiers.measure(tools, now_ms, samples=samples, runs=runs, say=say)
    if part == "scale":
        return {"cases": scale.measure(tools, now_ms, samples=samples, runs=runs, say=say)}
    if part == "outage":
        return outage.measure(tools, now_ms, say=say)
    if part == "week":
        return week.measure(tools, now_ms, runs=runs, most_points=options.most_points, say=say)
    if part == "flat":
        return flat.measure(tools, seconds=options.flat_seconds, say=say)
    if part == "live-peers":
        return live_peers.measure(tools, seconds=options.live_seconds, runs=runs, say=say)
    say(f"{part}: live mode for {options.live_seconds:g} s")
    return live.measure(tools, seconds=options.live_seconds, pushed=part == "pushed")


def absent(tools: Toolbox) -> str:
    """Why there is no VictoriaMetrics; empty where there is one."""
    try:
        tools.prepare([VICTORIA_METRICS.name])
    except StackError as error:
        return str(error)
    return ""


def main(arguments: Sequence[str]) -> ExitCode:
    """Measure, write, show; 1 when something is grossly slower than it must be."""
    options = parsed(arguments)
    keep_freed_memory()  # as every service does
    console = Console(highlight=False, soft_wrap=True)
    parts = parts_of(options)

    def say(text: str) -> None:
        console.print(text, markup=False)

    document = report.read(options.json) if options.only or options.sink or options.long else {}
    document["machine"] = describe()
    document.setdefault("sections", {})
    document["quick"] = options.quick
    tools = toolbox()
    try:
        for part in parts:
            if part in VICTORIA_PARTS and (why := absent(tools)):
                say(f"{part} is left out: {why}")
                continue
            began, load = datetime.now(UTC), load_average()
            section = measured(part, tools, options, say)
            section |= {"began": began.isoformat(timespec="seconds"), "load_average": load}
            section["seconds_taken"] = round((datetime.now(UTC) - began).total_seconds(), 1)
            document["sections"][part] = section
            report.conclude(document)
            # A run that is broken off keeps what it has.
            report.write(document, options.json)
    except EtlError as error:
        say(f"bench: {error}")
        return ExitCode.ERROR
    console.width = max(console.width, shutil.get_terminal_size((110, 24)).columns)
    for table in report.tables(document):
        console.print(table)
    for sentence in report.summary(document):
        say(sentence)
    found = list(report.problems(document))
    for problem in found:
        say(f"PROBLEM  {problem}")
    if document["sections"]:
        say(f"the figures are in {options.json}")
    return ExitCode.ERROR if found else ExitCode.OK


if __name__ == "__main__":
    run_main(main)
