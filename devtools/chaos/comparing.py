"""``verify`` as the oracle needs it: strict, and in processes of its own beside the faults.

Nothing excuses a difference here but a bad point that was sent on purpose: no gap, no time before a
feed's origin, nothing in flight. What Redis says of itself is not asked, for it is under test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple, Protocol, Self

import numpy as np
from redis.exceptions import RedisError

from common.config import TierName, load_settings
from common.errors import SinkError, SourceError
from etlctl.verify.present import example_lines
from services.verifier.explain import DEAD_LETTERED, Facts, Range
from services.verifier.knowledge import Knowledge
from services.verifier.outcome import Outcome
from services.verifier.points import SeriesKey
from services.verifier.source import SourceSeries
from services.verifier.verdict import Verdict
from services.verifier.wiring import HOT, connected, verifier

# Fits into one query of each feed.
PIECE_SAMPLES = 350_000
# Differences that are made on purpose: the sink refuses the bad points.
ACCEPTED_REASONS = frozenset((DEAD_LETTERED,))
# Servers are killed while a comparison runs; it is then begun anew.
RETRY_SECONDS = 180.0


class Reader(Protocol):
    """A source as far as it is counted: :class:`services.verifier.source.Source`, or several."""

    def read_select(self, selector: str, start_ms: int, end_ms: int) -> list[SourceSeries]:
        """Raw samples."""

    def read_expr(self, expr: str, step_ms: int, start_ms: int, end_ms: int) -> list[SourceSeries]:
        """An expression at each step."""

    def close(self) -> None:
        """Close all connections."""


class Point(NamedTuple):
    """One point of the sink: its series and its time."""

    series: SeriesKey
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Compared:
    """The comparison of ``(start_ms, end_ms]`` in a tier, in points.

    ``queries``: none where it is of all. ``refused`` are missing because the sink refused them, as
    it should. ``not_compared`` names the queries of which neither side has anything.
    """

    start_ms: int
    end_ms: int
    source: int = 0
    equal: int = 0
    refused: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    not_compared: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    seconds: float = 0.0
    tier: TierName = HOT
    queries: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """The tier, and of which queries where it is not all of them."""
        return " of ".join((self.tier, *filter(None, [", ".join(self.queries)])))

    @property
    def problem(self) -> str | None:
        """None if points were compared and source and sink are equal, else what is wrong."""
        span = f"{self.what} ({self.start_ms}, {self.end_ms}]"
        if self.missing or self.extra or self.different:
            return (
                f"{span}: {self.missing} points missing, {self.extra} too many,"
                f" {self.different} different, e.g. {'; '.join(self.examples[:5])}"
            )
        return None if self.equal else f"{span}: no point was found, so nothing is proven"


# As :func:`compare_range`.
Compare = Callable[
    [Path, Mapping[str, str], int, int, Sequence[Point], TierName, Sequence[str]], Compared
]


@dataclass(slots=True)
class Known(Knowledge):
    """Knowledge of nothing but bad points."""

    bad: Sequence[Point]
    pending_ranges: Mapping[str, Sequence[Range]] = field(default_factory=dict)

    def pending(self, query: str) -> Mapping[str, Sequence[Range]]:
        """Nothing may be missing because it is on its way."""
        return self.pending_ranges

    def facts(self, query: str) -> Facts:
        """The bad points, whichever query they are of."""
        times: dict[SeriesKey, list[int]] = {}
        for series, timestamp_ms in self.bad:
            times.setdefault(series, []).append(timestamp_ms)
        return Facts(dead={series: np.array(found) for series, found in times.items()})


def compare_range(
    config: Path,
    environ: Mapping[str, str],
    start_ms: int,
    end_ms: int,
    bad: Sequence[Point],
    tier: TierName = HOT,
    queries: Sequence[str] = (),
) -> Compared:
    """Compare these queries, or all, in a tier.

    A server that cannot be asked is tried again for some minutes.

    Raises :class:`SourceError`, :class:`SinkError` or :class:`RedisError` when it still cannot be
    asked then.
    """
    began = monotonic()
    settings = load_settings(config, environ=environ)

    while True:
        try:
            with connected(settings, queries, None, tier) as parts:
                strict = replace(verifier(parts), knowledge=Known(bad), piece_samples=PIECE_SAMPLES)
                found = summary(strict.run(start_ms, end_ms), monotonic() - began)
                return replace(found, tier=tier, queries=tuple(queries))
        except (SourceError, SinkError, RedisError):
            if monotonic() - began > RETRY_SECONDS:
                raise
            sleep(1.0)


def summary(outcome: Outcome, seconds: float) -> Compared:
    """The strict reading of an outcome: points may only be missing, for an accepted reason."""
    results = outcome.results
    refused = sum(
        result.explained.missing[reason] for result in results for reason in ACCEPTED_REASONS
    )
    excuses = [
        f"{result.query}: {counts.total()} {kind} {dict(counts)}"
        for result in results
        for kind, counts in (
            ("missing", result.explained.missing),
            ("extra", result.explained.extra),
            ("different", result.explained.different),
        )
        if kind != "missing" or counts.keys() - ACCEPTED_REASONS
    ]
    return Compared(
        outcome.start_ms,
        outcome.end_ms,
        source=sum(result.source for result in results),
        equal=sum(result.equal for result in results),
        refused=refused,
        missing=sum(result.missing for result in results) - refused,
        extra=sum(result.extra for result in results),
        different=sum(result.different for result in results),
        not_compared=tuple(
            result.query for result in results if Verdict.NOTHING_TO_COMPARE in result.verdicts
        ),
        examples=(*example_lines(outcome), *excuses),
        seconds=seconds,
    )


class Comparer:
    """Comparisons in ``processes`` processes beside this one, in the order they are asked for."""

    def __init__(
        self,
        config: Path,
        environ: Mapping[str, str],
        processes: int = 1,
        *,
        compare: Compare = compare_range,
    ) -> None:
        self._compare = compare
        self._config = config
        self._environ = dict(environ)
        self._pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))

    def submit(
        self,
        start_ms: int,
        end_ms: int,
        bad: Sequence[Point] = (),
        tier: TierName = HOT,
        queries: Sequence[str] = (),
    ) -> Future[Compared]:
        """Compare ``(start_ms, end_ms]`` as soon as there is a process for it."""
        what = (start_ms, end_ms, tuple(bad), tier, tuple(queries))
        return self._pool.submit(self._compare, self._config, self._environ, *what)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(wait=kind is None, cancel_futures=True)
