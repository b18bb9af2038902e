"""``etlctl once``: what would be written, before anything is."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from etlctl.options import AsJson, PlainConfigFile, is_time

if TYPE_CHECKING:
    from common.config import Query, Settings
    from etlctl.once.transformed import Transformed

QueryName = Annotated[
    str, typer.Option("--query", metavar="NAME", help="The query, by its name.", show_default=False)
]
From = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="TIME",
        callback=is_time,
        help="Read after this time, such as -5m or 2024-05-01T12:00:00Z.",
    ),
]
To = Annotated[
    str, typer.Option("--to", metavar="TIME", callback=is_time, help="Read up to this time.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only show what would be written, as without --write.")
]
Write = Annotated[bool, typer.Option("--write", help="Write the points to the bucket of hot.")]
Limit = Annotated[
    int,
    typer.Option(
        "--limit", metavar="LINES", min=0, max=10**9, help="Lines that are shown; 0 = all."
    ),
]


def once(
    query: QueryName,
    from_: From,
    to: To = "now",
    dry_run: DryRun = False,
    write: Write = False,
    limit: Limit = 20,
    config: PlainConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what a short range of a query becomes, or write it.

    Its points and what is dropped are as the stages would have them, and without Redis: no ledger
    counts it, nothing is planned.
    """
    from common.config import load_settings
    from common.errors import ConfigError

    if write and dry_run:
        raise ConfigError("--write: cannot be given with --dry-run")
    secrets = ("extract", "load") if write else ("extract",)
    settings = load_settings(config, secrets=secrets)
    wanted = next((one for one in settings.extract.queries if one.name == query), None)
    if wanted is None:
        known = ", ".join(one.name for one in settings.extract.queries)
        raise ConfigError(f"--query: no query is named {query!r}: there are {known}")
    document, found = _read(settings.of_source(wanted.source), wanted, from_, to, limit)
    refused = 0
    if write and found.points:
        from etlctl.once.write import written

        document["written"], refusals = written(settings.load, wanted, found)
        document["refused"] = refusals
        refused = sum(one["samples"] for one in refusals)
    _show(document, limit, as_json=as_json, dry=not write)
    if refused:
        raise typer.Exit(1)


def _read(
    settings: Settings, query: Query, from_: str, to: str, limit: int
) -> tuple[dict[str, Any], Transformed]:
    from common.errors import ConfigError
    from etlctl.once.transformed import MAX_SAMPLES, TIER, transformed
    from etlctl.times import parse_time, rfc3339
    from services.extractor.replicas import client_of

    extract = settings.extract
    most = min(MAX_SAMPLES, extract.max_window_samples)
    bounded = extract.model_copy(update={"max_window_samples": most})
    # Of replicas, the one that the extractor would read.
    with closing(client_of(bounded)) as source:
        now_ms = source.now_ms()
        start_ms, end_ms = parse_time(from_, lambda: now_ms), parse_time(to, lambda: now_ms)
        if start_ms >= end_ms:
            raise ConfigError(f"--from: {from_} is not before --to {to}")
        if start_ms >= now_ms:
            now = rfc3339(now_ms)
            raise ConfigError(f"--from: {from_} is yet to come: Prometheus' clock says {now}")
        found = transformed(settings, source, query, start_ms, end_ms, now_ms)
        settle_ms = source.scrape_settings().settle_ms(query, extract.settle_seconds)
    # Windows end where samples have settled.
    unsettled_ms = end_ms - (now_ms - settle_ms)
    return {
        "query": query.name,
        "bucket": settings.load.tiers[TIER].bucket,
        "from": rfc3339(start_ms),
        "to": rfc3339(end_ms),
        "unsettled_ms": max(0, unsettled_ms),
        "samples": found.samples,
        "series": found.series,
        "native_histograms": found.histograms,
        "points": found.points,
        "dropped": found.drops,
        "dropped_series": [vars(one) for one in found.dropped_series],
        "undeliverable": [
            {"reason": one.reason, "detail": one.detail, "samples": one.samples}
            for one in found.dead
        ],
        "lines": list(islice(found.lines(), limit or None)),
        "written": 0,
        "refused": [],
    }, found


def _show(document: dict[str, Any], limit: int, *, as_json: bool, dry: bool) -> None:
    from etlctl.output import print_json, remark, thousands

    if as_json:
        print_json(document)
        return

    def counted(number: int, what: str) -> str:
        return f"{thousands(number)} {what}{'' if number == 1 or what == 'series' else 's'}"

    say = typer.echo
    samples, series = counted(document["samples"], "sample"), counted(document["series"], "series")
    say(f"{document['query']}: {samples} of {series}, {document['from']} to {document['to']}")
    points = counted(document["points"], "point")
    say(f"{'would write' if dry else 'to write'}: {points}, to bucket {document['bucket']}")
    for line in document["lines"]:
        say(f"  {line}")
    if (hidden := document["points"] - len(document["lines"])) > 0:
        say(f"  … and {thousands(hidden)} more (--limit 0 shows all)")
    whole: dict[str, int] = {}
    for one in document["dropped_series"]:
        whole[one["reason"]] = whole.get(one["reason"], 0) + one["samples"]
        by = f", by {one['rule']}" if one["rule"] else ""
        what = f"{counted(one['samples'], 'sample')} of {counted(one['series'], 'series')}"
        say(f"dropped: {one['reason']}{by}: {what}, such as {one['example']}")
    for reason, number in sorted(document["dropped"].items()):
        if rest := number - whole.get(reason, 0):
            say(f"dropped: {reason}: {counted(rest, 'sample')}")
    if histograms := document["native_histograms"]:
        say(f"not carried: {counted(histograms, 'sample')} of native histograms")
    for one in (*document["undeliverable"], *document["refused"]):
        say(f"dead letter: {one['reason']}: {counted(one['samples'], 'sample')}: {one['detail']}")
    if not dry:
        say(f"written: {counted(document['written'], 'point')}")
    if document["unsettled_ms"]:
        remark(
            f"note: the last {document['unsettled_ms'] / 1000:g} s have not settled yet "
            "(settle_seconds): more may come"
        )
    if dry and document["points"]:
        remark("nothing was written; --write does it")
