"""InfluxDB 1.x is told from other versions, and its durations are read."""

from __future__ import annotations

from math import inf

import pytest

from common.sink.influx1 import VERSION_HEADER, is_1, kept_seconds


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.6.7~rc0", True),
        ("1.12.4", True),
        ("v1.8.10", True),
        ("v2.7.12", False),
        ("2.9.1", False),
        ("3.5.0", False),
        ("10.1", False),
        ("", False),
    ],
)
def test_versions(version: str, expected: bool) -> None:
    assert is_1({VERSION_HEADER: version}) is expected


def test_a_server_that_names_no_version_is_another() -> None:
    assert not is_1({})


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        ("0s", inf),
        ("0h0m0s", inf),
        ("336h0m0s", 336 * 3600),
        ("1h30m5s", 5405),
        ("7d", inf),
        (None, inf),
        ("٣h0m0s", inf),
    ],
)
def test_durations(duration: object, seconds: float) -> None:
    assert kept_seconds(duration) == seconds
