"""What a source says, and what it means for us."""

from __future__ import annotations

import pytest

from common.errors import QueryTooLarge, SourceError, SourceUnavailable
from common.source.errors import plain_error, remarks_of, reported_error
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
        # Go writes an error that has no text of its own as an empty object.
        ({"data": {"resultType": "matrix", "warnings": [{}]}}, SourceUnavailable),
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


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        # Thanos and Cortex: limits.go, by httpgrpc/server of weaveworks/common.
        (
            400,
            "the query time range exceeds the limit (query length: 48h0m0s, limit: 24h0m0s)",
            QueryTooLarge,
        ),
        (422, "the query hit the max number of series limit (limit: 3 series)", QueryTooLarge),
        (500, "rpc error: received message larger than max (5 vs 4)", QueryTooLarge),
        (500, "rpc error: code = Unknown desc = context deadline exceeded", SourceUnavailable),
        (502, "upstream request timeout exceeded", SourceUnavailable),
        (400, "<html>Bad Request</html>", SourceUnavailable),
    ],
)
def test_a_front_may_refuse_with_a_text_alone(
    status: int, body: str, meaning: type[SourceError]
) -> None:
    error = plain_error(status, body.encode(), {"Retry-After": "3"})
    assert type(error) is meaning
    assert body[:40] in str(error)
    if isinstance(error, SourceUnavailable):
        assert error.retry_after_seconds == 3


@pytest.mark.parametrize("refusal", [one for one in REFUSALS if "in 30s from Addr" in one.text])
def test_a_time_out_behind_a_source_may_be_of_too_large_a_range(refusal: Refusal) -> None:
    errors = [
        reported_error(refusal.error_type, refusal.text, refusal.status),
        plain_error(refusal.status, refusal.text.encode(), {}),
        reported_error("unavailable", "no healthy upstream", 503),
    ]
    with pytest.raises(SourceUnavailable) as raised:
        remarks_of({"warnings": [refusal.text]})
    errors.append(raised.value)
    assert [isinstance(one, SourceUnavailable) and one.may_be_too_large for one in errors] == [
        True,
        True,
        False,
        True,
    ]
