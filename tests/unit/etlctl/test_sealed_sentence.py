"""The last sentence of ``etlctl verify --sealed`` says no more than was checked."""

from __future__ import annotations

import pytest

from etlctl.verify.sealed.present import last_sentence
from services.verifier.sealed.outcome import Kind, QueryOutcome, SealedOutcome


@pytest.mark.parametrize(
    ("windows", "sentence"),
    [
        ([(Kind.INTACT, 5)], "Every sealed window is intact."),
        ([(Kind.INTACT, 0)], "A query has no sealed points"),
        ([(Kind.UNREADABLE, 0)], "Nothing could be checked."),
        ([(Kind.INTACT, 5), (Kind.UNREADABLE, 0)], "What could be checked is intact"),
        ([(Kind.INTACT, 5), (Kind.DELETED, 5)], "The sink does not hold what was loaded."),
        ([(Kind.DELETED, 5), (Kind.UNREADABLE, 0)], "The sink does not hold what was loaded."),
    ],
)
def test_it_says_what_the_gravest_finding_allows(
    windows: list[tuple[Kind, int]], sentence: str
) -> None:
    outcome = QueryOutcome("raw")
    for place, (kind, sealed) in enumerate(windows):
        outcome.add(kind, place * 1_000, (place + 1) * 1_000, sealed)
    assert sentence in last_sentence(SealedOutcome([outcome]))
