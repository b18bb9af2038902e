"""How far an expression looks back, and from when on a source holds all that it looks at."""

from __future__ import annotations

import pytest

from common.promql.expression import LOOKBACK_MS
from common.promql.reach import NEVER_MS, RAW, Reach, reach_of

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


@pytest.mark.parametrize(
    ("expr", "back_ms"),
    [
        # Nothing is looked at.
        ("1", 0),
        ("time()", 0),
        # The latest sample.
        ("up", LOOKBACK_MS),
        ("x - x offset 1w", 7 * DAY + LOOKBACK_MS),
        ("topk(scalar(a offset 1h), b)", HOUR + LOOKBACK_MS),
        ("x offset -1h", 0),
        ("x offset -1m", LOOKBACK_MS - MINUTE),
        # A range has no look-back.
        ("rate(http_requests_total[5m])", 5 * MINUTE),
        ("rate(x[ 90s ]) / rate(y[1h30m])", 90 * MINUTE),  # not one within the other
        ("rate(x[5m] OFFSET 1h)", HOUR + 5 * MINUTE),
        ("rate(x[5m] offset -1h)", 0),
        # A subquery adds to what it holds.
        ("max_over_time(rate(x[1m])[1h:15s])", HOUR + MINUTE),
        ("max_over_time(x[10m:1m] offset 1h)", HOUR + 10 * MINUTE + LOOKBACK_MS),
        ("max_over_time(rate(x[5m] offset -10m)[1h:1m])", HOUR - 5 * MINUTE),
        ("avg_over_time(rate(x[1h30m])[1d:5m] offset 1w)", 90 * MINUTE + DAY + 7 * DAY),
        # Plain seconds, as Prometheus 3 has them.
        ("rate(x[300]) - x offset 60", 60_000 + LOOKBACK_MS),
        # What only looks like a duration.
        ('up{a="[5m]"} # [5m]', LOOKBACK_MS),
        ("slo:errors:ratio_rate30d", LOOKBACK_MS),
        ('up{pod="api-7d9f"}', LOOKBACK_MS),
        ("label_replace(up, '[30d]', '$1', '7d', '(.*)')", LOOKBACK_MS),
        # Pinned to a bound of what is asked for, which is no earlier than the evaluation.
        ("rate(x[5m:] @ end())", 5 * MINUTE + LOOKBACK_MS),
    ],
)
def test_how_far_an_expression_looks_back(expr: str, back_ms: int) -> None:
    assert reach_of(expr) == Reach(back_ms)


@pytest.mark.parametrize(
    ("expr", "back_ms", "pinned_ms"),
    [
        ("x @ 1600000000", 0, 1_600_000_000_000 - LOOKBACK_MS),
        ("x @ 1600000000.5 offset 1m", 0, 1_600_000_000_500 - LOOKBACK_MS - MINUTE),
        ("rate(x[5m] @ 1600000000 offset 1m)", 0, 1_600_000_000_000 - 6 * MINUTE),
        ("rate(x[5m] @ 1600000000 offset -10m)", 0, 1_600_000_000_000 + 5 * MINUTE),
        ("max_over_time(rate(x[5m])[1h:1m] @ 1600000000)", 0, 1_600_000_000_000 - 65 * MINUTE),
        # Whatever holds it: it is evaluated at that time alone.
        ("max_over_time((x @ 1600000000)[30d:1h])", 0, 1_600_000_000_000 - LOOKBACK_MS),
        ("x @ 1600000000 + rate(x[10m])", 10 * MINUTE, 1_600_000_000_000 - LOOKBACK_MS),
        ("x @ 1600000000 + x @ 1500000000", 0, 1_500_000_000_000 - LOOKBACK_MS),
        ("x @ -5", 0, -LOOKBACK_MS),
    ],
)
def test_what_a_pinned_time_looks_at(expr: str, back_ms: int, pinned_ms: int) -> None:
    assert reach_of(expr) == Reach(back_ms, pinned_ms)


def test_from_when_on_a_source_holds_all_of_it() -> None:
    assert RAW.whole_from_ms(100) == 100
    assert Reach(30).whole_from_ms(100) == 130
    assert Reach(30, pinned_ms=100).whole_from_ms(100) == 130
    assert Reach(30, pinned_ms=99).whole_from_ms(100) == NEVER_MS


def test_the_earliest_time_that_is_looked_at() -> None:
    assert RAW.earliest_ms(100) == 100
    assert Reach(30).earliest_ms(100) == 70
    assert Reach(30, pinned_ms=60).earliest_ms(100) == 60
    assert Reach(30, pinned_ms=80).earliest_ms(100) == 70
