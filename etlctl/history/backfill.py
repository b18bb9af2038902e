"""``etlctl backfill``: have time before the feeds' origins extracted, behind all that is live."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from common.config import Settings, load_settings
from common.durations import format_duration
from common.errors import ConfigError, EtlError, SourceError
from common.exit_codes import ExitCode
from common.state.backfills import Backfill, Backfills, Order, by_feed
from common.state.ranges import length_ms
from common.state.status.reading import OVER
from common.state.windows import WindowSet
from etlctl.connect import redis_of
from etlctl.history.again import Opened, chosen
from etlctl.history.estimate import SAMPLES_PER_SECOND, Estimate, counter, estimate
from etlctl.history.extract import time_of
from etlctl.history.manage import add_commands
from etlctl.history.state import RUNS
from etlctl.history.wanted import Wanted, wanted_of
from etlctl.history.watch import Watch
from etlctl.options import ConfigFile, is_time
from etlctl.output import escape, progress_bar, remark, stdout, thousands
from etlctl.tables import Table
from etlctl.times import BadTime, rfc3339
from services.extractor.replicas import client_of
from services.verifier.connect import source_of
from services.verifier.wiring import by_source

backfill_app = typer.Typer(
    invoke_without_command=True,
    no_args_is_help=True,
    rich_markup_mode=None,
)
add_commands(backfill_app)

Names = Annotated[
    list[str] | None,
    typer.Option("--query", metavar="NAME", help="Of this query only; can be given several times."),
]
Tiers = Annotated[
    list[str] | None,
    typer.Option("--tier", metavar="TIER", help="In this tier only; can be given several times."),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--rate", metavar="SAMPLES", help="Extract no more than so many samples in a second."
    ),
]


@backfill_app.callback()
def backfill(
    context: typer.Context,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", callback=is_time, help="Extract after this time."),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="TIME",
            callback=is_time,
            help="Extract up to this time; each feed's origin if not given.",
        ),
    ] = None,
    query: Names = None,
    tier: Tiers = None,
    order: Annotated[
        Order,
        typer.Option(
            "--order", metavar="ORDER", help="Which windows come first: newest or oldest."
        ),
    ] = "newest",
    rate: Rate = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be extracted, and what it takes.")
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Do not wait until it is loaded.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Extract also what backfills have loaded already.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Extract time before the feeds' origins, and wait for it.

    It comes behind all that is live; the wait is until it is loaded. TIME is RFC 3339
    (2024-05-01T12:00:00Z), seconds since the epoch, or a duration before now (-30d). Ctrl-C ends
    the wait alone. Ends with 1 where some of it could not be had.
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    if start is None:
        raise ConfigError("--from must be given: where the history is to begin")
    if rate is not None and not 0 < rate < math.inf:
        raise ConfigError(f"--rate {rate:g}: must be a number of samples more than 0")
    settings = load_settings(config)
    plans = chosen(settings, query or (), tier or ())
    asked = {
        one.extract.source: _asked_source(one, needed=dry_run)
        for one in by_source(settings, query or ())
    }
    redis, keys = redis_of(settings.pipeline)
    with closing(redis):
        windows, backfills = WindowSet(redis, keys), Backfills(redis, keys)
        parts = by_feed(backfills.parts())
        wanted, status = [], windows.status()
        for name, source in asked.items():
            bounds = _bounds(start, end, source.now_ms)
            of_source = [plan for plan in plans if plan.query.source == name]
            wanted += wanted_of(
                of_source, status, parts, bounds, source.lowest_ms, source.now_ms, again=again
            )
        for line in _lines(wanted):
            typer.echo(line)
        if all(one.is_too_old for one in wanted):
            raise EtlError(
                "nothing of the range can be had: what Prometheus keeps begins at"
                f" {rfc3339(source.lowest_ms)}, and no tier keeps what is older than it says"
            )
        if not any(one.ranges for one in wanted):
            typer.echo("There is nothing to do.")
        elif dry_run:
            _show_estimates(settings, wanted, rate)
        else:
            code = _begin(windows, backfills, wanted, bounds, order, rate or 0.0, detach=detach)
            raise typer.Exit(code)


def _refuse_options(context: typer.Context) -> None:
    """What stands before a subcommand would have no effect there."""
    sources = ((name, context.get_parameter_source(name)) for name in context.params)
    if any(source is not None and source.name == "COMMANDLINE" for _, source in sources):
        raise ConfigError(f"{context.invoked_subcommand}: its options stand after its name")


@dataclass(frozen=True, slots=True)
class _Asked:
    """The source's clock and the oldest time that it keeps, 0 where that is not known."""

    now_ms: int
    lowest_ms: int


def _asked_source(settings: Settings, *, needed: bool) -> _Asked:
    """What the source says, or this machine's clock. Raises ``SourceError`` where it is needed."""
    with closing(source_of(settings)) as source:
        try:
            return _Asked(source.now_ms(), source.oldest_ms())
        except SourceError as error:
            if needed:
                raise
            remark(
                f"{error}\nThe range is taken as it is given: what Prometheus has of it is"
                " extracted once it is back."
            )
    return _Asked(time.time_ns() // 1_000_000, 0)


def _bounds(start: str, end: str | None, now_ms: int) -> tuple[int, int | None]:
    """In ms. Raises :class:`~etlctl.times.BadTime`."""
    start_ms = time_of("--from", start, now_ms)
    end_ms = None if end is None else time_of("--to", end, now_ms)
    if end_ms is not None and start_ms >= end_ms:
        raise BadTime(f"nothing lies between {rfc3339(start_ms)} and {rfc3339(end_ms)}")
    for option, time_ms in (("--from", start_ms), ("--to", end_ms or 0)):
        if time_ms > now_ms:
            raise BadTime(f"{option}: {rfc3339(time_ms)} has not come yet on Prometheus' clock")
    return start_ms, end_ms


def _lines(wanted: Sequence[Wanted]) -> list[str]:
    """What is extracted and what is not, a line each."""
    said = []
    for one in wanted:
        name = one.plan.feed.name
        said += [f"{name}: {rfc3339(start)} to {rfc3339(end)}" for start, end in one.ranges]
        said += [
            f"{name}: {rfc3339(left.start_ms)} to {rfc3339(left.end_ms)} is left out: {left.why}"
            for left in one.left_out
        ]
        if not one.ranges and not one.left_out:
            said.append(f"{name}: begins before the range, and is extracted anyway")
    return said


def _show_estimates(settings: Settings, wanted: Sequence[Wanted], rate: float | None) -> None:
    """Raises a :class:`~common.errors.SourceError`."""
    found = []
    for one_source in settings.each_source:
        with closing(client_of(one_source.extract)) as client:
            count, name = counter(client), one_source.extract.source
            of_source = [one for one in wanted if one.plan.query.source == name]
            found += [estimate(one, count) for one in of_source if one.ranges]
    table = Table("Estimate", "feed", "windows", "samples", "bytes in the sink")
    for one in found:
        numbers = (one.windows, one.samples, one.sink_bytes)
        table.add_row(escape(one.feed), *map(thousands, numbers))
    console = stdout()
    console.print(table)
    console.print(_total(found, rate), soft_wrap=True)


def _total(found: Sequence[Estimate], rate: float | None) -> str:
    samples = sum(one.samples for one in found)
    seconds = math.ceil(samples / (rate or SAMPLES_PER_SECOND))
    how = "samples per second" if rate else "samples per second, which two cores do"
    return (
        f"In all {thousands(samples)} samples, {format_duration(seconds * 1000)} at"
        f" {rate or SAMPLES_PER_SECOND:,.10g} {how}."
    )


def _begin(
    windows: WindowSet,
    backfills: Backfills,
    wanted: Sequence[Wanted],
    bounds: tuple[int, int | None],
    order: Order,
    rate: float,
    *,
    detach: bool,
) -> ExitCode:
    ranges = {one.plan.feed: one.ranges for one in wanted if one.ranges}
    last_ms = bounds[1] or max(one[-1][1] for one in ranges.values())
    id_, taken = backfills.create(ranges, bounds[0], last_ms, order=order, rate=rate)
    lost = [feed.name for feed in ranges if feed.name not in taken]
    for name in lost:
        remark(f"{name}: was changed a moment ago, and is left out")
    if not any(taken.values()):
        raise EtlError("nothing was begun")
    opened = [
        Opened(feed.query, feed.tier, ranges[feed], (), taken[feed.name])
        for feed in ranges
        if feed.name in taken
    ]
    code = ExitCode.OK
    how = (
        f"`etlctl backfill list` shows it; `etlctl backfill pause {id_}` and `cancel {id_}` end it."
    )
    try:
        typer.echo(f"Backfill {id_} is begun.")
        if detach:
            typer.echo(how)
        else:
            code = _concluded(wait(windows, id_, opened))
    except KeyboardInterrupt:
        remark(f"The pipeline goes on with it. {how}")
        return ExitCode.ERROR
    return ExitCode.ERROR if lost else code


def wait(windows: WindowSet, id_: str, opened: Sequence[Opened]) -> Backfill | None:
    """Wait until a backfill is over, with a bar; without a terminal what holds it up is a line."""
    total_ms = sum(length_ms(one.ranges) for one in opened)
    columns = (
        TextColumn(f"backfill {id_}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        TimeElapsedColumn(),
    )
    said = RUNS
    with progress_bar(*columns, quiet=False) as bar:
        task = bar.add_task("backfill", total=total_ms, text="")

        def show(left_ms: int, text: str, state: str) -> None:
            nonlocal said
            done_ms = max(0, total_ms - left_ms)
            bar.update(task, completed=done_ms, text=", ".join(filter(None, (text, state))))
            # What it ends as is said when it has ended.
            if bar.disable and state not in (said, *OVER):
                remark(f"backfill {id_}: {state}")
            said = state

        return Watch(windows, id_, opened, show).wait()


def _concluded(found: Backfill | None) -> ExitCode:
    """Say what became of it."""
    if found is None:
        typer.echo("It is over, and so long ago that it is forgotten.")
        return ExitCode.OK
    typer.echo(
        f"Extracted and loaded: {format_duration(found.extracted_ms)} of"
        f" {format_duration(found.total_ms)}, {thousands(found.samples)} samples."
    )
    for lost_ms, why in (
        (found.gap_ms, "could not be had: Prometheus no longer has all that the query looks at"),
        (found.cancelled_ms, "is not extracted: it was cancelled, or its query removed"),
    ):
        if lost_ms:
            typer.echo(f"{format_duration(lost_ms)} {why}.")
    return ExitCode.ERROR if found.gap_ms or found.cancelled_ms else ExitCode.OK
