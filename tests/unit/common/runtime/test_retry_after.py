"""Retry-After in seconds and as a date."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.runtime.retry_after import retry_after_seconds

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("120", 120.0),
        (" 5 ", 5.0),
        ("1.5", 1.5),
        ("0", None),
        ("-3", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("1e9", None),
        ("9" * 400, None),
        (formatdate(NOW + 90, usegmt=True), 90.0),
        (formatdate(NOW - 90, usegmt=True), None),
        ("Sunday, 06-Nov-94 08:49:37 GMT", None),  # long past, in an old form
        ("Tue, 14 Nov 2023 22:15:20 -0000", 120.0),
        ("Tue, 99 Nov 2023 22:15:20 GMT", None),
        ("Tue, 14 Nov 99999999999 22:15:20 GMT", None),
    ],
)
def test_both_forms_and_what_is_neither(value: str | None, wait: float | None) -> None:
    assert retry_after_seconds(value, None, NOW) == wait


def test_a_date_is_reckoned_by_the_clock_of_who_named_it() -> None:
    theirs = formatdate(NOW - 3600, usegmt=True)
    until = formatdate(NOW - 3600 + 30, usegmt=True)
    assert retry_after_seconds(until, theirs, NOW) == 30.0
    assert retry_after_seconds(until, "no date", NOW) is None


@given(st.text(), st.none() | st.text(), st.floats(0, 2e9))
def test_it_never_raises_and_never_says_less_than_nothing(
    value: str, date: str | None, now: float
) -> None:
    wait = retry_after_seconds(value, date, now)
    assert wait is None or wait > 0
