"""What a source says, and what it means for us."""

from __future__ import annotations

import pytest

from common.errors import QueryTooLarge, SourceError, SourceUnavailable
from common.source.errors import remarks_of, reported_error
from tests.support.source_refusals import REFUSALS, Refusal


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda one: one.text[:60])
def test_each_text_has_its_meaning(refusal: Refusal) -> None:
    error = reported_error(refusal.error_type, refusal.text, refusal.status)
    assert type(error) is refusal.meaning
    assert refusal.text[:300] in str(error)


def test_remarks_on_the_expression_leave_the_response_whole() -> None:
    remarks = ["PromQL warning: x", "PromQL info: y"]
    assert remarks_of({"warnings": remarks}) == remarks
    assert remarks_of({"warnings": "PromQL info: y"}) == ["PromQL info: y"]
    assert remarks_of({"warnings": None, "isPartial": False}) == []


@pytest.mark.parametrize(
    ("envelope", "error"),
    [
        ({"warnings": ["PromQL info: y", "store 2 is away"]}, SourceUnavailable),
        ({"warnings": {"a": 1}}, SourceUnavailable),
        ({"isPartial": True}, SourceUnavailable),
        # What is behind remote_read has limits of its own: half of the range may be within them.
        (
            {"warnings": ["remote_read: 400 Bad Request: exceeded sample limit (5)"]},
            QueryTooLarge,
        ),
        # A store that is away takes no longer for half of the range.
        (
            {"warnings": ["receive series: rpc error: context deadline exceeded"]},
            SourceUnavailable,
        ),
    ],
)
def test_a_response_of_which_a_part_is_missing_is_none(
    envelope: dict[str, object], error: type[SourceError]
) -> None:
    with pytest.raises(error) as caught:
        remarks_of(envelope)
    assert type(caught.value) is error
