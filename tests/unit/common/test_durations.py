"""Durations and sizes, both ways."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.durations import format_duration, parse_duration_ms, parse_size_bytes


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [
        ("0", 0),
        ("0s", 0),
        ("15s", 15_000),
        ("1m30s", 90_000),
        ("1h", 3_600_000),
        ("14d", 1_209_600_000),
        ("2w", 1_209_600_000),
        ("1y", 31_536_000_000),
        ("250ms", 250),
        ("1y1w1d1h1m1s1ms", 32_230_861_001),
        ("292y", 9_208_512_000_000),
    ],
)
def test_durations(text: str, duration_ms: int) -> None:
    assert parse_duration_ms(text) == duration_ms


@pytest.mark.parametrize(
    "text",
    ["", "15", "1.5h", "-5s", "5 s", "30s5m", "5m5m", "s", "5S", "٣s", "300y", "9" * 5000 + "s"],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration|longer than 292 years"):
        parse_duration_ms(text)


@given(st.integers(0, 2**43))
def test_a_formatted_duration_is_read_back(duration_ms: int) -> None:
    text = format_duration(duration_ms)
    assert parse_duration_ms(text) == duration_ms
    assert re.fullmatch(r"(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?", text)


def test_a_negative_duration_has_no_form() -> None:
    with pytest.raises(ValueError, match="negative"):
        format_duration(-1)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("512", 512),
        ("512B", 512),
        ("64KiB", 65_536),
        ("1 MiB", 1 << 20),
        ("2GB", 2 * 10**9),
    ],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert parse_size_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "MiB", "1.5MiB", "-1", "1mib", "1KB", "٣", "1" * 21])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size_bytes(text)
