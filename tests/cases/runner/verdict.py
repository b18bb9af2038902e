"""What ``etlctl verify`` says, and how that and the ledger differ from what is expected."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from common.config import Settings
from common.samples.layout import Place
from etlctl.verify.present import example_lines
from services.verifier.outcome import Outcome
from services.verifier.points import Points, SeriesKey
from services.verifier.source import Source
from services.verifier.wiring import connected, verifier
from tests.cases.runner.case import Ledger, Step
from tests.cases.runner.pipeline import Pipeline
from tests.cases.runner.sinks import CaseSink
from tests.doubles.loading import Clock


@dataclass(frozen=True)
class Seen:
    """What became of a step."""

    ledger: Ledger
    paused_by: str
    outcome: Outcome
    held: Points


def look(
    ledger: Ledger, pipeline: Pipeline, sink: CaseSink, settings: Settings, clock: Clock, step: Step
) -> Seen:
    """Compare source and sink with the code of ``etlctl verify``, at the case's time."""

    def no_redis(error: Exception) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Source, "now_ms", lambda source: round(clock() * 1000))
        with connected(settings, (), no_redis) as parts:
            parts.sink.close()
            parts = replace(parts, sink=sink.reader(settings))
            try:
                outcome = verifier(parts).run(pipeline.start_ms, pipeline.end_ms)
                places = {Place(series.measurement, series.field) for series in step.holds}
                held = parts.sink.read(places, pipeline.start_ms, pipeline.end_ms) if places else {}
            finally:
                parts.sink.close()
    return Seen(ledger, pipeline.paused_by, outcome, held)


def differences(step: Step, seen: Seen) -> list[str]:
    """A sentence for everything that is not as expected."""
    found = [
        f"{name}: expected {expected!r}, got {got!r}"
        for name, expected, got in (
            ("ledger", step.expect, seen.ledger),
            ("verdict", step.verdict, seen.outcome.verdict),
            ("paused_by", step.paused_by or "", seen.paused_by),
        )
        if expected != got
    ]
    if seen.outcome.verdict != step.verdict:
        found += example_lines(seen.outcome)
    if seen.outcome.verdict in ("equal", "explained"):
        found += _not_accounted(seen)
    for series in step.holds:
        key = SeriesKey.of(series.measurement, series.tags, series.field)
        column = seen.held.get(key)
        rows = {} if column is None else dict(zip(*map(list, column), strict=True))
        if {time: _exact(value) for time, value in rows.items()} != {
            time: _exact(value) for time, value in series.points.items()
        }:
            found.append(f"{key}: expected {series.points}, got {rows} of {list(seen.held)}")
    return found


def _not_accounted(seen: Seen) -> list[str]:
    """Explanations are no excuse: every loaded sample must be an equal point, and no other."""
    results, ledger = seen.outcome.results, seen.ledger
    equal = sum(result.equal for result in results)
    found = sum(result.found for result in results)
    source = sum(result.source for result in results)
    if (source, found, equal) == (ledger.extracted, ledger.loaded, ledger.loaded):
        return []
    return [f"points: {source} in the source, {found} in the sink, {equal} equal"]


def _exact(value: float) -> str:
    """Tells -0.0 from 0.0 and neighbours apart."""
    return float(value).hex()
