"""``etlctl extract``: have time extracted by hand."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer
from redis.exceptions import RedisError
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from common.config import load_settings
from common.errors import EtlError
from common.exit_codes import ExitCode
from common.state.feeds import Range
from common.state.windows import WindowSet
from etlctl.connect import redis_of
from etlctl.failures import message_of
from etlctl.history.again import (
    Opened,
    chosen,
    lines,
    open_again,
    wait_until_loaded,
    waiting_ms,
    whole,
)
from etlctl.options import AsJson, ConfigFile, group, is_time
from etlctl.output import print_json, progress_bar, remark
from etlctl.times import BadTime, parse_time, rfc3339
from services.verifier.connect import sink_of, source_of
from services.verifier.wiring import by_source

extract_app = group("Have time extracted by hand.")

WaitSeconds = Annotated[
    float,
    typer.Option(
        "--wait-seconds",
        metavar="SECONDS",
        min=0,
        help="How long to wait until it is loaded; 0 = not at all.",
    ),
]


@extract_app.command("again")
def again(
    start: Annotated[
        str,
        typer.Option(
            "--from", metavar="TIME", callback=is_time, help="Extract again after this time."
        ),
    ],
    end: Annotated[
        str,
        typer.Option(
            "--to", metavar="TIME", callback=is_time, help="Extract again up to this time."
        ),
    ],
    query: Annotated[
        list[str],
        typer.Option("--query", metavar="NAME", help="Of this query; can be given several times."),
    ],
    tier: Annotated[
        list[str] | None,
        typer.Option("--tier", metavar="TIER", help="In this tier only; in all of the query's."),
    ] = None,
    wait_seconds: WaitSeconds = 0.0,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Extract a range of a query again.

    Its points are written anew, and what is late is added. Ends with 1 if nothing of the range can
    be extracted, or it is not loaded in time.
    """
    settings = load_settings(config)
    plans = chosen(settings, query, tier or ())
    # By source: the range, and the oldest time that it keeps.
    asked: dict[str, tuple[Range, int]] = {}
    for one_source in by_source(settings, query):
        with closing(source_of(one_source)) as source:
            now_ms = source.now_ms()
            start_ms, end_ms = time_of("--from", start, now_ms), time_of("--to", end, now_ms)
            if start_ms >= end_ms:
                raise BadTime(f"nothing lies between {rfc3339(start_ms)} and {rfc3339(end_ms)}")
            if start_ms >= now_ms:
                raise BadTime(f"--from: {rfc3339(start_ms)} has not come yet on Prometheus' clock")
            asked[one_source.extract.source] = (start_ms, end_ms), source.oldest_ms()
    redis, keys = redis_of(settings.pipeline)
    with closing(redis):
        windows = WindowSet(redis, keys)
        wanted = []
        for name in settings.load.tiers:
            with closing(sink_of(settings, name)) as sink:
                for plan in plans:
                    if plan.feed.tier == name:
                        range_, lowest_ms = asked[plan.query.source]
                        wanted.append((plan, whole(windows, plan, sink, [range_], lowest_ms)))
        opened = [
            open_again(windows, plan, found, asked[plan.query.source][1]) for plan, found in wanted
        ]
        if not as_json:
            for line in lines(opened):
                typer.echo(line)
        if any(one.ranges for one in opened) and wait_seconds:
            wait(windows, opened, wait_seconds, quiet=as_json)
        left_ms = waiting_ms(windows, opened)
    if as_json:
        print_json({"opened": [asdict(one) for one in opened], "waiting_ms": left_ms})
    if not any(one.ranges for one in opened):
        raise EtlError("nothing of the range can be extracted again")
    if wait_seconds and left_ms:
        raise typer.Exit(ExitCode.ERROR)


def time_of(option: str, text: str, now_ms: int) -> int:
    """The time that an option says, in ms. Raises :class:`~etlctl.times.BadTime`."""
    try:
        return parse_time(text, lambda: now_ms)
    except BadTime as error:
        raise BadTime(f"{option}: {error}") from None


def wait(windows: WindowSet, opened: list[Opened], most_seconds: float, *, quiet: bool) -> bool:
    """Wait until it is loaded, with a bar; Ctrl-C ends the wait alone.

    A Redis that is away meanwhile is waited for.
    """
    total_ms = sum(end - start for one in opened for start, end in one.ranges)
    columns = (TextColumn("loading"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    said = set[str]()

    def trouble(error: RedisError) -> None:
        if (line := f"waits: {message_of(error)}") not in said:
            remark(line)
        said.add(line)

    try:
        with progress_bar(*columns, quiet=quiet) as bar:
            task = bar.add_task("loading", total=total_ms)
            done = wait_until_loaded(
                windows,
                opened,
                most_seconds,
                lambda left_ms: bar.update(task, completed=max(0, total_ms - left_ms)),
                on_trouble=trouble,
            )
    except KeyboardInterrupt:
        remark("The pipeline goes on with it; `etlctl status` shows the backlog.")
        raise typer.Exit(ExitCode.ERROR) from None
    if not done:
        remark(
            f"It is not loaded after {most_seconds:g} s; the pipeline goes on with it, `etlctl"
            " status` shows the backlog."
        )
    return done
