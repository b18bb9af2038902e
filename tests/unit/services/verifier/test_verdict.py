"""What a comparison proves: its verdict, last sentence, JSON and exit code."""

from __future__ import annotations

from collections import Counter

import pytest

from common.errors import ConfigError
from etlctl.verify.present import as_json, details, last_sentence
from services.verifier.explain import Explained
from services.verifier.outcome import Outcome, QueryResult
from services.verifier.verdict import EXIT_CODES, Verdict, parse_accepted

STRICT: frozenset[Verdict] = frozenset()


def query(name: str, *, missing: int = 0, why: str = "", **fields: int) -> QueryResult:
    """Ten points expected; some of them ``missing``, for a reason if ``why`` is given."""
    counted = {"source": 10, "expected": 10, "found": 10 - missing, "equal": 10 - missing}
    made = QueryResult(name, missing=missing, **(counted | fields))  # type: ignore[arg-type]
    if why:
        made.explained = Explained(missing=Counter({why: missing}))
    return made


EQUAL = query("whole")
NOTHING = query("nothing", source=0, expected=0, found=0, equal=0)
DROPPED = query("dropped", expected=0, found=0, equal=0)
GAP = query("gap", missing=3, why="gap")
FLYING = query("flying", missing=2, why="in_flight")
RECHECK = query("late", missing=1, why="recheck_due")
BEYOND = query("beyond")
BEYOND.reaches_beyond = True
LOST = query("lost", missing=1)
MIXED = query("mixed", missing=5)
MIXED.explained = Explained(missing=Counter({"in_flight": 1, "gap": 2}))


@pytest.mark.parametrize(
    ("results", "verdict", "code", "sentence"),
    [
        ([EQUAL], "equal", 0, "Source and sink are equal: 10 points, each with the same 64 bits."),
        ([], "nothing_to_compare", 8, "There was nothing to compare."),
        ([NOTHING], "nothing_to_compare", 8, "There was nothing to compare."),
        (
            [EQUAL, NOTHING, DROPPED],
            "nothing_to_compare",
            8,
            "There was nothing to compare of nothing, dropped; the rest is equal.",
        ),
        (
            [EQUAL, NOTHING, GAP],
            "explained",
            6,
            "Source and sink differ, and for all of it there are reasons: of 3 points, 3 declared"
            " gap.",
        ),
        (
            [GAP, FLYING],
            "incomplete",
            7,
            "The range is not loaded whole yet of flying: 2 points may still come; 3 points differ"
            " for other reasons.",
        ),
        (
            [RECHECK],
            "incomplete",
            7,
            "The range is not loaded whole yet of late: 1 point may still come.",
        ),
        ([BEYOND, EQUAL], "incomplete", 7, "The range is not loaded whole yet of beyond."),
        (
            [LOST, GAP, FLYING, NOTHING, EQUAL],
            "different",
            1,
            "Source and sink differ: 1 point without a reason; there are reasons for 5 points.",
        ),
    ],
)
def test_the_gravest_verdict_is_that_of_all(
    results: list[QueryResult], verdict: str, code: int, sentence: str
) -> None:
    outcome = Outcome(0, 60_000, results)
    assert outcome.verdict == verdict
    assert outcome.exit_code(STRICT) == code
    assert last_sentence(outcome) == sentence
    document = as_json({"hot": outcome})
    assert document["verdict"] == verdict
    assert [one["verdict"] for one in document["queries"]] == [one.verdict for one in results]


def test_every_verdict_has_an_exit_code_of_its_own() -> None:
    assert EXIT_CODES.keys() == set(Verdict)
    assert len(set(EXIT_CODES.values())) == len(Verdict)
    assert not {2, 3} & set(EXIT_CODES.values())  # wrong usage, a server that is away


@pytest.mark.parametrize(
    ("accepted", "results", "code"),
    [
        ("explained", [GAP], 0),
        ("incomplete", [FLYING, EQUAL], 0),
        ("explained,incomplete", [GAP, FLYING, EQUAL], 0),
        ("explained, nothing_to_compare", [GAP, NOTHING], 0),
        # What is graver hides nothing that was not accepted.
        ("incomplete", [GAP, FLYING], 6),
        ("explained", [GAP, FLYING], 7),
        ("explained", [GAP, NOTHING], 8),
        ("incomplete", [MIXED], 1),
        ("explained,incomplete,nothing_to_compare", [LOST], 1),
    ],
)
def test_only_what_is_accepted_ends_with_0(
    accepted: str, results: list[QueryResult], code: int
) -> None:
    assert Outcome(0, 1, results).exit_code(parse_accepted(accepted)) == code


def test_one_query_may_be_incomplete_and_explained() -> None:
    mixed = query("mixed", missing=3)
    mixed.explained = Explained(missing=Counter({"in_flight": 1, "gap": 2}))
    assert mixed.verdicts == {Verdict.INCOMPLETE, Verdict.EXPLAINED}
    assert Outcome(0, 1, [mixed]).exit_code(frozenset({Verdict.INCOMPLETE})) == 6


@pytest.mark.parametrize("text", ["", "equal", "different", "explained,nonsense", "EXPLAINED", ","])
def test_what_cannot_be_accepted_is_one_clear_error(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--accept: .* cannot be accepted; possible are ") as it:
        parse_accepted(text)
    assert "explained, incomplete, nothing_to_compare" in str(it.value)
    assert len(it.value.problems) == 1


def test_a_query_that_had_nothing_is_named_whatever_the_verdict() -> None:
    lines = list(details(Outcome(0, 1, [LOST, NOTHING, DROPPED])))
    assert "  nothing: it matches no sample of the source in this range" in lines
    assert "  dropped: all 10 samples of it are dropped" in lines


def test_points_in_another_bucket_are_said_and_change_no_verdict() -> None:
    moved = query("moved", equal=4)
    moved.elsewhere = 1
    outcome = Outcome(0, 1, [moved])
    assert list(details(outcome)) == [
        "Found only in another bucket than load.bucket_from names for the series:",
        "  moved: 1 point",
    ]
    document = as_json({"hot": outcome})
    assert document["queries"][0]["in_another_bucket"] == 1
    assert document["verdict"] == "equal"


def test_reasons_are_listed_by_query_and_kind() -> None:
    mixed = query("mixed", missing=5)
    mixed.explained = Explained(missing=Counter({"in_flight": 1, "gap": 4}))
    mixed.dropped = Counter({"nan": 1_000, "inf": 2})
    assert list(details(Outcome(0, 1, [mixed]))) == [
        "Dropped by the transform:",
        "  mixed: inf 2, nan 1,000",
        "Explained:",
        "  mixed: 5 missing: 4 declared gap, 1 in flight",
    ]
