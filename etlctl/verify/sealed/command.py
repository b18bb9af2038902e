"""``etlctl verify --sealed``: prove from the sink alone that it still holds what was loaded."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing

from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from common.config import Settings, TierName
from etlctl.output import print_json, progress_bar, stdout
from etlctl.times import BadTime, parse_time, rfc3339
from etlctl.verify.sealed.present import as_json as outcome_json
from etlctl.verify.sealed.present import details, last_sentence, table
from etlctl.verify.windows import window_due
from services.verifier.connect import sink_of
from services.verifier.sealed.outcome import SealedOutcome, SealedOutcomes
from services.verifier.sealed.seals import SealReader, sealed_queries
from services.verifier.sealed.wiring import checker_of
from services.verifier.wiring import HOT, choose


def verify_sealed(
    settings: Settings,
    start: str | None,
    end: str | None,
    names: Collection[str],
    tiers: Sequence[TierName],
    *,
    json_wanted: bool,
    all_tiers: bool = False,
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> SealedOutcomes:
    """Check the seals of a range, and print what was found.

    ``all_tiers``: a tier of rollups that can have no window yet is left out, and is said.

    Raises :class:`~etlctl.times.BadTime`, :class:`~common.errors.ConfigError` for an unknown name,
    and :class:`~common.errors.SinkError`.
    """
    chosen = [query.name for query in choose(settings, names)]
    start_ms, end_ms = _time("--from", start, now_ms), _time("--to", end, now_ms)
    if start_ms is not None and end_ms is not None and start_ms >= end_ms:
        raise BadTime(f"nothing lies between {rfc3339(start_ms)} and {rfc3339(end_ms)}")
    young = _windowless(settings, tiers, chosen, now_ms()) if all_tiers else ()
    outcomes = SealedOutcomes(
        {
            tier: _of_tier(settings, tier, chosen, start_ms, end_ms, now_ms, quiet=json_wanted)
            for tier in tiers
            if tier not in young
        }
    )
    if json_wanted:
        print_json(outcome_json(outcomes))
        return outcomes
    console = stdout()
    for tier, outcome in outcomes.by_tier.items():
        name = tier if len(tiers) > 1 else ""
        console.print(table(outcome, name))
        for line in details(outcome):
            console.print(line, markup=False, soft_wrap=True)
        console.print(last_sentence(outcome, name))
    for tier in young:
        console.print(f"{tier}: no window yet.", markup=False)
    return outcomes


def _windowless(
    settings: Settings, tiers: Collection[TierName], names: Sequence[str], now_ms: int
) -> list[TierName]:
    """The tiers without a seal, where the hot one is too young for a window of theirs."""
    pipeline = settings.pipeline.redis_namespace
    queries = {query.name: query for query in settings.extract.queries}
    if HOT not in tiers:
        return []
    with closing(sink_of(settings, HOT)) as sink:
        spans = [SealReader(sink, pipeline, name, HOT).span() for name in names]
    first_ms = min((span.first_ms for span in spans if span), default=None)
    found: list[TierName] = []
    for tier in tiers:
        held = [queries[name] for name in names if queries[name].is_in(tier)]
        if (
            tier == HOT
            or first_ms is None
            or any(window_due(settings, query, tier, first_ms, now_ms) for query in held)
        ):
            continue
        with closing(sink_of(settings, tier)) as sink:
            if not sealed_queries(sink, pipeline):
                found.append(tier)
    return found


def _of_tier(
    settings: Settings,
    tier: TierName,
    names: Sequence[str],
    start_ms: int | None,
    end_ms: int | None,
    now_ms: Callable[[], int],
    *,
    quiet: bool,
) -> SealedOutcome:
    queries = {query.name: query for query in settings.extract.queries}
    chosen = [name for name in names if queries[name].is_in(tier)]
    with closing(sink_of(settings, tier)) as sink:
        columns = (TextColumn("checking"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        with progress_bar(*columns, quiet=quiet) as bar:
            task = bar.add_task("checking", total=len(chosen))

            def progress(query: str, done: int, of: int) -> None:
                bar.update(task, completed=chosen.index(query) + done / of)

            checker = checker_of(settings, sink, now_ms, progress, tier)
            return SealedOutcome(
                [checker.run(name, start_ms, end_ms) for name in chosen],
                sorted(set(sealed_queries(sink, checker.pipeline)) - queries.keys()),
                checker.notes,
            )


def _time(option: str, text: str | None, now_ms: Callable[[], int]) -> int | None:
    if text is None:
        return None
    try:
        return parse_time(text, now_ms)
    except BadTime as error:
        raise BadTime(f"{option}: {error}") from None
