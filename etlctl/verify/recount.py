"""``etlctl recount``: find history that came late, by counts, and have it extracted.

What was loaded of a ``select`` is known from its seals, and the source counts its samples without
handing them out. Only windows that differ in that are compared point by point, and so is what has
no counts of the same kind: an ``expr``, rollups, and time without a seal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import product
from typing import Annotated

import typer
from redis.exceptions import RedisError
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from common.config import Query, load_settings
from common.errors import QueryRejected, QueryTooLarge
from common.exit_codes import ExitCode
from common.state.feeds import Range
from common.state.ranges import clipped, merged, overlaps, without
from etlctl.history.again import Opened
from etlctl.options import AsJson, ConfigFile, is_time
from etlctl.output import print_json, progress_bar, remark, thousands
from etlctl.times import BadTime, rfc3339
from etlctl.verify.command import Repair, WaitSeconds, time_range
from etlctl.verify.repair import open_and_wait
from services.extractor.prometheus import PrometheusClient
from services.extractor.replicas import Replicas, client_of
from services.verifier.sealed.windows import sealed_windows
from services.verifier.wiring import Parts, by_source, choose_tiers, connected, verifier

SHORTEST_COUNTED_MS = 2
# A series that came late differs at each of its samples.
MOST_LINES = 10

Count = Callable[[Query, int, int], int]

Names = Annotated[
    list[str] | None,
    typer.Option("--query", metavar="NAME", help="Only this query; can be given several times."),
]
Tiers = Annotated[
    list[str] | None,
    typer.Option("--tier", metavar="NAME", help="Only this tier; can be given several times."),
]


@dataclass(frozen=True, slots=True)
class Recounted:
    """What of a feed differs. ``compared_ms``: how much of it was compared point by point.

    ``not_kept_ms``: what was to be compared, and the source or one of its replicas has deleted, or
    was read from a replica that is none any more. ``extra``: points that only the sink has, which
    no repair takes away.
    """

    query: str
    tier: str
    compared_ms: int
    differing_ms: Sequence[Range]
    not_kept_ms: Sequence[Range] = ()
    extra: int = 0

    @property
    def differs(self) -> bool:
        """Whether anything does."""
        return bool(self.differing_ms or self.extra)


def recount(
    start: Annotated[
        str, typer.Option("--from", metavar="TIME", callback=is_time, help="Count after this time.")
    ],
    end: Annotated[
        str, typer.Option("--to", metavar="TIME", callback=is_time, help="Count up to this time.")
    ],
    query: Names = None,
    tier: Tiers = None,
    repair: Repair = False,
    wait_seconds: WaitSeconds = 600.0,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Find by counts what came late to the source.

    Imported history, for example. TIME is as for verify. Ends with 1 if something differs without a
    reason (after a repair: if it still does).
    """
    settings = load_settings(config)
    found: list[Recounted] = []
    opened: list[Opened] = []

    def no_redis(error: RedisError) -> None:
        raise error

    tiers = choose_tiers(settings, tier or (), query or ())
    for one_source, name in product(by_source(settings, query or ()), tiers):
        with (
            connected(one_source, query or (), no_redis, name) as parts,
            closing(_client(parts)) as client,
        ):
            bounds = time_range(start, end, parts, {})
            if bounds[0] >= bounds[1]:
                raise BadTime(f"nothing lies between {rfc3339(bounds[0])} and {rfc3339(bounds[1])}")
            if bounds[1] > parts.now_ms:
                raise BadTime(f"--to: {rfc3339(bounds[1])} has not come yet")
            of_tier = _differing(parts, client.count_in, bounds, quiet=as_json)
            for note in _notes(of_tier):
                remark(note)
            if not as_json:
                for line in _lines(of_tier):
                    typer.echo(line)
            if repair:
                wanted = {one.query: one.differing_ms for one in of_tier if one.differing_ms}
                again = open_and_wait(parts, wanted, wait_seconds, remark, quiet=as_json)
                of_tier = [_compared(parts, one, one.differing_ms, again=True) for one in of_tier]
                opened += again
            found += of_tier
    differs = any(one.differs for one in found)
    if as_json:
        repairs = {"repaired": [asdict(one) for one in opened]} if repair else {}
        print_json({"feeds": [asdict(one) for one in found]} | repairs)
    else:
        repaired = any(one.ranges for one in opened)
        typer.echo(_last_sentence(found, repair=repair, repaired=repaired))
    raise typer.Exit(ExitCode.ERROR if differs else ExitCode.OK)


def _client(parts: Parts) -> PrometheusClient | Replicas:
    """What counts at the replica that each window was read from."""
    read_from = cache(parts.read_from.of)
    return client_of(parts.settings.extract, read_before=lambda query, tier: read_from(query))


def _differing(parts: Parts, count: Count, bounds: Range, *, quiet: bool) -> list[Recounted]:
    """What of each query differs. Raises source and sink errors."""
    columns = (TextColumn("counting"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    # What the source has deleted is not there to be compared. A sample of that time itself is.
    whole_ms = max(bounds[0], parts.source.oldest_ms() - 1)
    found = []
    with progress_bar(*columns, quiet=quiet) as bar:
        task = bar.add_task("counting", total=len(parts.queries))
        for query in parts.queries:
            suspect = [bounds]
            if query.kind == "select" and query.rollup(parts.tier) is None:
                suspect = _miscounted(parts, query, count, bounds)
            kept = without(clipped(suspect, whole_ms, bounds[1]), parts.read_from.gone(query.name))
            empty = Recounted(query.name, parts.tier, 0, (), without(suspect, kept))
            found.append(_compared(parts, empty, kept))
            bar.advance(task)
    return found


def _miscounted(parts: Parts, query: Query, count: Count, bounds: Range) -> list[Range]:
    """Sealed windows of which the source has another number of samples, and what has no seal."""
    suspect, counted = list[Range](), list[Range]()
    gone = parts.read_from.gone(query.name)
    for seal in sealed_windows(parts.seals_of(query.name), bounds):
        window = seal.start_ms, seal.end_ms
        is_short = window[1] - window[0] < SHORTEST_COUNTED_MS
        if seal.digest is None or is_short or overlaps(gone, *window):
            continue
        counted.append(window)
        try:
            equal = count(query, *window) == seal.digest.points
        except (QueryRejected, QueryTooLarge):
            equal = False
        if not equal:
            suspect.append(window)
    return merged([*suspect, *without([bounds], counted)])


def _compared(
    parts: Parts, one: Recounted, ranges: Sequence[Range], *, again: bool = False
) -> Recounted:
    """What of these ranges is missing or different without a reason, compared point by point.

    ``again``, after a repair: or not loaded yet, which is no reason then.
    """
    alone = [query for query in parts.queries if query.name == one.query]
    differing: list[Range] = []
    extra = 0
    for start_ms, end_ms in ranges:
        (result,) = verifier(replace(parts, queries=tuple(alone))).run(start_ms, end_ms).results
        differing += [(start_ms, end_ms)] if again and result.to_come else result.unloaded.ranges
        extra += result.extra - result.explained.extra.total()
    compared_ms = one.compared_ms + sum(end - start for start, end in ranges)
    differing = merged(differing)
    return replace(
        one, compared_ms=compared_ms, differing_ms=differing, extra=max(one.extra, extra)
    )


def _notes(found: Sequence[Recounted]) -> Iterator[str]:
    for one in found:
        if ranges := one.not_kept_ms:
            first, last = rfc3339(ranges[0][0]), rfc3339(ranges[-1][1])
            yield (
                f"note: {one.query}@{one.tier}: {first} to {last} is not compared: the source, or"
                " one of its replicas, keeps nothing of it (any more), or the replica that it was"
                " read from has another URL"
            )


def _lines(found: Sequence[Recounted]) -> Iterator[str]:
    for one in found:
        name, ranges = f"{one.query}@{one.tier}", one.differing_ms
        if one.extra:
            yield f"{name}: {thousands(one.extra)} points that only the sink has"
        if len(ranges) > MOST_LINES:
            first, last = rfc3339(ranges[0][0]), rfc3339(ranges[-1][1])
            yield f"{name}: {first} to {last} differs in {thousands(len(ranges))} places"
            continue
        for start_ms, end_ms in ranges:
            yield f"{name}: {rfc3339(start_ms)} to {rfc3339(end_ms)} differs"


def _last_sentence(found: Sequence[Recounted], *, repair: bool, repaired: bool) -> str:
    """``repaired``: something was opened; ``repair``: that was asked for."""
    if any(one.differing_ms for one in found):
        return (
            "Not all of it could be repaired; `etlctl verify` says what differs."
            if repair
            else "The source has points that the sink does not have: --repair extracts them."
        )
    if any(one.extra for one in found):
        return "The sink has points that the source does not have; `etlctl verify` says which."
    of_what = " of what was compared" if any(one.not_kept_ms for one in found) else ""
    return f"Repaired: nothing differs{of_what} now." if repaired else f"Nothing differs{of_what}."
