"""``etlctl backfill`` with real processes: history behind what is live, in two tiers, and repaired.

The source has six hours of it, of which a first backfill loads one that is apart from the feeds.
More of it is imported when all is loaded.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from common.state.backfills import Backfills
from devtools.servers.binaries import Toolbox
from devtools.servers.stack import LocalStack
from tests.e2e.conftest import QUICK
from tests.e2e.pipeline import KEYS, Pipeline

pytestmark = pytest.mark.timeout(300)

HOUR_SECONDS = 3600
STEP_SECONDS = 15
SERIES = 3
QUERIES: list[dict[str, Any]] = [
    {"name": "past", "select": 'past_total{job="past"}'},
    {"name": "past_rate", "expr": "sum by (part) (rate(past_total[5m]))", "step": "60s"},
    {"name": "live", "select": '{job="test-app"}', "tiers": ["hot"]},
]
WARM = {"bucket": "warm", "resolution": "5m", "window": "1h", "aggregates": ["avg", "count"]}
OF_THE_PAST = ("--query", "past", "--query", "past_rate")
OVERRIDES: dict[str, Any] = {
    "extract": QUICK["extract"] | {"queries": QUERIES},
    "load": QUICK["load"] | {"tiers": {"warm": WARM}},
    "transform": {"valid_metrics": None},
}


@pytest.fixture(scope="module")
def start_seconds() -> int:
    """Where the history begins; it ends before what promtool may not write."""
    return (int(time.time()) // HOUR_SECONDS - 10) * HOUR_SECONDS


def openmetrics(start_seconds: int) -> str:
    rng = random.Random(7)
    lines = ["# TYPE past counter"]
    for number in range(SERIES):
        value = 0.0
        for at in range(start_seconds, start_seconds + 6 * HOUR_SECONDS, STEP_SECONDS):
            value += rng.random()
            lines.append(f'past_total{{job="past",part="{number}"}} {value!r} {at}')
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="module")
def pipeline(
    toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory, start_seconds: int
) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("backfill")
    with LocalStack(folder, toolbox=toolbox, config_overrides=OVERRIDES) as stack:
        stack.prometheus.backfill(openmetrics(start_seconds))
        stack.start_services({"extractor": 1, "transformer": 1, "loader": 1})
        running = Pipeline(stack)
        running.until(
            lambda: (
                len(feeds := running.feeds()) == 5
                and all(feed.reconciled for feed in feeds.values())
            ),
            "every feed is planned",
        )
        yield running
        assert set(stack.stop_services().values()) == {0}
        running.redis.close()


def verify(pipeline: Pipeline, from_seconds: int, to_seconds: int, *options: str) -> Any:
    done = pipeline.etlctl(
        *("verify", "--from", str(from_seconds), "--to", str(to_seconds), "--json"),
        *OF_THE_PAST,
        *options,
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def verdicts(document: Any) -> dict[str, str]:
    return {name: tier["verdict"] for name, tier in document["tiers"].items()}


def backfill(pipeline: Pipeline, from_seconds: int, *options: str) -> str:
    """What it says; there may be nothing to do."""
    done = pipeline.etlctl("backfill", "--from", str(from_seconds), *OF_THE_PAST, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


BOTH_EQUAL = {"hot": "equal", "warm": "equal"}


def test_history_apart_from_the_feeds_is_loaded_and_repaired(
    pipeline: Pipeline, start_seconds: int
) -> None:
    from_seconds, to_seconds = start_seconds + HOUR_SECONDS, start_seconds + 2 * HOUR_SECONDS
    bounds = ("--from", str(from_seconds), "--to", str(to_seconds))
    planned = pipeline.etlctl("backfill", *bounds, *OF_THE_PAST, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert Backfills(pipeline.redis, KEYS).all() == []
    said = backfill(pipeline, from_seconds, "--to", str(to_seconds))
    assert "Extracted and loaded: 4h of 4h, " in said
    # Three series every 15 s and every minute, once for each tier.
    estimate = 2 * SERIES * (240 + 60)
    assert f"In all {estimate:,} samples" in planned.stdout
    assert all(feed.origin_ms > to_seconds * 1000 for feed in pipeline.feeds().values())
    assert verdicts(verify(pipeline, from_seconds, to_seconds)) == BOTH_EQUAL

    # What has a seal is repaired in whole windows.
    pipeline.until_sealed()
    at_seconds = from_seconds + 600
    for bucket in (pipeline.config()["load"]["influxdb"]["bucket"], "warm"):
        pipeline.stack.influx.query(
            f"DELETE FROM past_total WHERE time = {at_seconds}s", database=bucket
        )
    assert set(verdicts(verify(pipeline, from_seconds, to_seconds)).values()) == {"different"}
    repaired = verify(pipeline, from_seconds, to_seconds, "--repair")
    assert verdicts(repaired) == BOTH_EQUAL, json.dumps(repaired)[-3000:]
    assert {(one["query"], one["tier"]) for one in repaired["repaired"]} == {
        ("past", "hot"),
        ("past", "warm"),
    }

    pipeline.until_sealed()
    sealed = verify(pipeline, from_seconds, to_seconds, "--sealed")
    assert verdicts(sealed) == BOTH_EQUAL, json.dumps(sealed)[-3000:]

    again = pipeline.etlctl("extract", "again", *OF_THE_PAST, *bounds, "--wait-seconds", "45")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "is not extracted again" not in again.stdout
    assert verdicts(verify(pipeline, from_seconds, to_seconds)) == BOTH_EQUAL


def test_the_rest_is_loaded_behind_live_data_and_the_feeds_begin_with_it(
    pipeline: Pipeline, start_seconds: int
) -> None:
    older_seconds = start_seconds + HOUR_SECONDS
    backfill(pipeline, older_seconds, "--to", str(older_seconds + HOUR_SECONDS))
    said = backfill(pipeline, start_seconds - HOUR_SECONDS)
    assert "is left out: loaded already" in said
    assert "is left out: the source no longer has all" in said
    origins_ms = {
        "past@hot": start_seconds * 1000 - 1000,
        "past_rate@hot": start_seconds * 1000 + 300_000 - 60_000,
        "past@warm": start_seconds * 1000 + 300_000,
        "past_rate@warm": start_seconds * 1000 + 600_000,
    }
    pipeline.until(
        lambda: all(
            pipeline.feeds()[name].origin_ms <= origin_ms for name, origin_ms in origins_ms.items()
        ),
        "what was loaded is joined",
    )
    pipeline.until_flowing(50)
    audit = pipeline.audit()
    assert (audit.imbalance_samples, audit.lost_samples) == (0, 0)
    assert {one.state for one in Backfills(pipeline.redis, KEYS).all()} == {"done"}
    end_seconds = start_seconds + 6 * HOUR_SECONDS
    document = verify(pipeline, start_seconds + HOUR_SECONDS // 2, end_seconds)
    assert verdicts(document) == BOTH_EQUAL, json.dumps(document)[-3000:]


def test_history_that_is_imported_later_is_found_by_counts_and_loaded(
    pipeline: Pipeline, start_seconds: int
) -> None:
    backfill(pipeline, start_seconds)
    imported = openmetrics(start_seconds).replace('part="', 'part="late-')
    pipeline.stack.prometheus.backfill(imported)
    from_seconds, to_seconds = start_seconds + 2 * HOUR_SECONDS, start_seconds + 3 * HOUR_SECONDS
    bounds = ("--from", str(from_seconds), "--to", str(to_seconds), *OF_THE_PAST)
    found = pipeline.etlctl("recount", *bounds)
    assert found.returncode == 1, found.stdout + found.stderr
    for feed in ("past@hot", "past@warm", "past_rate@hot", "past_rate@warm"):
        assert f"{feed}: " in found.stdout
    repaired = pipeline.etlctl("recount", *bounds, "--repair", "--wait-seconds", "40")
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert repaired.stdout.endswith("Repaired: nothing differs now.\n")
    assert verdicts(verify(pipeline, from_seconds, to_seconds)) == BOTH_EQUAL
