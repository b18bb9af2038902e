"""``etlctl verify``: prove that the sink holds what the source holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import product
from typing import Annotated

import typer
from redis.exceptions import RedisError
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from common.config import Settings, load_settings
from common.errors import ConfigError, SourceError
from common.state.keys import feed_of
from etlctl.history.again import Opened
from etlctl.options import AsJson, ConfigFile, is_time
from etlctl.output import print_json, progress_bar, remark, stdout
from etlctl.times import BadTime, parse_time, rfc3339
from etlctl.verify.present import as_json as outcome_json
from etlctl.verify.present import coloured, details, last_sentence, no_window_yet, table
from etlctl.verify.repair import repair as repaired
from etlctl.verify.sealed.command import verify_sealed
from etlctl.verify.windows import planned_part, with_windows
from services.verifier.outcome import Outcome
from services.verifier.verdict import EXIT_CODES, Verdict, parse_accepted, worst
from services.verifier.wiring import (
    Parts,
    by_source,
    choose_tiers,
    connected,
    covered_range,
    verifier,
    whole_from,
)

Start = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="TIME",
        callback=is_time,
        help="Compare after this time; the beginning of what was extracted, as far as the source "
        "still has all that the query looks at, if not given.",
    ),
]
End = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="TIME",
        callback=is_time,
        help="Compare up to this time; the end of what was loaded if not given.",
    ),
]
Names = Annotated[
    list[str] | None,
    typer.Option(
        "--query", metavar="NAME", help="Compare only this query; can be given several times."
    ),
]
Tiers = Annotated[
    list[str] | None,
    typer.Option(
        "--tier",
        metavar="NAME",
        help="Compare only this tier; can be given several times. All if not given.",
    ),
]
Accept = Annotated[
    str | None,
    typer.Option(
        "--accept",
        metavar="VERDICTS",
        help="End with 0 for these verdicts too: explained, incomplete, nothing_to_compare.",
    ),
]
Sealed = Annotated[
    bool,
    typer.Option(
        "--sealed",
        help="Compare the sink with what was loaded, by its seals; needs InfluxDB alone.",
    ),
]
Repair = Annotated[
    bool,
    typer.Option(
        "--repair",
        help="Extract again what is missing or different without a reason, and compare once more.",
    ),
]
WaitSeconds = Annotated[
    float,
    typer.Option(
        "--wait-seconds",
        metavar="SECONDS",
        min=0,
        help="How long a repair waits until all is loaded.",
    ),
]


def verify(
    start: Start = None,
    end: End = None,
    query: Names = None,
    tier: Tiers = None,
    accept: Accept = None,
    sealed: Sealed = False,
    repair: Repair = False,
    wait_seconds: WaitSeconds = 600.0,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Compare source and sink point by point, in every tier.

    TIME is RFC 3339 (2024-05-01T12:00:00Z), seconds since the epoch, now, or a duration before
    now (-1h). Ends with 0 only if source and sink are equal, 1 if a difference has no reason, 3 if
    a server cannot be reached, 6 if every difference has a reason, 7 if part of the range is not
    loaded yet, 8 if a query has nothing to compare. With --repair it is the second comparison. A
    tier of rollups that is not named is compared as far as it has windows.
    """
    accepted = frozenset() if accept is None else parse_accepted(accept)
    settings = load_settings(config)
    if sealed and repair:
        raise ConfigError("--repair: needs the source, which --sealed does without")
    tiers = choose_tiers(settings, tier or (), query or ())
    if sealed:
        of_seals = verify_sealed(
            settings, start, end, query or (), tiers, json_wanted=as_json, all_tiers=not tier
        )
        raise typer.Exit(of_seals.exit_code(accepted))
    said = set[str]()

    def say(note: str) -> None:
        if note not in said:
            remark(f"note: {note}")
        said.add(note)

    def no_redis(error: RedisError) -> None:
        say(f"Redis cannot be read, so it explains no difference: {error}")

    outcomes: dict[str, Outcome] = {}
    windowless: list[str] = []
    opened: list[Opened] = []
    away: list[SourceError] = []
    for name, one_source in product(tiers, by_source(settings, query or ())):
        with (
            _away_is_told(one_source, away),
            connected(one_source, query or (), no_redis, name) as connected_parts,
        ):
            for note in connected_parts.notes:
                say(note)
            parts, without = with_windows(connected_parts)
            windowless += [feed_of(one, name) for one in without]
            if not parts.queries:
                continue
            begins_ms = whole_from(parts)
            start_ms, end_ms = time_range(start, end, parts, begins_ms)
            if start is not None:
                for note in not_whole(parts, begins_ms, start_ms, end_ms):
                    say(note)
                begins_ms = {}
            if not tier and (start is None or end is None or start_ms < end_ms):
                (start_ms, end_ms), first_ms = planned_part(parts, start_ms, end_ms)
                begins_ms = {
                    one: max(begins_ms.get(one, 0), first_ms.get(one, 0))
                    for one in begins_ms.keys() | first_ms.keys()
                }
                if first_ms and start_ms >= end_ms:
                    windowless += [feed_of(one.name, name) for one in parts.queries]
                    continue
            if start_ms >= end_ms:
                raise BadTime(f"nothing lies between {rfc3339(start_ms)} and {rfc3339(end_ms)}")
            outcome = verify_range(parts, start_ms, end_ms, begins_ms, quiet=as_json)
            of_tier = (
                repaired(parts, outcome, wait_seconds, remark, quiet=as_json) if repair else []
            )
            if any(one.ranges for one in of_tier):
                outcome = verify_range(parts, start_ms, end_ms, begins_ms, quiet=as_json)
            before = outcomes.get(name)
            outcomes[name] = before.with_source(outcome) if before else outcome
            opened += of_tier
    if as_json:
        repairs = {"repaired": [asdict(one) for one in opened]} if repair else {}
        print_json(outcome_json(outcomes) | {"no_window_yet": windowless} | repairs)
    else:
        for shown, outcome in outcomes.items():
            show(outcome, shown if len(tiers) > 1 else "")
        for line in no_window_yet(windowless, outcomes):
            stdout().print(line, markup=False, soft_wrap=True)
    if away:
        raise away[0]
    verdicts = frozenset().union(*(outcome.verdicts for outcome in outcomes.values()))
    if not outcomes:
        verdicts = frozenset({Verdict.NOTHING_TO_COMPARE})
    raise typer.Exit(EXIT_CODES[worst(verdicts - accepted)])


@contextmanager
def _away_is_told(settings: Settings, away: list[SourceError]) -> Iterator[None]:
    """Let the others of several sources be compared before the error of one is raised."""
    try:
        yield
    except SourceError as error:
        if not settings.extract.source:
            raise
        away.append(error)


def time_range(
    start: str | None, end: str | None, parts: Parts, begins_ms: Mapping[str, int]
) -> tuple[int, int]:
    """The range to compare, in milliseconds since the epoch; it may be empty.

    By default what was covered, without what lies before all of ``begins_ms``, which has the times
    from which on the source has all that a query looks at. Raises :class:`~etlctl.times.BadTime`.
    """
    known_start_ms, known_end_ms = (None, None) if start and end else covered_range(parts)
    start_ms = known_start_ms if start is None else _time("--from", start, parts)
    end_ms = known_end_ms if end is None else _time("--to", end, parts)
    if start_ms is None or end_ms is None:
        option = "--from" if start_ms is None else "--to"
        raise BadTime(f"{option} must be given: Redis knows of nothing extracted")
    if start is None and (begin_ms := min(begins_ms.values(), default=0)) < end_ms:
        start_ms = max(start_ms, begin_ms)
    return start_ms, end_ms


def not_whole(
    parts: Parts, begins_ms: Mapping[str, int], start_ms: int, end_ms: int
) -> Iterator[str]:
    """What to say of expressions that look at what the source no longer has."""
    for query in parts.queries:
        begin_ms = begins_ms[query.name]
        if query.kind == "expr" and begin_ms > start_ms:
            until = f"before {rfc3339(begin_ms)}" if begin_ms < end_ms else "in this range"
            yield (
                f"{query.name} looks at time that the source no longer keeps: the values that it"
                f" gives {until} may be others than were loaded; they are told as different"
            )


def verify_range(
    parts: Parts, start_ms: int, end_ms: int, begins_ms: Mapping[str, int], *, quiet: bool
) -> Outcome:
    """Compare ``(start_ms, end_ms]``, of some queries only what lies after their ``begins_ms``.

    With a progress bar on a terminal unless ``quiet``.
    """
    columns = (TextColumn("comparing"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with progress_bar(*columns, quiet=quiet) as bar:
        task = bar.add_task("comparing", total=end_ms - start_ms)

        def progress(position_ms: int) -> None:
            bar.update(task, completed=position_ms - start_ms)

        whole = replace(verifier(parts, progress), begins_ms=begins_ms)
        return whole.run(start_ms, end_ms)


def show(outcome: Outcome, tier: str = "") -> None:
    """The table, what is to be said of its numbers, and one sentence."""
    console = stdout()
    console.print(table(outcome, tier))
    for line in details(outcome):
        console.print(line, markup=False, soft_wrap=True)
    console.print(coloured(outcome.verdict, last_sentence(outcome, tier)))


def _time(option: str, text: str, parts: Parts) -> int:
    try:
        return parse_time(text, lambda: parts.now_ms)
    except BadTime as error:
        raise BadTime(f"{option}: {error}") from None
