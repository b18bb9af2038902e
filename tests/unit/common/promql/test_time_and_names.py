"""What an expression looks at beyond its own time, and which names its result can have."""

from __future__ import annotations

import pytest

from common.promql.expression import ahead_ms, depends_on_window
from common.promql.result_names import may_return_several_metrics


@pytest.mark.parametrize(
    ("expr", "expected_ms"),
    [
        ("1", 0),
        ("x", 0),
        ("x offset 1h", 0),
        ("x offset -1h", 3_600_000),
        ("rate(x[5m] offset -5m) / y", 300_000),
        ("x offset 1h + y offset -90s", 90_000),
        ("max_over_time(x[10m:1m] offset -1h)", 3_600_000),
        ("max_over_time((x offset -10m)[10m:1m] offset -1h)", 4_200_000),
        ("max_over_time((x offset 2h)[10m:1m] offset -1h)", 0),
        ("max_over_time((x offset -2h)[10m:1m] offset 1h)", 3_600_000),
    ],
)
def test_how_far_an_expression_looks_ahead(expr: str, expected_ms: int) -> None:
    assert ahead_ms(expr) == expected_ms


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("x", False),
        ("x @ 1600000000", False),
        ("x @ start()", True),
        ("sum(rate(x[5m] @ end())) / y", True),
        ("y + max_over_time(x[10m:1m] @ end())", True),
        ("topk(scalar(a @ start()), b)", True),
        ('x{a="@ end()"} # @ start()', False),
    ],
)
def test_what_depends_on_the_window(expr: str, expected: bool) -> None:
    assert depends_on_window(expr) is expected


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("1", False),
        ("x", False),
        ('{__name__="x"}', False),
        ('{job="a"}', True),
        ('{__name__=~"x|y"}', True),
        ('{__name__=~"x"}', False),
        ('{__name__=~"x|y", __name__=~"y|z"}', False),
        ('topk(3, ({job="a"}))', True),
        ('sort(last_over_time({job="a"}[5m]))', True),
        ('label_replace({job="a"}, "b", "$1", "c", ".*")', True),
        ('{job="a"} > 3', True),
        ('{job="a"} > bool 3', False),
        ('x and {job="a"}', False),
        ('x or {job="a"}', True),
        ('{job="a"} unless x', True),
        ("x or y", False),
        # The name is dropped, and Prometheus refuses what is alike then.
        ('{job="a"} * 2', False),
        ('rate({job="a"}[5m])', False),
        ('sum by (job) ({job="a"})', False),
        ('-{job="a"}', False),
    ],
)
def test_which_results_may_hold_several_metrics(expr: str, expected: bool) -> None:
    assert may_return_several_metrics(expr) is expected
