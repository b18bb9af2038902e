"""How InfluxDB 3 is recognised, and what it says of its databases."""

from __future__ import annotations

import json
from math import inf

import pytest

from common.sink.influx3 import is_3, retention_seconds


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"version": "3.5.0", "revision": "1"}', True),
        (b'{"version": "2.7.12"}', False),
        (b'{"version": 3}', False),
        (b"", False),
        (b"[]", False),
        (b"OK", False),
    ],
)
def test_a_ping_tells_the_version(body: bytes, expected: bool) -> None:
    assert is_3(body) is expected


def test_retention_of_databases() -> None:
    rows = [{"database_name": "a", "retention_period_ns": 86_400 * 10**9}, {"database_name": "b"}]
    assert retention_seconds(json.dumps(rows).encode()) == {"a": 86_400.0, "b": inf}
    for other in (b"", b"{}", b"[1]", b'[{"database_name": 1}]', b'{"error": "no"}'):
        assert retention_seconds(other) is None
