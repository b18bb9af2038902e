"""What is extracted when etl.yaml names no queries: the health of the test application.

Names of expressions must not be names of metrics: both become measurements.
"""

from __future__ import annotations

from common.config.query import Query

_JOB = 'job="test-app"'
_ALL = f"sum by (job) (rate(http_requests_total{{{_JOB}}}[5m]))"
_FAILED = f'sum by (job) (rate(http_requests_total{{{_JOB},status=~"5.."}}[5m]))'
_BUCKETS = f"sum by (le, handler) (rate(http_request_duration_seconds_bucket{{{_JOB}}}[5m]))"


def default_queries(step_seconds: float) -> tuple[Query, ...]:
    """Availability, request rate, 95th-percentile latency, share of errors; and the raw samples."""
    expressions = {
        "service_availability": f"up{{{_JOB}}}",
        "request_rate": f"sum by (handler, method) (rate(http_requests_total{{{_JOB}}}[5m]))",
        "latency_p95_seconds": f"histogram_quantile(0.95, {_BUCKETS})",
        # Without a failed request so far there is no 5xx series: the share is 0, not absent.
        "error_ratio": f"({_FAILED} or 0 * {_ALL}) / {_ALL}",
    }
    return (
        *(Query(name=name, expr=expr, step=step_seconds) for name, expr in expressions.items()),
        Query(name="test_app", select=f"{{{_JOB}}}"),
    )
