"""What is compared of a query whose source no longer has all that it looks at."""

from __future__ import annotations

import pytest

from common.promql.reach import NEVER_MS, RAW, Reach
from etlctl.verify.present import as_json, details
from services.verifier.verdict import Verdict
from services.verifier.whole import whole_from_ms
from tests.unit.services.verifier.test_run import (
    END_MS,
    SAMPLES,
    MemorySink,
    MemorySource,
    host,
    identify,
    subject,
    verify,
)

MINUTE = Reach(60_000)
BEGIN_MS = 1_800_000


@pytest.mark.parametrize(
    ("reach", "lowest_ms", "whole_ms"),
    [
        (RAW, 500_000, 500_000),
        (MINUTE, 500_000, 560_000),
        (Reach(60_000, pinned_ms=400_000), 500_000, NEVER_MS),
        (MINUTE, 415_000, 0),  # where the source began, and the feed with it
        (MINUTE, 415_001, 475_001),
        (MINUTE, 0, 0),  # not known
    ],
)
def test_where_a_source_is_whole(reach: Reach, lowest_ms: int, whole_ms: int) -> None:
    assert whole_from_ms(reach, lowest_ms, origin_ms=400_000, slack_ms=15_000) == whole_ms


def test_a_query_is_compared_from_its_beginning_and_others_from_the_start() -> None:
    """What the sink has before that is nobody's stray either."""
    of_a, of_b = host("a"), host("b")
    wrong = {t: -v if t <= BEGIN_MS else v for t, v in SAMPLES.items()}
    a = subject("a", owns=lambda key: key == of_a, identify=identify)
    b = subject("b", owns=lambda key: True, text="other")
    sides = MemorySource({}), MemorySink({of_a: wrong, of_b: SAMPLES})
    sides[0].series = {"a": SAMPLES, "b": SAMPLES}

    outcome = verify(*sides, subjects=[a, b], begins_ms={"a": BEGIN_MS, "b": END_MS})

    late = sum(t > BEGIN_MS for t in SAMPLES)
    (first, second) = outcome.results
    assert (first.start_ms, first.found, first.different) == (BEGIN_MS, 2 * late, 0)
    assert (second.source, second.found) == (0, 0)
    assert second.verdicts == {Verdict.NOTHING_TO_COMPARE}
    assert (outcome.start_ms, outcome.foreign) == (0, 0)
    said = list(details(outcome))
    assert "  a: after 1970-01-01T00:30:00Z" in said
    assert "  b: the source no longer has all that it looks at in this range" in said
    assert [one["from_ms"] for one in as_json({"hot": outcome})["queries"]] == [BEGIN_MS, END_MS]


def test_what_lies_before_the_beginning_is_not_held_against_another_query() -> None:
    a = subject("a", owns=lambda key: True)
    b = subject("b", text="other")
    sides = MemorySource({}), MemorySink({host("a"): SAMPLES})
    outcome = verify(*sides, subjects=[a, b], begins_ms={"a": END_MS})
    (_, second) = outcome.results
    assert second.extra == 0
    assert outcome.foreign == len(SAMPLES)
