"""The whole pipeline as real processes on real servers: samples flow and arrive equal."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import requests
import yaml

from common.state.keys import RAW, STREAMS, Keys
from common.state.windows import WindowSet
from devtools.servers.redis_server import RedisServer
from devtools.servers.service_process import ServiceProcess
from tests.e2e.pipeline import KEYS, Pipeline

pytestmark = pytest.mark.timeout(180)


def test_every_sample_arrives_equal_and_both_transformers_take_part(pipeline: Pipeline) -> None:
    pipeline.until_flowing(500)

    outcome = pipeline.prove()

    assert outcome["verdict"] == "equal"
    rates = [
        pipeline.stack.prometheus.query(f'etl_records_total{{job="transformer",instance="{it}"}}')
        for it in (service.address for service in pipeline.stack.services["transformer"])
    ]
    assert all(float(rate[0]["value"][1]) > 0 for rate in rates)


@pytest.mark.parametrize("stream", STREAMS)
def test_what_flows_can_be_seen_and_arrives_all_the_same(pipeline: Pipeline, stream: str) -> None:
    pipeline.until_flowing(500)
    since_ms = pipeline.now_ms()

    found = pipeline.etlctl("tap", stream, "--count", "20", "--json")

    assert found.returncode == 0, found.stderr
    samples = [json.loads(line) for line in found.stdout.splitlines()]
    assert len(samples) == 20
    assert {one["tier"] for one in samples} == {"hot"}
    assert pipeline.prove(since_ms)["verdict"] == "equal"


FOREIGN: dict[str, dict[bytes, bytes]] = {
    "no fields of ours": {b"a": b"b"},
    "unknown schema": {b"schema": b"99", b"query": b"q", b"samples": b"0"},
    "not a payload of ours": {b"schema": b"1", b"samples": b"0", b"payload": b"etl:ledger"},
    "a key that is no text": {b"schema": b"1", b"samples": b"0", b"payload": b"etl:payload:\xff"},
    "binary": {b"\xff\x00": b"\xfe" * 100},
}


def test_foreign_entries_become_dead_letters(pipeline: Pipeline) -> None:
    before = pipeline.audit().dead_letter_entries
    for fields in FOREIGN.values():
        pipeline.redis.xadd(KEYS.stream(RAW), dict(fields.items()))

    pipeline.until(
        lambda: pipeline.audit().dead_letter_entries == before + len(FOREIGN),
        "all of them are dead letters",
    )

    assert pipeline.redis.exists(KEYS.ledger)
    pipeline.prove()


@pytest.mark.parametrize("service", ["extractor", "transformer", "loader"])
def test_redis_away_at_the_start_is_waited_for(
    pipeline: Pipeline, make_redis: Callable[..., RedisServer], tmp_path: Path, service: str
) -> None:
    redis = make_redis()
    redis.kill()
    config = pipeline.config()
    config["pipeline"]["redis_url"] = redis.plain_url
    del config["pipeline"]["redis_password_file"]
    path = tmp_path / "etl.yaml"
    path.write_text(yaml.safe_dump(config))

    with closing(ServiceProcess(service, tmp_path / service, config=path)) as process:
        process.start_unready()

        def answers(status: int) -> bool:
            try:
                return requests.get(f"{process.url}/readyz", timeout=5).status_code == status
            except requests.ConnectionError:
                return False

        pipeline.until(lambda: answers(503), f"{service} says that it is not ready")
        assert process.missing_live() is None
        redis.start()
        pipeline.until(lambda: answers(200), f"{service} recovers by itself")
        assert process.stop() == 0


def test_a_rejected_query_fails_alone(pipeline: Pipeline, tmp_path: Path) -> None:
    """A second configuration, on a Redis namespace of its own, with one broken query."""
    config = pipeline.config()
    config["extract"]["queries"].append({"name": "broken", "expr": "up[5m]", "step": "1s"})
    config["pipeline"]["redis_namespace"] = "broken"
    path = tmp_path / "etl.yaml"
    path.write_text(yaml.safe_dump(config))
    with ServiceProcess("extractor", tmp_path / "extractor", config=path) as process:
        windows = WindowSet(pipeline.redis, Keys("broken"))

        def others_go_on() -> bool:
            feeds = windows.status()
            others = [feed for feed in feeds.values() if feed.query != "broken"]
            return len(others) == 5 and all(feed.watermark_ms > feed.origin_ms for feed in others)

        def failures() -> list[str]:
            page = requests.get(f"{process.url}/metrics", timeout=5).text
            counted = [
                line for line in page.splitlines() if line.startswith("etl_query_failures_total{")
            ]
            return [line for line in counted if not line.endswith(" 0.0")]

        pipeline.until(others_go_on, "the other queries are extracted")
        # The others may come first: whose turn it is has no order.
        pipeline.until(lambda: bool(failures()), "the broken query fails")
        failed = failures()

    broken = windows.status()["broken@hot"]
    assert broken.watermark_ms == broken.origin_ms
    assert broken.attempts >= 1
    assert all('query="broken"' in line for line in failed)
    assert all('error_type="QueryRejected"' in line for line in failed)
