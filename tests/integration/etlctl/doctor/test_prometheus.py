"""What can be wrong with a Prometheus, and with the queries that it gets."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from devtools.servers.prometheus_server import PrometheusServer
from etlctl.doctor import prometheus
from tests.e2e.source_front import SourceFront
from tests.integration.etlctl.doctor.world import RAW, World


@pytest.mark.parametrize(
    ("ahead_seconds", "level", "words"),
    [(60.0, "failure", "s ahead of ours"), (-60.0, "warning", "s behind ours")],
)
def test_clocks_that_differ(world: World, ahead_seconds: float, level: str, words: str) -> None:
    with SourceFront() as front:
        front.target, front.ahead_seconds = world.prometheus_url, ahead_seconds
        world.prometheus_url = front.url
        said, text = world.of("prometheus")["clock"]
    assert said == level and words in text and "NTP" in text


def test_queries_that_give_nothing_or_are_rejected(world: World) -> None:
    world.queries = [
        {"name": "gone", "expr": "sum(nothing)", "step": "1s"},
        {"name": "excess", "expr": "up > 9", "step": "1s", "may_be_empty": True},
        {"name": "odd", "expr": "up + on () group_left () {__name__=~'.+'}", "step": "1s"},
        RAW,
    ]
    found = world.of("prometheus")
    assert found["query gone"] == (
        "warning",
        "matches no series now → check its names and labels; may_be_empty: true, where that is "
        "normal",
    )
    assert found["query excess"][0] == "ok"
    level, text = found["query odd"]
    assert level == "failure" and "correct the query" in text
    level, text = found["query raw"]
    assert level == "ok" and text.startswith("1 series; a window of 5s: ") and " bytes" in text
    assert world.code == 1


def test_samples_that_are_read_too_early(world: World) -> None:
    world.changes["extract.settle_seconds"] = 0.5
    level, text = world.of("prometheus")["settling"]
    assert level == "warning" and "health (0.5 s), raw (0.5 s)" in text
    assert "set extract.settle_seconds to 2" in text
    world.changes["extract.settle_seconds"] = "auto"
    level, text = world.of("prometheus")["settling"]
    assert level == "ok" and "3 s (" in text and "raw" in text
    assert world.code == 0


def test_a_retention_that_is_shorter_than_what_is_read_later(
    world: World, make_prometheus: Callable[..., PrometheusServer]
) -> None:
    world.prometheus_url = make_prometheus(retention="2h").url
    level, text = world.of("prometheus")["retention"]
    assert level == "failure"
    assert "keeps 2h, less than extract.recheck_after_seconds (1d)" in text
    world.changes["extract.recheck_after_seconds"] = []
    level, text = world.of("prometheus")["retention"]
    assert level == "warning" and "holds no samples yet" in text


def test_a_window_that_is_too_large(world: World) -> None:
    world.queries = [{"name": "all", "select": '{job="prometheus"}'}]
    world.changes["extract.max_window_samples"] = 10
    level, text = world.of("prometheus")["query all"]
    assert level == "warning" and "extract.max_window_samples" in text


def test_a_query_that_takes_long(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "MOST_OF_INTERVAL", 0.0)
    level, text = world.of("prometheus")["query raw"]
    assert level == "warning" and "it takes much of the time that it is of" in text


def test_tiers(world: World) -> None:
    world.queries = [RAW]
    warm = {"bucket": "warm", "aggregates": ["increase"]}
    world.changes["load.tiers"] = {"warm": {**warm, "resolution": 0.5}}
    level, text = world.of("prometheus")["tiers of raw"]
    assert level == "failure" and "finer than job prometheus is scraped (1s)" in text
    world.changes["load.tiers"] = {"warm": {**warm, "resolution": "10s"}}
    level, text = world.of("prometheus")["tiers of raw"]
    assert level == "warning" and "are gauges: prometheus_build_info" in text
    world.changes["load.tiers"] = {"warm": {**warm, "resolution": "10s", "aggregates": ["avg"]}}
    assert world.of("prometheus")["tiers of raw"][0] == "ok"
