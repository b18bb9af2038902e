"""``etlctl coverage``: what of each feed's time is loaded, proven, sealed, and what is missing."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from math import inf
from typing import Annotated

import typer
from redis.exceptions import RedisError
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from common.config import Settings, TierName, load_settings
from common.errors import ConfigError
from common.exit_codes import ExitCode
from common.state.feeds import Range
from common.state.keys import feed_of
from common.state.status.coverage import Facts, FeedCoverage
from common.state.status.findings import Finding
from etlctl.connect import redis_of
from etlctl.coverage.cells import HOUR_MS, State, cell_ms
from etlctl.coverage.facts import facts_of
from etlctl.coverage.findings import findings, first_line
from etlctl.coverage.present import as_json as coverage_json
from etlctl.coverage.present import calendar, examples, legend, summary
from etlctl.coverage.tiers import TierSeals
from etlctl.failures import CannotTell, message_of
from etlctl.options import AsJson, ConfigFile, is_time
from etlctl.output import escape, print_json, progress_bar, stdout
from etlctl.times import BadTime, parse_time, rfc3339
from etlctl.watching import Seen, Watch, watched
from services.verifier.wiring import choose

Start = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="TIME",
        callback=is_time,
        help="Show after this time; the beginning of what is known if not given.",
    ),
]
End = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="TIME",
        callback=is_time,
        help="Show up to this time; the end of what is planned if not given.",
    ),
]
Names = Annotated[
    list[str] | None,
    typer.Option(
        "--query", metavar="NAME", help="Show only this query; can be given several times."
    ),
]
Tiers = Annotated[
    list[str] | None,
    typer.Option("--tier", metavar="TIER", help="Show only this tier; can be given several times."),
]

Feeds = Sequence[tuple[str, TierName]]


def coverage(
    start: Start = None,
    end: End = None,
    query: Names = None,
    tier: Tiers = None,
    watch: Watch = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Show what of each query is loaded, proven, sealed, missing.

    TIME is RFC 3339 (2024-05-01T12:00:00Z), seconds since the epoch, now, or a duration before
    now (-30d). Ends with 0 if all is well, 1 if something needs a person, and 2 if that cannot be
    told.
    """
    settings = load_settings(config, secrets=("pipeline", "load"))
    feeds = chosen(settings, query or (), tier or ())
    quiet = as_json or watch is not None

    def look() -> Seen:
        now_ms = time.time_ns() // 1_000_000
        found, unread, bounds = read(settings, feeds, asked_range(start, end, now_ms), quiet=quiet)
        needs = findings(found)
        unknown = ExitCode.CONFIG if unread else ExitCode.OK
        code = ExitCode.ERROR if needs else unknown
        if as_json:
            return code, lambda: print_json(coverage_json(found, needs, unread, bounds))
        return code, lambda: show(found, needs, unread, bounds)

    raise typer.Exit(watched(watch, look, as_json=as_json))


def read(
    settings: Settings, feeds: Feeds, asked: tuple[int | None, int | None], *, quiet: bool
) -> tuple[list[FeedCoverage], Mapping[str, str], Range]:
    """The coverage of each feed, by tier why its seals could not be read, and the range.

    Raises :class:`CannotTell` and :class:`BadTime`.
    """
    now_ms = time.time_ns() // 1_000_000
    redis, keys = redis_of(settings.pipeline)
    try:
        with closing(redis):
            facts = facts_of(redis, keys, [feed_of(*feed) for feed in feeds])
    except RedisError as error:
        raise CannotTell(message_of(error)) from None
    with TierSeals(settings) as seals:
        bounds = whole_range(asked, now_ms, facts.values(), (seals.first_ms(*one) for one in feeds))
        found = read_seals(seals, feeds, facts, bounds, now_ms, quiet=quiet)
    return found, seals.unread, bounds


def chosen(settings: Settings, names: Collection[str], tiers: Collection[str]) -> Feeds:
    """The feeds of these queries and tiers, or of all.

    Raises :class:`~common.errors.ConfigError` for a name that is not configured.
    """
    queries = choose(settings, names)
    known = settings.load.tiers
    if unknown := sorted(set(tiers) - set(known)):
        raise ConfigError(
            f"--tier {', '.join(unknown)}: no such tier; there are {', '.join(sorted(known))}"
        )
    return [
        (query.name, tier)
        for query in queries
        for tier in known
        if query.is_in(tier) and (not tiers or tier in tiers)
    ]


def asked_range(start: str | None, end: str | None, now_ms: int) -> tuple[int | None, int | None]:
    """The bounds that were given, in ms since the epoch. Raises :class:`BadTime`."""
    start_ms, end_ms = _time("--from", start, now_ms), _time("--to", end, now_ms)
    if start_ms is not None and start_ms >= (now_ms if end_ms is None else end_ms):
        raise BadTime(f"nothing lies between {rfc3339(start_ms)} and {rfc3339(end_ms or now_ms)}")
    return start_ms, end_ms


def whole_range(
    asked: tuple[int | None, int | None],
    now_ms: int,
    facts: Iterable[Facts],
    first_seals_ms: Iterable[int | None],
) -> Range:
    """The range to show: what was not given is that of what is known. Raises :class:`BadTime`."""
    start_ms, end_ms = asked
    planned = [range_ for one in facts for range_ in one.planned]
    if start_ms is None:
        starts = [start for start, _ in planned]
        start_ms = min([*starts, *(ms for ms in first_seals_ms if ms is not None)], default=None)
    if start_ms is None:
        raise BadTime("--from must be given: nothing is planned, and there are no seals")
    if end_ms is None:
        # Nothing of what is asked for may be planned yet.
        end_ms = max((head for _, head in planned if head > start_ms), default=now_ms)
    if start_ms >= end_ms:
        raise BadTime(f"--to: nothing is known before {rfc3339(start_ms)}")
    return start_ms, end_ms


def read_seals(
    seals: TierSeals,
    feeds: Feeds,
    facts: Mapping[str, Facts],
    bounds: Range,
    now_ms: int,
    *,
    quiet: bool,
) -> list[FeedCoverage]:
    """The coverage of each feed, with a progress bar on a terminal unless ``quiet``."""
    start_ms, end_ms = bounds
    columns = (TextColumn("reading seals"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    found = []
    with progress_bar(*columns, quiet=quiet) as bar:
        task = bar.add_task("reading seals", total=len(feeds) * (end_ms - start_ms))
        for index, (query, tier) in enumerate(feeds):
            before_ms = index * (end_ms - start_ms) - start_ms

            def progress(up_to_ms: int, before_ms: int = before_ms) -> None:
                bar.update(task, completed=before_ms + up_to_ms)

            kept_seconds = seals.kept_seconds(tier)
            found.append(
                FeedCoverage.of(
                    query,
                    tier,
                    facts[feed_of(query, tier)],
                    seals.ranges(query, tier, bounds, progress),
                    start_ms=start_ms,
                    end_ms=end_ms,
                    kept_from_ms=0 if kept_seconds == inf else now_ms - round(kept_seconds * 1_000),
                )
            )
    return found


def show(
    feeds: Sequence[FeedCoverage],
    needs: Sequence[Finding],
    unread: Mapping[str, str],
    bounds: Range,
) -> None:
    """Whether all is well, a calendar for each feed, and what its signs mean."""
    console = stdout()
    console.print(f"[bold]{escape(first_line(needs, sink_read=not unread))}[/]", soft_wrap=True)
    for one in needs:
        console.print(f"* {escape(one.detail)}", soft_wrap=True)
    for tier, why in unread.items():
        console.print(
            f"What is sealed in tier {tier} is unknown: {why}", markup=False, soft_wrap=True
        )
    unit = "an hour" if cell_ms(*bounds) == HOUR_MS else "a day"
    console.print(
        f"\n{rfc3339(bounds[0])} to {rfc3339(bounds[1])}; a sign is {unit}, in UTC.",
        soft_wrap=True,
    )
    shown: set[State] = set()
    for feed in feeds:
        console.print(f"\n{summary(feed)}", markup=False, soft_wrap=True)
        lines, states = calendar(feed)
        if states != {State.NOTHING}:
            for line in lines:
                console.print(line)
            shown |= states
        for text in examples(feed):
            console.print(text, markup=False, soft_wrap=True)
    console.print()
    for line in legend(shown):
        console.print(line)


def _time(option: str, text: str | None, now_ms: int) -> int | None:
    if text is None:
        return None
    try:
        time_ms = parse_time(text, lambda: now_ms)
    except BadTime as error:
        raise BadTime(f"{option}: {error}") from None
    if time_ms > now_ms:
        raise BadTime(f"{option}: {rfc3339(time_ms)} lies in the future")
    return time_ms
