"""Walk over the range in pieces that fit in memory, and compare each piece."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Literal

from common.errors import SinkSlow
from common.promql.reach import Reach
from common.samples.layout import Place
from common.samples.rollup import AGGREGATES, Rollup
from services.verifier.compare import compare
from services.verifier.expect import Expected, Identify, expect, expect_rollup
from services.verifier.explain import ON_THE_WAY, RECHECK_DUE, Facts, Spent, explain
from services.verifier.knowledge import Knowledge
from services.verifier.late import late_in
from services.verifier.outcome import Outcome, QueryResult
from services.verifier.phases import Phases
from services.verifier.points import Column, Points, SeriesKey
from services.verifier.replicas import ReadFrom
from services.verifier.rollup import with_fields
from services.verifier.sink.read import Sink
from services.verifier.source import Source, SourceSeries
from services.verifier.unloaded import Unloaded
from services.verifier.whole import whole_from_ms

# How often a piece that the sink takes too long for is tried with a quarter of its length.
_TIMES_SHORTER = 3
# Where there are no samples pieces grow no longer than they may be where there are: up to so many
# times what is aimed at, by the most samples that a minute had. While there were none yet they grow
# up to so long, and before the source begins up to any length.
_MOST_AT_ONCE = 8.0
_UNKNOWN_MS = 21_600_000
_MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Subject:
    """One query as ``verify`` needs it.

    ``reach``: what the source must hold for a point to be what it was. ``step_ms``: how far
    apart an ``expr`` is evaluated. ``rollup``: what a tier holds of the samples; None = themselves.
    ``identify`` is the configured transform at series level; ``owns``: whether a series of the sink
    could be this query's; ``places`` are read back even where nothing is expected.
    ``labels``: what ``identify`` gives each series in the place of its own. ``classic``: its
    kind, if native histograms become classic series.
    """

    name: str
    kind: Literal["expr", "select"]
    text: str
    step_ms: int
    reach: Reach
    identify: Identify
    owns: Callable[[SeriesKey], bool]
    places: frozenset[Place]
    rollup: Rollup | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    classic: str = ""

    @property
    def window_step_ms(self) -> int:
        """What the bounds of its windows are multiples of."""
        return self.rollup.resolution_ms if self.rollup else self.step_ms

    @property
    def origin_slack_ms(self) -> int:
        """How far after the origin the source may begin although it has deleted nothing.

        A rollup begins with its first whole bucket, other feeds at a step before the source does.
        """
        return 1 if self.rollup else self.step_ms

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of its points; none where a point is a sample."""
        return self.rollup.aggregates if self.rollup else ()


@dataclass(slots=True)
class Verifier:
    """Compares what the source has with what the sink has.

    ``phases``: what was in force before, of queries that were changed. ``bystanders`` decide, for
    configured queries that are not verified now, or are another shard's, which series could be
    theirs. ``latest_ms`` bounds what the transform accepts. ``oldest_source_ms`` asks for the
    oldest time that the source keeps; 0 where that is not known. ``read_from`` says which of its
    replicas was read. ``begins_ms``: after when a query is compared, by its name; others are from
    the start. ``spent``: which allowances of a query other comparisons took. ``first_piece_ms``:
    what is read at once until it is known how many samples that holds.
    """

    source: Source
    sink: Sink
    subjects: Sequence[Subject]
    phases: Mapping[str, Phases] = field(default_factory=dict)
    bystanders: Sequence[Callable[[SeriesKey], bool]] = ()
    knowledge: Knowledge = field(default_factory=Knowledge)
    latest_ms: int | None = None
    oldest_source_ms: Callable[[], int] = lambda: 0
    begins_ms: Mapping[str, int] = field(default_factory=dict)
    read_from: ReadFrom = field(default_factory=ReadFrom)
    spent: Mapping[str, Spent] = field(default_factory=dict)
    piece_samples: int = 200_000
    first_piece_ms: int = 60_000
    progress: Callable[[int], None] = lambda position_ms: None

    def run(self, start_ms: int, end_ms: int) -> Outcome:
        """Compare everything in ``(start_ms, end_ms]``.

        What the sink does not give within its time-out is read in shorter pieces. Raises
        :class:`~common.errors.SourceError` or :class:`~common.errors.SinkError`.
        """
        begins_ms = {
            one.name: max(start_ms, self.begins_ms.get(one.name, 0)) for one in self.subjects
        }
        results = [
            QueryResult(
                one.name,
                begins_ms[one.name],
                spent=Spent(self.spent.get(one.name)),
                unloaded=Unloaded(one.window_step_ms),
            )
            for one in self.subjects
        ]
        outcome = Outcome(start_ms, end_ms, results)
        shortest_ms = max((one.window_step_ms for one in self.subjects), default=1)
        piece_ms = max(self.first_piece_ms, shortest_ms)
        position_ms = min(begins_ms.values(), default=start_ms)
        changes_ms = {at for one in self.phases.values() for at in one.bounds_ms()}
        changes_ms |= self.read_from.ask(one.name for one in self.subjects)
        bounds_ms = sorted(changes_ms.union(begins_ms.values()))
        shorter, most_growth, densest = 0, 4.0, 0.0
        source_begins_ms = -1  # not asked yet
        self.sink.list_anew()
        while position_ms < end_ms:
            change_ms = next((at for at in bounds_ms if at > position_ms), end_ms)
            piece_end_ms = position_ms + piece_ms
            if (whole_ms := piece_end_ms // shortest_ms * shortest_ms) > position_ms:
                piece_end_ms = whole_ms
            stop_ms = min(end_ms, piece_end_ms, change_ms)
            try:
                samples = self._piece(position_ms, stop_ms, outcome)
            except SinkSlow:
                if shorter >= _TIMES_SHORTER or stop_ms - position_ms <= shortest_ms:
                    raise
                # Otherwise every other piece would be too long once more.
                shorter, most_growth = shorter + 1, 1.25
                piece_ms = max(shortest_ms, (stop_ms - position_ms) // 4)
                self.progress(position_ms)
                continue
            shorter = 0
            # Aim at pieces of a steady size whatever the density of the data, changing gently.
            factor = min(most_growth, max(0.25, self.piece_samples / max(samples, 1)))
            # What was long ago counts for less and less.
            densest = max(0.99 * densest, samples / max(stop_ms - position_ms, _MINUTE_MS))
            longest_ms = _MOST_AT_ONCE * self.piece_samples / densest if densest else _UNKNOWN_MS
            if not densest and source_begins_ms < 0 and stop_ms < end_ms:
                source_begins_ms = self.oldest_source_ms()
                bounds_ms = sorted({*bounds_ms, source_begins_ms})
            if stop_ms < source_begins_ms and not densest:
                longest_ms = inf
            elif stop_ms == source_begins_ms:
                longest_ms = self.first_piece_ms
            piece_ms = max(shortest_ms, int(min(piece_ms * factor, longest_ms)))
            position_ms = stop_ms
            self.progress(position_ms)
        return outcome

    def _piece(self, start_ms: int, end_ms: int, outcome: Outcome) -> int:
        # The last of each is in force, the others may be.
        possible: dict[str, Sequence[Subject]] = {}
        not_yet: list[Subject] = []
        for one, result in zip(self.subjects, outcome.results, strict=True):
            if result.start_ms <= start_ms:
                possible[one.name] = self._at(one, end_ms)
            else:
                not_yet += self._at(one, end_ms)
        subjects = [of_query[-1] for of_query in possible.values()]
        # Read before the sink is: what has settled by now must be found there.
        pending = {one.name: self.knowledge.pending(one.name) for one in subjects}
        recounts = {one.name: self.knowledge.recounts(one.name) for one in subjects}
        expected = {one.name: self._expected(one, start_ms, end_ms) for one in subjects}
        places = {place for one in subjects for place in one.places}
        places.update(key.place for each in expected.values() for key in each.points)
        held = {name for one in subjects for name in one.fields}
        fields = tuple(name for name in AGGREGATES if name in held)
        found = self.sink.read(places, start_ms, end_ms, fields=fields)
        not_compared = [one.owns for one in not_yet]
        strays = self._strays(subjects, not_compared, found, expected, outcome)
        results = [result for result in outcome.results if result.query in possible]
        for subject, result in zip(subjects, results, strict=True):
            wanted = expected[subject.name]
            mine = {key: column for key, column in found.items() if key in wanted.points}
            mine.update(strays.get(subject.name, {}))
            result.elsewhere += sum(
                number for key, number in self.sink.elsewhere.items() if key in mine
            )
            if subject.rollup:
                mine = with_fields(mine, fields, subject.fields)
            comparison = compare(wanted.points, mine)
            result.reaches_beyond |= any(
                first_ms < end_ms and last_ms > start_ms
                for reason in ON_THE_WAY & pending[subject.name].keys()
                for first_ms, last_ms in pending[subject.name][reason]
            )
            result.source += wanted.source
            result.dropped += wanted.dropped
            result.expected += comparison.expected
            result.found += comparison.found
            result.equal += comparison.equal
            result.missing += comparison.missing
            result.extra += comparison.extra
            result.different += comparison.different
            if comparison.differences:
                facts = self.knowledge.facts(subject.name)
                if subject.kind == "select":
                    self.source.distrust_chunks(subject.text)
                second_read = self._expected(subject, start_ms, end_ms)
                # Asked last: what the second read does not give may have been deleted until then.
                oldest_ms = self.oldest_source_ms()
                expired_ms = subject.reach.whole_from_ms(oldest_ms)
                if subject.rollup:
                    begin_ms = self.knowledge.begin_ms(subject.name)
                    expired_ms = whole_from_ms(
                        subject.reach, oldest_ms, begin_ms, subject.origin_slack_ms
                    )
                source = self._source(subject, end_ms)
                late = late_in(source, subject, recounts[subject.name], comparison.differences)
                instead, ever = (
                    [self._expected(one, start_ms, end_ms, subject.fields).points for one in others]
                    for others in self._others(subject, possible[subject.name])
                )
                coming = {**pending[subject.name], RECHECK_DUE: late.ranges}
                reasons = explain(
                    comparison.differences,
                    Facts(
                        {**coming, **facts.ranges},
                        facts.dead,
                        facts.unreadable_dead_samples,
                        # Raw samples do not change; what is computed from them can.
                        overwritten=coming if subject.kind == "expr" or subject.rollup else {},
                        allowances=(*late.allowances, *facts.allowances),
                        instead=instead,
                        ever=ever,
                        replica_gone=self.read_from.is_gone(subject.name, end_ms),
                    ),
                    second_read.points,
                    wanted.rivals,
                    expired_ms,
                    result.spent,
                    second_read.whole,
                )
                result.explained.missing += reasons.missing
                result.explained.extra += reasons.extra
                result.explained.different += reasons.different
                result.examples.add(reasons.examples)
                result.unloaded.add(reasons.unloaded_ms)
        return sum(each.source for each in expected.values())

    def _expected(
        self, subject: Subject, start_ms: int, end_ms: int, fields: Sequence[str] | None = None
    ) -> Expected:
        """What should be there, of a rollup with these ``fields`` or else its own."""
        rollup, classic = subject.rollup, subject.classic
        if rollup is None:
            series = self._read(subject, start_ms, end_ms)
            return expect(series, subject.identify, self.latest_ms, classic=classic)
        # Of the buckets that end in the range.
        first_ms, last_ms = (
            bound_ms // rollup.resolution_ms * rollup.resolution_ms
            for bound_ms in (start_ms, end_ms)
        )
        series = []
        if first_ms < last_ms:
            series = self._read(subject, first_ms - rollup.lead_in_ms, last_ms)
        return expect_rollup(
            expect(series, subject.identify, self.latest_ms, first_ms, classic=classic),
            start_ms,
            end_ms,
            rollup,
            subject.fields if fields is None else fields,
            subject.step_ms if subject.kind == "expr" else None,
        )

    def _read(self, subject: Subject, start_ms: int, end_ms: int) -> list[SourceSeries]:
        source = self._source(subject, end_ms)
        if subject.kind == "select":
            return source.read_select(subject.text, start_ms, end_ms)
        return source.read_expr(subject.text, subject.step_ms, start_ms, end_ms)

    def _source(self, subject: Subject, end_ms: int) -> Source:
        source = self.read_from.source(self.source, subject.name, end_ms)
        if subject.classic == "select":
            # Histograms are in JSON alone; so does the extractor read them.
            source.distrust_chunks(subject.text)
        return source

    def _at(self, subject: Subject, time_ms: int) -> Sequence[Subject]:
        phases = self.phases.get(subject.name)
        return phases.subjects_at(time_ms) if phases else [subject]

    def _others(
        self, subject: Subject, possible: Sequence[Subject]
    ) -> tuple[Sequence[Subject], Sequence[Subject]]:
        """What may have been in force in its place, and what ever was."""
        phases = self.phases.get(subject.name)
        ever = phases.subjects() if phases else []
        return possible[:-1], [one for one in ever if one is not subject]

    def _strays(
        self,
        subjects: Sequence[Subject],
        not_compared: Sequence[Callable[[SeriesKey], bool]],
        found: Points,
        expected: dict[str, Expected],
        outcome: Outcome,
    ) -> dict[str, dict[SeriesKey, Column]]:
        """Series that nobody expects, by the query that alone can have made them."""
        claimed = {key for each in expected.values() for key in each.points}
        strays: dict[str, dict[SeriesKey, Column]] = {}
        for key, column in found.items():
            if key in claimed or any(owns(key) for owns in self.bystanders):
                continue
            owner = None
            if not any(owns(key) for owns in not_compared):
                owner = next((one.name for one in subjects if one.owns(key)), None)
            if owner is None:
                outcome.foreign += len(column.values)
            else:
                strays.setdefault(owner, {})[key] = column
        return strays
