"""What the sink must hold of a source of two replicas: of each stretch of time all of one of them.

Both replicas are asked, and Redis is not: it only claims which of them each window was read from.
Time is looked at in the steps that the bounds of windows are multiples of. In each of them

* the sink has exactly what one replica has, of all series of the query: a step in which it has
  samples of both is mixed;
* it has nothing only where neither has anything, and of raw samples never less than half of what
  the other replica has: a window that the one was down in comes from the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic, sleep

import numpy as np
from numpy.typing import NDArray

from common.config import Query, Settings, TierName, load_settings
from common.errors import SinkError, SourceError
from common.samples.series import SeriesEncoder
from devtools.chaos.comparing import RETRY_SECONDS, Compared, Point
from services.verifier.connect import sink_of, source_of
from services.verifier.expect import Identify, expect, identify_of
from services.verifier.points import NOTHING, Column, Points, equal
from services.verifier.sink.read import Sink
from services.verifier.source import Source
from services.verifier.wiring import HOT, choose

# Of a query; fits into memory many times.
PIECE_MS = 60_000
# What a replica had not written when it was read is read again: that must be over by then.
HEALED_SECONDS = 25.0
_EXAMPLES = 5


def each_source(settings: Settings) -> list[Source]:
    """The replicas, as if each were the only source."""
    return [
        source_of(settings.model_copy(update={"extract": one}))
        for one in settings.extract.each_replica
    ]


def compare_with_either(
    config: Path,
    environ: Mapping[str, str],
    start_ms: int,
    end_ms: int,
    bad: Sequence[Point] = (),
    tier: TierName = HOT,
    queries: Sequence[str] = (),
) -> Compared:
    """As :func:`devtools.chaos.comparing.compare_range`; no bad points are sent here.

    Raises :class:`SourceError` or :class:`SinkError` when a server cannot be asked for minutes.
    """
    began = monotonic()
    settings = load_settings(config, environ=environ)
    while True:
        try:
            found = _compare_once(settings, start_ms, end_ms, queries)
            passed_seconds = monotonic() - began
            if not found.problem or passed_seconds > HEALED_SECONDS:
                return replace(found, seconds=passed_seconds, tier=tier, queries=tuple(queries))
        except (SourceError, SinkError):
            if monotonic() - began > RETRY_SECONDS:
                raise
        sleep(1.0)


def _compare_once(
    settings: Settings, start_ms: int, end_ms: int, queries: Sequence[str]
) -> Compared:
    encoder = SeriesEncoder.from_settings(settings)
    sources = each_source(settings)
    total, nothing = Judged(), []
    try:
        with closing(sink_of(settings, HOT)) as sink:
            for query in choose(settings, queries):
                identify = identify_of(query, encoder)
                of_query = Judged()
                # At multiples of the step, so that no step is seen in two halves.
                step_ms = query.step_ms
                cursor_ms, piece_ms = start_ms, max(1, PIECE_MS // step_ms) * step_ms
                while cursor_ms < end_ms:
                    stop_ms = min(end_ms, (cursor_ms // piece_ms + 1) * piece_ms)
                    span = (cursor_ms, stop_ms)
                    of_query.add(_judge_piece(query, identify, sources, sink, span))
                    cursor_ms = stop_ms
                if not of_query.wanted:
                    nothing.append(query.name)
                total.add(of_query)
    finally:
        for source in sources:
            source.close()
    return Compared(
        start_ms,
        end_ms,
        source=total.wanted,
        equal=total.equal,
        missing=total.missing,
        extra=total.extra,
        different=total.different,
        not_compared=tuple(nothing),
        examples=tuple(total.examples),
    )


def _judge_piece(
    query: Query,
    identify: Identify,
    sources: Sequence[Source],
    sink: Sink,
    span: tuple[int, int],
) -> Judged:
    held = []
    for source in sources:
        if query.kind == "select":
            series = source.read_select(query.text, *span)
        else:
            series = source.read_expr(query.text, query.step_ms, *span)
        held.append(expect(series, identify).points)
    places = {key.place for points in held for key in points}
    found = sink.read(places, *span) if places else {}
    return judge(query.name, held, found, span, query.step_ms, whole=query.kind == "select")


@dataclass(slots=True)
class Judged:
    """Points of a time: ``wanted`` are those of the replicas that were read, or should have been.

    ``missing``, ``extra`` and ``different`` are counted against the replica that is more like it.
    """

    wanted: int = 0
    equal: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, other: Judged) -> None:
        """Count another time, too."""
        self.wanted += other.wanted
        self.equal += other.equal
        self.missing += other.missing
        self.extra += other.extra
        self.different += other.different
        self.examples = [*self.examples, *other.examples][:_EXAMPLES]


def judge(
    what: str,
    held: Sequence[Points],
    found: Points,
    span: tuple[int, int],
    step_ms: int,
    *,
    whole: bool,
) -> Judged:
    """Whether ``found`` is of one of the replicas in each step of ``span``, ``(start, end]``.

    ``held``: what each replica has. ``whole``: whether less than half of what another one has is
    too little.
    """
    steps = _Steps(span, step_ms)
    against = [_Against(steps, points, found) for points in held]
    judged = Judged()
    for step in range(steps.count):
        wrong = [int(one.wrong[step]) for one in against]
        best = int(np.argmin(wrong))
        one = against[best]
        most = max(int(other.wanted[step]) for other in against)
        judged.wanted += int(one.wanted[step])
        judged.equal += int(one.equal[step])
        judged.missing += int(one.missing[step])
        judged.extra += int(one.extra[step])
        judged.different += int(one.different[step])
        if wrong[best]:
            judged.examples.append(
                f"{what} {steps.bounds(step)}: of neither replica alone, {wrong} points are wrong"
            )
            continue
        have = int(one.wanted[step])
        if steps.is_whole(step) and (have == 0 < most or (whole and 2 * have < most)):
            # Nothing contradicts it, and another replica has what is not there.
            judged.wanted += most - have
            judged.missing += most - have
            judged.examples.append(f"{what} {steps.bounds(step)}: {have} of {most} points")
    return judged


class _Steps:
    """The steps that a span touches, numbered from 0."""

    def __init__(self, span: tuple[int, int], step_ms: int) -> None:
        self._start_ms, self._end_ms = span
        self._step_ms = step_ms
        self._first = self._start_ms // step_ms
        self.count = -(-self._end_ms // step_ms) - self._first

    def of(self, times_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """In which step each time is: its end belongs to it."""
        return -(-times_ms // self._step_ms) - 1 - self._first

    def bounds(self, step: int) -> str:
        """For the reader."""
        start_ms = (self._first + step) * self._step_ms
        return f"({start_ms}, {start_ms + self._step_ms}]"

    def is_whole(self, step: int) -> bool:
        """Whether all of it is in the span."""
        start_ms = (self._first + step) * self._step_ms
        return self._start_ms <= start_ms and start_ms + self._step_ms <= self._end_ms


class _Against:
    """What was found against one replica, in points of each step."""

    def __init__(self, steps: _Steps, held: Points, found: Points) -> None:
        names = ("wanted", "equal", "missing", "extra", "different")
        self.wanted, self.equal, self.missing, self.extra, self.different = (
            np.zeros(steps.count, np.int64) for _ in names
        )
        for key in held.keys() | found.keys():
            want, have = held.get(key, NOTHING), found.get(key, NOTHING)
            _, in_want, in_have = np.intersect1d(
                want.timestamps_ms, have.timestamps_ms, assume_unique=True, return_indices=True
            )
            same = equal(want.values[in_want], have.values[in_have])
            self._count(steps, self.wanted, want)
            self._count(steps, self.equal, want.take(in_want[same]))
            self._count(steps, self.different, want.take(in_want[~same]))
            self._count(steps, self.missing, _without(want, in_want))
            self._count(steps, self.extra, _without(have, in_have))

    @property
    def wrong(self) -> NDArray[np.int64]:
        """Points of each step that are not as this replica has them."""
        return self.missing + self.extra + self.different

    @staticmethod
    def _count(steps: _Steps, counted: NDArray[np.int64], points: Column) -> None:
        if len(points.timestamps_ms):
            np.add.at(counted, steps.of(points.timestamps_ms), 1)


def _without(column: Column, taken: NDArray[np.intp]) -> Column:
    left = np.ones(len(column.timestamps_ms), np.bool_)
    left[taken] = False
    return column.take(left)
