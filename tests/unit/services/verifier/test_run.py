"""The walk over a range: pieces, ownership of series, explanations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.promql.reach import RAW
from common.samples.layout import Place
from common.state.windows import Recheck
from services.verifier.explain import Facts, Range
from services.verifier.outcome import Outcome, QueryResult
from services.verifier.points import Column, Points, SeriesKey
from services.verifier.run import Subject, Verifier
from services.verifier.source import SourceSeries
from services.verifier.verdict import Verdict

END_MS = 3_600_000

Plain = dict[str, dict[int, float]]


def rows(points: Mapping[int, float]) -> tuple[Column, list[int]]:
    times = sorted(points)
    column = Column(
        np.array(times, dtype=np.int64), np.array([points[t] for t in times], dtype=np.float64)
    )
    return column, times


def within(points: Mapping[int, float], start_ms: int, end_ms: int) -> dict[int, float]:
    return {t: v for t, v in points.items() if start_ms < t <= end_ms}


@dataclass
class MemorySource:
    """Series by host; ``later`` replaces them from the second read of a piece on."""

    series: Plain
    later: Plain | None = None
    reads: list[tuple[int, int]] = field(default_factory=list)
    distrusted: list[str] = field(default_factory=list)

    def distrust_chunks(self, selector: str) -> None:
        self.distrusted.append(selector)

    def read_select(self, selector: str, start_ms: int, end_ms: int) -> list[SourceSeries]:
        again = (start_ms, end_ms) in self.reads and self.later is not None
        self.reads.append((start_ms, end_ms))
        series = (self.later or {}) if again else self.series
        answer = []
        for host, points in series.items():
            column, times = rows(within(points, start_ms, end_ms))
            if times:
                answer.append(SourceSeries({"__name__": "m", "host": host}, *column))
        return answer

    def read_expr(self, expr: str, step_ms: int, start_ms: int, end_ms: int) -> list[SourceSeries]:
        return [
            SourceSeries({"host": one.labels["host"]}, one.timestamps_ms, one.values)
            for one in self.read_select(expr, start_ms, end_ms)
        ]


@dataclass
class MemorySink:
    """Points by series; ``elsewhere``: how many of them are in another bucket than their own."""

    points: dict[SeriesKey, dict[int, float]]
    elsewhere: Mapping[SeriesKey, int] = field(default_factory=dict)

    def list_anew(self) -> None:
        """Nothing is listed."""

    def read(
        self, places: Iterable[Place], start_ms: int, end_ms: int, fields: Sequence[str] = ()
    ) -> Points:
        wanted = set(places)
        answer: dict[SeriesKey, Column] = {}
        for key, points in self.points.items():
            column, times = rows(within(points, start_ms, end_ms))
            if key.place in wanted and times:
                answer[key] = column
        return answer


@dataclass
class Known:
    """Knowledge as given."""

    flying: Sequence[Range] = ()
    known: Facts = field(default_factory=Facts)
    due: Sequence[Recheck] = ()

    def pending(self, query: str) -> Mapping[str, Sequence[Range]]:
        return {"in_flight": self.flying}

    def recounts(self, query: str) -> Sequence[Recheck]:
        return self.due

    def facts(self, query: str) -> Facts:
        return self.known


def identify(labels: Mapping[str, str]) -> SeriesKey | str:
    tags = {name: value for name, value in labels.items() if name != "__name__"}
    return SeriesKey.of(labels.get("__name__", "q"), tags)


def subject(name: str = "q", **changes: object) -> Subject:
    parts: dict[str, object] = {
        "name": name,
        "kind": "select",
        "text": "m",
        "step_ms": 15_000,
        "reach": RAW,
        "identify": identify,
        "owns": lambda key: key.measurement == "m",
        "places": frozenset({Place("m")}),
    }
    return Subject(**(parts | changes))  # type: ignore[arg-type]


def host(name: str) -> SeriesKey:
    return SeriesKey.of("m", {"host": name})


def verify(source: MemorySource, sink: MemorySink, **changes: object) -> Outcome:
    verifier = Verifier(source, sink, changes.pop("subjects", [subject()]), **changes)  # type: ignore[arg-type]
    return verifier.run(0, END_MS)


def only(outcome: Outcome) -> QueryResult:
    (result,) = outcome.results
    return result


SAMPLES = {t: float(t) for t in range(15_000, END_MS + 1, 15_000)}


def test_equal_sides_are_equal() -> None:
    source = MemorySource({"a": SAMPLES, "b": SAMPLES})
    outcome = verify(source, MemorySink({host("a"): SAMPLES, host("b"): SAMPLES}))
    assert outcome.verdict is Verdict.EQUAL
    result = only(outcome)
    assert (result.source, result.expected, result.found, result.equal) == (480,) * 4


@pytest.mark.parametrize(("classic", "distrusted"), [("select", {"m"}), ("", set())])
def test_carried_histograms_are_read_by_json(classic: str, distrusted: set[str]) -> None:
    source = MemorySource({"a": SAMPLES})
    verify(source, MemorySink({host("a"): SAMPLES}), subjects=[subject(classic=classic)])
    assert set(source.distrusted) == distrusted


@given(piece_samples=st.integers(1, 1_000))
def test_pieces_cover_the_range_once(piece_samples: int) -> None:
    source = MemorySource({"a": SAMPLES})
    seen: list[int] = []
    outcome = verify(
        source,
        MemorySink({host("a"): SAMPLES}),
        piece_samples=piece_samples,
        progress=seen.append,
    )
    assert only(outcome).equal == len(SAMPLES)
    starts, ends = zip(*source.reads, strict=True)
    assert starts == (0, *ends[:-1])
    assert ends[-1] == END_MS
    assert seen == list(ends)


def test_each_kind_of_difference_is_counted_and_shown() -> None:
    have = SAMPLES.copy()
    del have[15_000]
    have[30_000] = -1.0
    have[30_001] = 5.0
    outcome = verify(MemorySource({"a": SAMPLES}), MemorySink({host("a"): have}))
    result = only(outcome)
    assert outcome.verdict is Verdict.DIFFERENT
    assert (result.missing, result.different, result.extra, result.unexplained) == (1, 1, 1, 3)
    (example,) = result.examples.by_series.values()
    assert example.points == {"missing": 1, "different": 1, "extra": 1}
    assert example.first == ("missing", host("a"), 15_000, 15_000.0, None, 1, 15_000)
    assert example.last_ms == 30_001


@pytest.mark.parametrize("begins_ms", [0, 20 * END_MS])
def test_what_begins_again_after_a_long_time_is_not_read_at_once(begins_ms: int) -> None:
    """Nor what the source begins with only then."""
    hour = set(range(15_000, END_MS + 1, 15_000))
    times = {t + n * END_MS for n in (0, *range(20, 30)) for t in hour if n * END_MS >= begins_ms}
    samples = {name: dict.fromkeys(times, 1.0) for name in "abcd"}
    source = MemorySource(samples)
    sink = MemorySink({host(name): points for name, points in samples.items()})
    known = {"piece_samples": 200, "oldest_source_ms": lambda: min(times)}
    outcome = Verifier(source, sink, [subject()], **known).run(0, 30 * END_MS)  # type: ignore[arg-type]
    assert only(outcome).equal == 4 * len(times)
    most = max(sum(start < t <= end for t in times) for start, end in source.reads)
    assert 4 * most <= 8 * 200 + 4 * len(hour) * 2


@pytest.mark.parametrize("piece_samples", [1, 1_000_000])
def test_examples_are_three_series_each_with_its_count_and_time_span(piece_samples: int) -> None:
    source = MemorySource(dict.fromkeys("abcde", SAMPLES))
    result = only(verify(source, MemorySink({}), piece_samples=piece_samples))
    assert result.missing == 5 * len(SAMPLES)
    assert list(result.examples.by_series) == [host("a"), host("b"), host("c")]
    for example in result.examples.by_series.values():
        assert example.points == {"missing": len(SAMPLES)}
        assert (example.first.timestamp_ms, example.last_ms) == (15_000, END_MS)


@pytest.mark.parametrize("reason", ["gap", "before_origin"])
def test_a_known_range_explains_what_is_missing_in_it_only(reason: str) -> None:
    have = {t: v for t, v in SAMPLES.items() if t not in (15_000, 30_000, 45_000)}
    facts = Facts({reason: [Range(15_000, 30_000)]})
    result = only(
        verify(
            MemorySource({"a": SAMPLES}), MemorySink({host("a"): have}), knowledge=Known((), facts)
        )
    )
    assert result.explained.missing == {reason: 1}
    (example,) = result.examples.by_series.values()
    assert (example.points, example.first.timestamp_ms, example.last_ms) == (
        {"missing": 2},
        15_000,
        45_000,
    )


def test_what_is_in_flight_may_be_missing_but_not_different() -> None:
    have = {t: v for t, v in SAMPLES.items() if t != 15_000} | {30_000: 1.0}
    result = only(
        verify(
            MemorySource({"a": SAMPLES}),
            MemorySink({host("a"): have}),
            knowledge=Known([Range(0, 60_000)]),
        )
    )
    assert result.explained.missing == {"in_flight": 1}
    assert result.unexplained == 1
    assert result.examples.by_series[host("a")].points == {"different": 1}


@pytest.mark.parametrize(
    ("flying", "verdict"),
    [
        (Range(END_MS, END_MS + 1), Verdict.EQUAL),
        (Range(END_MS - 1, END_MS + 1), Verdict.INCOMPLETE),
        (Range(30_000, 45_000), Verdict.INCOMPLETE),
    ],
)
def test_a_range_that_is_not_loaded_yet_is_not_equal_though_nothing_is_missing(
    flying: Range, verdict: Verdict
) -> None:
    outcome = verify(
        MemorySource({"a": SAMPLES}),
        MemorySink({host("a"): SAMPLES}),
        knowledge=Known([flying]),
        piece_samples=10,
    )
    assert only(outcome).equal == len(SAMPLES)
    assert outcome.verdict is verdict


def test_a_query_without_points_is_not_equal() -> None:
    outcome = verify(MemorySource({}), MemorySink({}))
    assert outcome.verdict is Verdict.NOTHING_TO_COMPARE


def test_an_expression_may_differ_where_it_is_to_be_written_again() -> None:
    have = SAMPLES | {30_000: 1.0, 75_000: 1.0}
    result = only(
        verify(
            MemorySource({"a": SAMPLES}),
            MemorySink({SeriesKey.of("q", {"host": "a"}): have}),
            subjects=[subject(kind="expr", places=frozenset({Place("q")}))],
            knowledge=Known([Range(0, 60_000)]),
        )
    )
    assert result.explained.different == {"in_flight": 1}
    assert result.unexplained == 1
    assert result.verdicts == {Verdict.DIFFERENT, Verdict.INCOMPLETE}


def test_dead_letters_explain_their_own_points() -> None:
    have = {t: v for t, v in SAMPLES.items() if t not in (15_000, 30_000)}
    facts = Facts(dead={host("a"): np.array([30_000]), host("b"): np.array([15_000])})
    result = only(
        verify(
            MemorySource({"a": SAMPLES}), MemorySink({host("a"): have}), knowledge=Known((), facts)
        )
    )
    assert result.explained.missing == {"dead_lettered": 1}
    assert result.unexplained == 1


def test_a_lost_entry_that_cannot_be_read_explains_no_more_than_its_samples() -> None:
    have = {t: v for t, v in SAMPLES.items() if t > 75_000}
    result = only(
        verify(
            MemorySource({"a": SAMPLES}),
            MemorySink({host("a"): have}),
            knowledge=Known((), Facts(unreadable_dead_samples=3)),
            piece_samples=1,
        )
    )
    assert result.missing == 5
    assert result.explained.missing == {"dead_lettered_unreadable": 3}
    assert result.unexplained == 2


def test_a_source_that_changes_between_two_reads_explains() -> None:
    # 15 s vanishes, 30 s gets another value, 45 s appears.
    first = {t: v for t, v in SAMPLES.items() if t != 45_000}
    second = {t: v for t, v in SAMPLES.items() if t != 15_000} | {30_000: 7.0}
    outcome = verify(MemorySource({"a": first}, {"a": second}), MemorySink({host("a"): second}))
    result = only(outcome)
    assert outcome.verdict is Verdict.EXPLAINED
    assert result.explained.missing == {"source_changed": 1}
    assert result.explained.different == {"source_changed": 1}
    assert result.explained.extra == {"source_changed": 1}


def test_a_point_that_both_reads_give_is_missing_whatever_its_value() -> None:
    second = {t: v + 1 for t, v in SAMPLES.items()}
    have = {t: v for t, v in second.items() if t != 15_000}
    result = only(
        verify(MemorySource({"a": SAMPLES}, {"a": second}), MemorySink({host("a"): have}))
    )
    assert (result.missing, result.unexplained) == (1, 1)


def test_a_series_nobody_expects_is_extra_if_it_can_only_be_ours() -> None:
    sink = MemorySink({host("a"): SAMPLES, host("b"): {15_000: 1.0}})
    result = only(verify(MemorySource({"a": SAMPLES}), sink))
    assert (result.extra, result.unexplained) == (1, 1)


def test_a_series_of_somebody_else_is_left_alone() -> None:
    sink = MemorySink({host("a"): SAMPLES, host("b"): {15_000: 1.0}})
    for changes, foreign in (
        ({"subjects": [subject(owns=lambda key: False)]}, 1),
        ({"bystanders": [lambda key: True]}, 0),
    ):
        outcome = verify(MemorySource({"a": SAMPLES}), sink, **changes)
        assert outcome.verdict is Verdict.EQUAL
        assert outcome.foreign == foreign
        assert only(outcome).found == len(SAMPLES)


def test_points_in_another_bucket_are_counted_of_the_querys_own_series() -> None:
    theirs = SeriesKey.of("n", {})
    sink = MemorySink({host("a"): SAMPLES}, elsewhere={host("a"): 3, theirs: 5})
    outcome = verify(MemorySource({"a": SAMPLES}), sink, first_piece_ms=END_MS)
    assert outcome.verdict is Verdict.EQUAL
    assert only(outcome).elsewhere == 3


def test_queries_that_share_a_measurement_do_not_accuse_each_other() -> None:
    source = MemorySource({"a": SAMPLES, "b": SAMPLES})

    def only_host(name: str) -> Subject:
        def identify_host(labels: Mapping[str, str]) -> SeriesKey | str:
            return identify(labels) if labels["host"] == name else "relabel"

        return subject(name, identify=identify_host)

    outcome = verify(
        source,
        MemorySink({host("a"): SAMPLES, host("b"): SAMPLES}),
        subjects=[only_host("a"), only_host("b")],
    )
    assert outcome.verdict is Verdict.EQUAL
    assert [result.found for result in outcome.results] == [len(SAMPLES)] * 2
    assert [result.dropped for result in outcome.results] == [{"relabel": len(SAMPLES)}] * 2


def test_an_expression_is_read_on_its_grid() -> None:
    one = subject(kind="expr", places=frozenset({Place("q")}), owns=lambda k: k.measurement == "q")
    outcome = verify(
        MemorySource({"a": SAMPLES}),
        MemorySink({SeriesKey.of("q", {"host": "a"}): SAMPLES}),
        subjects=[one],
    )
    assert outcome.verdict is Verdict.EQUAL
    assert only(outcome).equal == len(SAMPLES)
