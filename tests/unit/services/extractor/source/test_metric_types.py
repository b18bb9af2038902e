"""Which metrics are gauges, by what targets report of them."""

from __future__ import annotations

import json

import pytest

from services.extractor.source.metric_types import MetricTypes

BODY = json.dumps(
    {
        "status": "success",
        "data": {
            "temperature": [{"type": "gauge", "help": "", "unit": ""}],
            "requests_total": [{"type": "counter"}],
            "jobs": [{"type": "counter"}],
            "latency_seconds": [{"type": "histogram"}],
            "disputed": [{"type": "gauge"}, {"type": "counter"}],
            "vague": [{"type": "unknown"}, {"type": "gauge"}],
            "unknown": [{"type": "unknown"}],
            "items_count": [{"type": "gauge"}],
        },
    }
).encode()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("temperature", True),
        ("items_count", True),
        ("vague", True),
        ("requests_total", False),
        ("jobs_total", False),
        ("latency_seconds_bucket", False),
        ("latency_seconds_sum", False),
        ("disputed", False),
        ("unknown", None),
        ("absent", None),
        ("absent_total", None),
    ],
)
def test_what_is_a_gauge(name: str, expected: bool | None) -> None:
    assert MetricTypes.parse(BODY).is_gauge(name) is expected


@pytest.mark.parametrize(
    "body", [b"", b"5", b"[]", b'{"data": 5}', b'{"data": {"x": 5}}', b'{"data": {"x": [5]}}']
)
def test_a_body_of_somebody_else_says_nothing(body: bytes) -> None:
    assert MetricTypes.parse(body).is_gauge("x") is None
