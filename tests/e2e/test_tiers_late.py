"""Samples that come late to a real Prometheus change rollups that were loaded and sealed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from devtools.servers.binaries import Toolbox
from devtools.servers.stack import LocalStack
from tests.e2e.conftest import QUICK, SERVICES
from tests.e2e.pipeline import Pipeline
from tests.support.remote_write import push, sample, series

pytestmark = pytest.mark.timeout(240)

METRIC = "http_requests_total"
FEED = "test_app@warm"
RESOLUTION_MS, WINDOW_MS = 4_000, 8_000
WARM: dict[str, Any] = {
    "bucket": "warm",
    "resolution": "4s",
    "window": "8s",
    "aggregates": ["max", "count", "last", "increase"],
}


@pytest.fixture
def pipeline(toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Late samples are taken, and looked for after twelve seconds and later."""
    overrides = QUICK | {
        "extract": QUICK["extract"] | {"recheck_after_seconds": [12, 24, 36]},
        "load": QUICK["load"] | {"tiers": {"warm": WARM}},
    }
    with LocalStack(
        tmp_path_factory.mktemp("late"),
        toolbox=toolbox,
        config_overrides=overrides,
        prometheus_flags=["--web.enable-remote-write-receiver"],
        prometheus_settings={"storage": {"tsdb": {"out_of_order_time_window": "1h"}}},
    ) as stack:
        stack.start_services(SERVICES)
        running = Pipeline(stack)
        running.until_flowing()
        yield running
        assert set(stack.stop_services().values()) == {0}
        running.redis.close()


def watermark_ms(pipeline: Pipeline) -> int:
    """Up to when the raw samples are loaded into the warm tier."""
    return pipeline.feeds()[FEED].loaded_watermark_ms


def loaded_windows(pipeline: Pipeline) -> int:
    feed = pipeline.feeds().get(FEED)
    return (feed.loaded_watermark_ms - feed.origin_ms) // WINDOW_MS if feed else 0


def points(pipeline: Pipeline, tags: dict[str, str]) -> dict[int, dict[str, float]]:
    """What the warm tier holds of a series, by time."""
    conditions = " AND ".join(f"\"{key}\" = '{value}'" for key, value in tags.items())
    found = pipeline.stack.influx.query(
        f'SELECT "count", "last", "increase" FROM {METRIC} WHERE {conditions}',
        database="warm",
        epoch="ms",
    )
    return {
        row[0]: dict(zip(("count", "last", "increase"), row[1:], strict=True))
        for row in (found[0]["values"] if found else ())
    }


def sealed_ms(pipeline: Pipeline, end_ms: int) -> int:
    """When the window that ends there was sealed; 0 = not yet."""
    found = pipeline.stack.influx.query(
        'SELECT "sealed_ms" FROM etl_seal WHERE "query" = \'test_app\' AND "tier" = \'warm\''
        f" AND time = {end_ms}ms",
        database="warm",
        epoch="ms",
    )
    return int(found[0]["values"][0][1]) if found else 0


def verdict(pipeline: Pipeline, *options: str) -> dict[str, Any]:
    found = pipeline.etlctl("verify", "--tier", "warm", "--query", "test_app", "--json", *options)
    assert found.returncode == 0, found.stdout + found.stderr
    (query,) = json.loads(found.stdout)["queries"]
    assert isinstance(query, dict)
    return query


def test_a_late_sample_changes_its_bucket_and_what_increases_from_it(pipeline: Pipeline) -> None:
    pipeline.until(lambda: loaded_windows(pipeline) >= 3, "windows of the tier are loaded")
    # The last bucket of a window but one, so that the bucket after it belongs to another window.
    end_ms = watermark_ms(pipeline) // WINDOW_MS * WINDOW_MS - WINDOW_MS
    pipeline.until(lambda: sealed_ms(pipeline, end_ms + WINDOW_MS), "the windows are sealed")
    before_ms = sealed_ms(pipeline, end_ms), sealed_ms(pipeline, end_ms + WINDOW_MS)
    found = pipeline.stack.prometheus.query(f"{METRIC}[4s]", time=str(end_ms / 1000))
    one = found[0]
    tags = {key: value for key, value in one["metric"].items() if key != "__name__"}
    last_ms, last = round(float(one["values"][-1][0]) * 1000), float(one["values"][-1][1])
    assert last_ms < end_ms
    loaded = points(pipeline, tags)
    assert loaded[end_ms]["last"] == last

    late = series(one["metric"], [sample(last_ms + 1, last + 0.5)])
    push(pipeline.stack.prometheus, late)

    def changed() -> bool:
        now = points(pipeline, tags)
        after_ms = end_ms + RESOLUTION_MS
        return (
            now[end_ms]["count"] == loaded[end_ms]["count"] + 1
            and now[end_ms]["last"] == last + 0.5
            and now[after_ms]["increase"] != loaded[after_ms]["increase"]
        )

    pipeline.until(changed, "the late sample is rolled up")
    reopened = [line for line in pipeline.events("extractor") if line["event"] == "window_reopened"]
    assert {line["tier"] for line in reopened} >= {"warm"}

    def sealed_again() -> bool:
        now_ms = sealed_ms(pipeline, end_ms), sealed_ms(pipeline, end_ms + WINDOW_MS)
        return all(now > before for now, before in zip(now_ms, before_ms, strict=True))

    pipeline.until(sealed_again, "the seals are replaced")
    pipeline.until(
        lambda: watermark_ms(pipeline) >= end_ms + WINDOW_MS, "what was opened again is loaded"
    )
    bounds = ("--from", str((end_ms - WINDOW_MS) / 1000), "--to", str((end_ms + WINDOW_MS) / 1000))
    assert verdict(pipeline, *bounds)["verdict"] == "equal"
    windows = verdict(pipeline, "--sealed", *bounds)["windows"]
    assert {kind for kind, number in windows.items() if number} == {"intact"}
    audit = pipeline.audit()
    assert (audit.imbalance_samples, audit.lost_samples) == (0, 0)
