"""A day of history comes into three tiers behind what is live, whatever is killed meanwhile.

``ETL_TEST_HISTORY_SERIES`` says how many series the day has, of 8,640 samples each.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from common.config import load_settings
from common.state.backfills import Backfill, Backfills
from devtools.servers.binaries import Toolbox
from devtools.servers.stack import LocalStack
from devtools.servers.waiting import wait_until
from services.extractor.windows import plans_of
from tests.e2e.conftest import QUICK
from tests.e2e.pipeline import KEYS, Pipeline

pytestmark = pytest.mark.timeout(1800)

SERIES = int(os.environ.get("ETL_TEST_HISTORY_SERIES", "12"))
DAY_SECONDS = 86_400
STEP_SECONDS = 10
# promtool's blocks must not overlap what the server has of its own.
BEFORE_NOW_SECONDS = 4 * 3600
QUERIES: list[dict[str, Any]] = [
    {"name": "past", "select": 'past_total{job="past"}'},
    {"name": "past_rate", "expr": "sum by (part) (rate(past_total[5m]))", "step": "60s"},
    {"name": "live", "select": '{job="test-app"}'},
]
TIERS: dict[str, Any] = {
    "warm": {
        "bucket": "warm",
        "resolution": "5m",
        "window": "1h",
        "aggregates": ["avg", "max", "increase"],
    },
    "cold": {"bucket": "cold", "resolution": "1h", "window": "4h", "aggregates": ["min", "count"]},
}


def openmetrics(file: Path, end_seconds: int) -> None:
    """A day of counters that grow, some of which begin anew now and then."""
    rng = random.Random(5)
    with file.open("w", encoding="utf-8") as text:
        text.write("# TYPE past counter\n")
        for number in range(SERIES):
            labels = f'{{job="past",part="{number % 7}",number="{number}"}}'
            value = 0.0
            for at in range(end_seconds - DAY_SECONDS, end_seconds, STEP_SECONDS):
                value = 0.0 if rng.random() < 1e-4 else value + rng.random()
                text.write(f"past_total{labels} {value!r} {at}\n")
        text.write("# EOF\n")


@pytest.fixture(scope="module")
def end_seconds() -> int:
    return (int(time.time()) - BEFORE_NOW_SECONDS) // 7200 * 7200


@pytest.fixture(scope="module")
def pipeline(
    toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory, end_seconds: int
) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("history")
    overrides = QUICK | {
        "extract": QUICK["extract"] | {"queries": QUERIES},
        "load": QUICK["load"] | {"tiers": TIERS},
        "transform": {"valid_metrics": None},
        "verify": {"every_seconds": 1, "cpu_share": 1.0},
    }
    with LocalStack(folder, toolbox=toolbox, config_overrides=overrides) as stack:
        openmetrics(folder / "past.om", end_seconds)
        stack.prometheus.backfill(folder / "past.om")
        stack.start_services({"extractor": 1, "transformer": 1, "loader": 1})
        running = Pipeline(stack)
        running.until_flowing()
        yield running
        assert set(stack.stop_services().values()) <= {0, -9}
        running.redis.close()


def feeds_of_the_past(pipeline: Pipeline) -> list[str]:
    return [name for name in pipeline.feeds() if name.startswith("past")]


def begin(pipeline: Pipeline, end_seconds: int) -> str:
    settings = load_settings(pipeline.stack.config_path)
    feeds = pipeline.feeds()
    from_ms = (end_seconds - DAY_SECONDS) * 1000
    ranges = {
        plan.feed: [(from_ms, feeds[plan.feed.name].origin_ms)]
        for plan in plans_of(settings)
        if plan.feed.query != "live"
    }
    id_, taken = Backfills(pipeline.redis, KEYS).create(ranges, from_ms, end_seconds * 1000)
    assert len(taken) == len(ranges)
    return id_


def progress(pipeline: Pipeline, id_: str) -> Backfill:
    (found,) = (one for one in Backfills(pipeline.redis, KEYS).all() if one.id == id_)
    return found


def verify(pipeline: Pipeline, end_seconds: int) -> tuple[int, dict[str, str]]:
    """The day in every tier: the exit code, and the verdict of each."""
    done = pipeline.etlctl(
        *("verify", "--from", str(end_seconds - DAY_SECONDS), "--to", str(end_seconds), "--json"),
        *("--query", "past", "--query", "past_rate"),
    )
    document = json.loads(done.stdout)
    return done.returncode, {name: tier["verdict"] for name, tier in document["tiers"].items()}


def live_lag_ms(pipeline: Pipeline) -> int:
    """How far what is live is behind Prometheus' time."""
    return pipeline.now_ms() - pipeline.feeds()["live@hot"].loaded_watermark_ms


def test_a_day_is_loaded_into_every_tier_whatever_dies(
    pipeline: Pipeline, end_seconds: int
) -> None:
    stack = pipeline.stack
    pipeline.until(
        lambda: len(pipeline.feeds()) == 9 and all(f.reconciled for f in pipeline.feeds().values()),
        "every feed is planned",
    )
    before_ms, lags_ms, peaks = list[int](), list[int](), dict[str, int]()

    def know_lag() -> bool:
        before_ms.append(live_lag_ms(pipeline))
        return len(before_ms) >= 50

    pipeline.until(know_lag, "the lag is known")
    began = time.monotonic()
    id_ = begin(pipeline, end_seconds)
    total_ms = progress(pipeline, id_).total_ms

    def past(share: float) -> bool:
        lags_ms.append(live_lag_ms(pipeline))
        for service in stack.all_services():
            if service.running:
                peaks[service.name] = max(peaks.get(service.name, 0), service.rss_bytes())
        return progress(pipeline, id_).coming_ms <= (1 - share) * total_ms

    for share, module in ((0.2, "extractor"), (0.4, "transformer"), (0.6, "loader")):
        wait_until(partial(past, share), deadline_seconds=600, what=f"{share:.0%}")
        stack.services[module][-1].kill()
        stack.start_services({module: 1})
    stack.prometheus.stop()
    stack.prometheus.start()
    wait_until(lambda: past(1.0), deadline_seconds=900, what="the backfill is done")
    seconds = time.monotonic() - began
    samples = progress(pipeline, id_).samples
    from_ms = (end_seconds - DAY_SECONDS) * 1000
    pipeline.until(
        lambda: all(
            pipeline.feeds()[name].origin_ms == from_ms for name in feeds_of_the_past(pipeline)
        ),
        "what was loaded is joined",
    )
    loaded_seconds = time.monotonic() - began
    print(
        f"{samples} samples read in {seconds:.1f} s, {samples / seconds:.0f} a second, and loaded"
        f" in {loaded_seconds:.1f} s;"
        f" lag of live samples: median {median(lags_ms):.0f} ms, most {max(lags_ms)} ms;"
        f" before: {median(before_ms):.0f} and {max(before_ms)} ms; most memory in MB: "
        + ", ".join(f"{name} {size / 1e6:.0f}" for name, size in peaks.items())
    )
    assert progress(pipeline, id_).state == "done"
    assert Backfills(pipeline.redis, KEYS).parts() == []
    audit = pipeline.audit()
    assert (audit.imbalance_samples, audit.lost_samples) == (0, 0)
    code, verdicts = verify(pipeline, end_seconds)
    assert (code, verdicts) == (0, dict.fromkeys(("hot", "warm", "cold"), "equal"))


def points(pipeline: Pipeline, statement: str) -> int:
    """How many points a count finds, over all fields and series."""
    found = pipeline.stack.influx.query(statement, database=pipeline.bucket())
    return sum(row[1] for series in found for row in series["values"])


def test_what_is_damaged_is_repaired_by_itself(pipeline: Pipeline, end_seconds: int) -> None:
    """An hour is deleted and a value altered, before anybody has compared them."""
    bucket, influx = pipeline.bucket(), pipeline.stack.influx
    hour_ends = end_seconds - 6 * 3600
    count = f"SELECT count(value) FROM past_total WHERE time > {hour_ends - 3600}s AND"
    count += f" time <= {hour_ends}s"
    whole = points(pipeline, count)
    assert whole == SERIES * 360
    influx.query(
        f"DELETE FROM past_total WHERE time > {hour_ends - 3600}s AND time <= {hour_ends}s",
        database=bucket,
    )
    assert points(pipeline, count) == 0
    altered = f"past_total,job=past,number=3,part=3 value=-1 {(end_seconds - 3600) * 1000}"
    pipeline.write(altered)

    pipeline.stack.start_services({"verifier": 1})

    pipeline.until(lambda: points(pipeline, count) == whole, "the hour is back", 300)
    negative = "SELECT count(value) FROM past_total WHERE value < 0"
    pipeline.until(lambda: points(pipeline, negative) == 0, "the value is what it was", 300)
    repaired = [one for one in pipeline.events("verifier") if one["event"] == "verify_repairs"]
    assert {one["query"] for one in repaired} == {"past"}
    assert {one["tier"] for one in repaired} == {"hot"}
    code, verdicts = verify(pipeline, end_seconds)
    assert (code, verdicts) == (0, dict.fromkeys(("hot", "warm", "cold"), "equal"))
