"""Every part of a running pipeline may die, and nothing is lost or counted twice."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.e2e.pipeline import Pipeline

pytestmark = pytest.mark.timeout(180)


@pytest.mark.parametrize("service", ["extractor", "transformer", "loader"])
def test_a_killed_service_loses_nothing(pipeline: Pipeline, service: str) -> None:
    for victim in pipeline.stack.services[service]:
        victim.kill()
    pipeline.stack.services[service][0].start()
    pipeline.until_flowing()
    pipeline.stack.services[service][1].start()

    pipeline.prove()


@pytest.mark.parametrize("service", ["extractor", "transformer", "loader"])
def test_a_restarted_service_releases_what_it_had(pipeline: Pipeline, service: str) -> None:
    processes = pipeline.stack.services[service]
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(lambda process: process.stop(), processes)) == [0, 0]
        list(pool.map(lambda process: process.start(), processes))

    pipeline.prove()


@pytest.mark.parametrize("part", ["redis", "influx", "prometheus"])
def test_a_server_away_is_waited_out(pipeline: Pipeline, part: str) -> None:
    server = getattr(pipeline.stack, part)
    server.kill()
    readers = {"redis": "transformer", "influx": "loader", "prometheus": "extractor"}
    watched = pipeline.stack.services[readers[part]][0]

    def unready() -> bool:
        return requests.get(f"{watched.url}/readyz", timeout=5).status_code == 503

    pipeline.until(unready, f"{watched.name} is not ready without {part}")
    assert requests.get(f"{watched.url}/livez", timeout=5).status_code == 200
    server.start()

    pipeline.until(lambda: not unready(), f"{watched.name} is ready again")
    pipeline.until_flowing()
    pipeline.prove()


def test_a_redis_that_lost_everything_resumes_where_the_sink_ends(pipeline: Pipeline) -> None:
    pipeline.until_flowing()
    origins = {name: feed.origin_ms for name, feed in pipeline.feeds().items()}
    pipeline.stack.redis.kill()
    pipeline.stack.redis.forget_data()
    pipeline.stack.redis.start()

    def resumed() -> bool:
        feeds = pipeline.feeds()
        return feeds.keys() == origins.keys() and all(feed.reconciled for feed in feeds.values())

    pipeline.until(resumed, "every feed is reconciled with the sink")
    report = pipeline.prove(since_ms=min(origins.values()))
    assert report["verdict"] == "equal"


def test_rqs_state_can_be_deleted(pipeline: Pipeline) -> None:
    for key in pipeline.redis.scan_iter("rq:*"):
        pipeline.redis.delete(key)

    pipeline.until_flowing()
    pipeline.prove()


def test_the_ledger_balances_at_every_instant_under_faults(pipeline: Pipeline) -> None:
    victims = itertools.cycle(
        process for processes in pipeline.stack.services.values() for process in processes
    )
    worst = 0
    for _ in range(6):
        victim = next(victims)
        victim.kill()
        for _ in range(20):
            worst = max(worst, pipeline.audit().imbalance_samples)
        victim.start()

    assert worst == 0
    pipeline.prove()
