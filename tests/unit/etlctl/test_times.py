"""Times as an operator types them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlctl.times import BadTime, parse_time, rfc3339

NOW_MS = 1_714_564_800_123


def now_ms() -> int:
    return NOW_MS


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("1714564800", 1_714_564_800_000),
        ("1714564800.5", 1_714_564_800_500),
        ("1714564800.1239", 1_714_564_800_123),
        ("0", 0),
        ("now", NOW_MS),
        ("-1h", NOW_MS - 3_600_000),
        ("now-90s", NOW_MS - 90_000),
        ("-1h30m", NOW_MS - 5_400_000),
        ("-0", NOW_MS),
        ("2y", NOW_MS - 2 * 365 * 86_400_000),
        ("1h30m", NOW_MS - 5_400_000),
        ("2024-05-01T12:00:00Z", 1_714_564_800_000),
        ("2024-05-01T14:00:00.250+02:00", 1_714_564_800_250),
        (" 2024-05-01T12:00:00Z ", 1_714_564_800_000),
    ],
)
def test_reads_every_documented_form(text: str, expected_ms: int) -> None:
    assert parse_time(text, now_ms) == expected_ms


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is not a time"),
        ("yesterday", "is not a time"),
        ("2024-13-01T00:00:00Z", "is not a time"),
        ("2024-05-01T12:00:00", "time zone"),
        ("2024-05-01", "time zone"),
        ("-1hour", "duration"),
        ("-5", "duration"),
        ("30m1h", "duration"),
        ("--1h", "is not a time"),
        ("-60000d", "out of range"),
        ("1969-12-31T23:59:59Z", "out of range"),
        ("999999999999", "out of range"),
        ("0001-01-01T00:00:00+14:00", "out of range"),
        ("1e9", "is not a time"),
        ("nan", "is not a time"),
    ],
)
def test_says_what_is_wrong(text: str, complaint: str) -> None:
    with pytest.raises(BadTime, match=complaint):
        parse_time(text, now_ms)


@given(st.integers(min_value=0, max_value=253_402_300_799_999))
def test_rfc3339_is_read_back_exactly(ms: int) -> None:
    assert parse_time(rfc3339(ms), now_ms) == ms


@given(st.text())
def test_any_text_is_a_time_or_a_bad_time(text: str) -> None:
    with contextlib.suppress(BadTime):
        assert parse_time(text, now_ms) >= 0
