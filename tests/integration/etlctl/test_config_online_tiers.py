"""``etlctl config check --online`` on tiers, with a real Prometheus that scrapes itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.exit_codes import ExitCode
from devtools.servers.binaries import Toolbox
from devtools.servers.prometheus_server import PrometheusServer, ScrapeJob
from devtools.servers.waiting import wait_until
from tests.support.secret_folders import Capture, run

FAST = {"name": "fast", "select": '{job="fast"}'}
SLOW = {"name": "slow", "select": '{job="slow"}'}
GAUGE = {"name": "gauge", "select": 'go_goroutines{job="fast"}'}
COUNTER = {"name": "counter", "select": 'prometheus_http_requests_total{job="fast"}'}
RULE = {"name": "rule", "expr": 'sum(up{job="slow"})', "step": "1s"}
# By what it says it could be of the slow job too, which has none of it.
ANY_JOB = {"name": "any", "select": "go_goroutines"}
NONE_OF_IT = {"source_labels": ["__name__"], "regex": "go_goroutines", "action": "drop"}
PROBLEM = (
    "load.tiers.warm.resolution: is 2s, finer than job slow is scraped (3s), which query slow reads"
)


@pytest.fixture(scope="module")
def server(
    toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory, log_dir: Path
) -> Iterator[PrometheusServer]:
    """One job every second, one every three."""
    slow = {"scrape_interval": "3s", "metric_relabel_configs": [NONE_OF_IT]}
    jobs = (ScrapeJob("fast"), ScrapeJob("slow", settings=slow))
    folder = tmp_path_factory.mktemp("prometheus-of-two")
    made = PrometheusServer(toolbox, folder, name="prometheus-of-two", log_dir=log_dir, jobs=jobs)

    def scraped() -> bool:
        found = made.query("count by (job) (prometheus_http_requests_total offset 2s)")
        return {one["metric"]["job"] for one in found} == {"fast", "slow"}

    with made:
        for job in jobs:
            made.set_targets(job.name, [made.url.removeprefix("http://")])
        wait_until(scraped, deadline_seconds=30, what="both jobs were scraped")
        yield made


def check(
    server: PrometheusServer,
    folder: Path,
    capsys: Capture,
    queries: list[dict[str, Any]],
    *options: str,
    **tier: Any,
) -> tuple[int, str, str]:
    warm = {"bucket": "warm", "resolution": "2s", "aggregates": ["avg", "increase"]} | tier
    document = {
        "extract": {"prometheus_url": server.url, "settle_seconds": 1, "queries": queries},
        "load": {
            "influxdb": {"url": "http://influxdb:8086", "token": "t", "org": "o", "bucket": "b"},
            "tiers": {"hot": {"bucket": "b"}, "warm": warm},
        },
        "pipeline": {"interval_seconds": 1},
    }
    file = folder / "etl.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return run(capsys, "config", "check", "--online", "--config", str(file), *options)


def test_a_tier_that_is_finer_than_what_it_holds_is_scraped_is_refused(
    server: PrometheusServer, tmp_path: Path, capsys: Capture
) -> None:
    code, out, err = check(server, tmp_path, capsys, [FAST, SLOW, RULE])
    assert (code, out) == (ExitCode.CONFIG, "")
    assert err.splitlines() == [f"etlctl: {PROBLEM}: buckets would have no samples"]

    code, out, _ = check(server, tmp_path, capsys, [FAST, SLOW, RULE], "--json")
    assert code == ExitCode.CONFIG
    document = json.loads(out)
    assert document["valid"] is False
    assert [one.startswith(PROBLEM) for one in document["problems"]] == [True]


@pytest.mark.parametrize(
    ("query", "resolution"),
    [
        pytest.param(FAST, "2s", id="its_own_job_is_scraped_often_enough"),
        pytest.param({**SLOW, "tiers": ["hot"]}, "2s", id="the_tier_does_not_hold_it"),
        pytest.param(SLOW, "3s", id="as_often_as_it_is_scraped"),
        pytest.param(ANY_JOB, "2s", id="nothing_of_the_slow_job"),
        pytest.param(RULE, "2s", id="evaluated_points"),
    ],
)
def test_others_are_not(
    server: PrometheusServer,
    tmp_path: Path,
    capsys: Capture,
    query: dict[str, Any],
    resolution: str,
) -> None:
    code, _, err = check(server, tmp_path, capsys, [query], resolution=resolution)
    assert code == ExitCode.OK, err


def test_an_increase_of_gauges_is_a_warning(
    server: PrometheusServer, tmp_path: Path, capsys: Capture
) -> None:
    code, _, err = check(server, tmp_path, capsys, [GAUGE])
    assert code == ExitCode.OK
    assert [line for line in err.splitlines() if line.startswith("warning:")] == [
        "warning: query gauge: warm would hold its increase, which is of counters, and all that it "
        "matches are gauges: go_goroutines"
    ]
    # What has counters too is no mistake.
    without: dict[str, Any] = {**GAUGE, "aggregates": ["max"]}
    for query in (FAST, COUNTER, without):
        code, _, err = check(server, tmp_path, capsys, [query])
        assert (code, "warning:" in err) == (ExitCode.OK, False), err
