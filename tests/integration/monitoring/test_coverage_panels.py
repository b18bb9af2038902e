"""The panels about coverage on a real Prometheus: what each moment of the past is shown as."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import pytest

from devtools.servers.prometheus_server import PrometheusServer
from tests.unit.monitoring.test_metrics import EXPRESSIONS

COVERAGE = EXPRESSIONS["etl-pipeline Coverage 0"]
MISSING = EXPRESSIONS["etl-pipeline What is missing 0"]
MINUTE = 60
FEED = 'query="q",tier="warm"'
OF_REDIS = f'job="etl-metrics",{FEED}'
OF_VERIFIER = f'job="verifier",{FEED}'
_MARKS = ("origin", "planned_watermark", "watermark", "loaded_watermark", "verified")

Made = Callable[..., PrometheusServer]


@pytest.fixture
def now() -> int:
    """Old enough to be backfilled, in seconds."""
    return (int(time.time()) // 3600 - 6) * 3600


def series(name: str, labels: str, values: Mapping[int, float]) -> str:
    samples = [f"{name}{{{labels}}} {value!r} {seconds}" for seconds, value in values.items()]
    return "\n".join([f"# TYPE {name} gauge", *samples])


def shown(server: PrometheusServer, expr: str, moments: Sequence[int]) -> dict[str, list[int]]:
    """By feed, what a panel shows from the first of ``moments`` to the last."""
    result = server.api(
        "query_range",
        query=expr,
        start=str(moments[0]),
        end=str(moments[-1]),
        step=str(moments[1] - moments[0]),
    )["result"]
    return {
        f"{one['metric']['query']} {one['metric']['tier']}": [int(v) for _, v in one["values"]]
        for one in result
    }


def test_each_moment_is_shown_as_far_as_it_has_come(make_prometheus: Made, now: int) -> None:
    # Minutes before the end up to which the feed has come, from origin to verified.
    minutes = dict(zip(_MARKS, (50, 10, 20, 30, 40), strict=True))
    text = [
        series(
            f"etl_{mark}_timestamp_seconds",
            OF_VERIFIER if mark == "verified" else OF_REDIS,
            {now: now - ago * MINUTE},
        )
        for mark, ago in minutes.items()
    ]
    server = make_prometheus(backfill="\n".join([*text, "# EOF", ""]))
    moments = [now - ago * MINUTE for ago in range(60, -1, -10)]
    # The beginning is without the origin itself, and with the mark.
    assert shown(server, COVERAGE, moments) == {"q warm": [0, 0, 4, 3, 2, 1, 0]}


def test_without_a_verifier_and_before_the_sink_was_read_nothing_is_loaded(
    make_prometheus: Made, now: int
) -> None:
    marks = {"origin": 50, "planned_watermark": 0, "watermark": 20}
    text = [
        series(f"etl_{mark}_timestamp_seconds", OF_REDIS, {now: now - ago * MINUTE})
        for mark, ago in marks.items()
    ]
    server = make_prometheus(backfill="\n".join([*text, "# EOF", ""]))
    moments = [now - ago * MINUTE for ago in range(60, -1, -10)]
    assert shown(server, COVERAGE, moments) == {"q warm": [0, 0, 2, 2, 2, 1, 1]}
    # Nobody says anything in the end: nothing is known, and nothing is green.
    assert shown(server, COVERAGE, [moment + 30 * MINUTE for moment in moments]) == {}


def test_what_is_missing_is_shown_when_it_was_known(make_prometheus: Made, now: int) -> None:
    moments = [now - ago * MINUTE for ago in range(6, -1, -1)]

    def of(name: str, labels: str, values: Sequence[float]) -> str:
        return series(name, labels, dict(zip(moments, values, strict=True)))

    text = [
        of("etl_planned_watermark_timestamp_seconds", OF_REDIS, [1] * 7),
        of("etl_deferred_seconds", OF_REDIS, [0, 5, 5, 0, 0, 0, 0]),
        of("etl_ledger_samples", f'{OF_REDIS},account="dead_lettered"', [0, 0, 3, 3, 0, 0, 0]),
        of("etl_gaps_declared", OF_REDIS, [2, 2, 2, 2, 3, 3, 3]),
        of("etl_verify_differing_points", OF_VERIFIER, [0, 0, 0, 0, 0, 0, 9]),
    ]
    server = make_prometheus(backfill="\n".join([*text, "# EOF", ""]))
    expr = MISSING.replace("[1m]", "[90s]")
    assert shown(server, expr, moments) == {"q warm": [0, 1, 2, 2, 3, 0, 4]}
