"""Real processes fill every tier: rollups hold what the raw samples say, the ledger balances."""

from __future__ import annotations

import collections
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from devtools.servers.binaries import Toolbox
from devtools.servers.stack import LocalStack
from tests.e2e.conftest import QUICK, SERVICES
from tests.e2e.pipeline import Pipeline

pytestmark = pytest.mark.timeout(240)

AGGREGATES = ["avg", "min", "max", "sum", "count", "first", "last", "stddev", "increase"]
TIERS: dict[str, Any] = {
    "warm": {"bucket": "warm", "resolution": "4s", "window": "8s", "aggregates": AGGREGATES},
    "cold": {
        "bucket": "cold",
        "resolution": "12s",
        "window": "12s",
        "aggregates": ["max", "count"],
    },
}


@pytest.fixture(scope="module")
def pipeline(toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    overrides = QUICK | {"load": QUICK["load"] | {"tiers": TIERS}}
    with LocalStack(
        tmp_path_factory.mktemp("tiers"), toolbox=toolbox, config_overrides=overrides
    ) as stack:
        stack.start_services(SERVICES)
        running = Pipeline(stack)
        running.until_flowing()
        yield running
        assert set(stack.stop_services().values()) == {0}
        running.redis.close()


def rows(pipeline: Pipeline, bucket: str, statement: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The points of a statement by measurement, tags and time."""
    found = {}
    for series in pipeline.stack.influx.query(statement, database=bucket, epoch="ms"):
        tags = tuple(sorted((k, v) for k, v in series["tags"].items() if v))
        for row in series["values"]:
            point = dict(zip(series["columns"], row, strict=True))
            found[series["name"], tags, point.pop("time")] = point
    return found


def buckets_of(
    points: dict[tuple[Any, ...], dict[str, Any]], resolution_ms: int, start_ms: int, end_ms: int
) -> dict[tuple[Any, ...], list[float]]:
    """The values of raw points, in order, by series and bucket."""
    found: dict[tuple[Any, ...], list[float]] = {}
    for (name, tags, time_ms), point in sorted(points.items(), key=lambda item: item[0][2]):
        bucket_ms = -(-time_ms // resolution_ms) * resolution_ms
        if start_ms < bucket_ms <= end_ms:
            found.setdefault((name, tags, bucket_ms), []).append(point["value"])
    return found


def test_each_tier_holds_what_the_samples_say(pipeline: Pipeline) -> None:
    first_ms = max(feed.origin_ms for feed in pipeline.feeds().values())
    to_ms = (max(first_ms, pipeline.now_ms()) // 12_000 + 2) * 12_000
    pipeline.until(
        lambda: all(feed.loaded_watermark_ms >= to_ms for feed in pipeline.feeds().values()),
        f"every tier is loaded up to {to_ms}",
    )
    feeds = pipeline.feeds()
    assert {feed.tier for feed in feeds.values()} == {"hot", "warm", "cold"}

    hot = pipeline.config()["load"]["influxdb"]["bucket"]
    expressions = {q["name"] for q in pipeline.config()["extract"]["queries"] if "expr" in q}
    raw = rows(pipeline, hot, "SELECT value FROM /^[^e].*|^e[^t]/ GROUP BY *")
    for tier, resolution_ms in (("warm", 4_000), ("cold", 12_000)):
        from_ms = max(feed.origin_ms for feed in feeds.values())
        from_ms = -(-from_ms // resolution_ms) * resolution_ms
        # What an expression gives first may lie before what its rollup begins with.
        wanted = buckets_of(raw, resolution_ms, from_ms, to_ms)
        found = {
            key: point
            for key, point in rows(
                pipeline, tier, "SELECT * FROM /^[^e].*|^e[^t]/ GROUP BY *"
            ).items()
            if from_ms < key[2] <= to_ms
        }
        assert found.keys() == wanted.keys()
        assert len(found) > 100
        for key, values in wanted.items():
            point = found[key]
            assert point["count"] == len(values)
            assert point["max"] == max(values)
            if tier == "warm":
                total = 0.0
                for value in values:
                    total += value
                assert point["sum"] == total
                assert (point["first"], point["last"]) == (values[0], values[-1])
                assert point["min"] == min(values)
                assert ("increase" in point and point["increase"] is not None) == (
                    key[0] not in expressions
                )
    audit = pipeline.audit()
    assert (audit.imbalance_samples, audit.lost_samples) == (0, 0)
    for name, account in audit.accounts.items():
        assert name.endswith("@hot") or account.dropped.get("rolled_up", 0) > 0, name


def test_every_tier_is_proven_against_the_source(pipeline: Pipeline) -> None:
    found = pipeline.etlctl("verify", "--json")
    document = json.loads(found.stdout)
    said = {name: tier["verdict"] for name, tier in document["tiers"].items()}
    assert said == dict.fromkeys(("hot", "warm", "cold"), "equal"), found.stdout[-3000:]
    assert found.returncode == 0


def test_the_increase_of_a_counter_adds_up_over_its_buckets(pipeline: Pipeline) -> None:
    hot = pipeline.config()["load"]["influxdb"]["bucket"]
    statement = "SELECT value FROM http_requests_total GROUP BY *"
    raw = rows(pipeline, hot, statement)
    warm = rows(pipeline, "warm", 'SELECT "increase", "last" FROM http_requests_total GROUP BY *')
    increased = collections.Counter[tuple[tuple[str, str], ...]]()
    for (_, tags_of, _), point in warm.items():
        increased[tags_of] += point["increase"]
    ((tags, _),) = increased.most_common(1)
    points = sorted((key[2], point) for key, point in warm.items() if key[1] == tags)
    assert len(points) > 3
    for (_, before), (_, after) in itertools.pairwise(points):
        assert after["increase"] == after["last"] - before["last"]
    assert any(point["increase"] > 0 for _, point in points)
    assert {key[1] for key in raw} >= {tags}
